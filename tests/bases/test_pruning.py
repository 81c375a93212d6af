"""Vocabulary pruning: the same tokens and embeddings, fewer rows."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Normalize, Transformer
from sentence_transformers.sentence_transformer.modules import Pooling
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from optical_mteb.bases import PruningReport, load_base, prune_vocabulary
from optical_mteb.errors import InputError

PROMPTS = {"query": "abc: ", "document": "cab"}


def _unigram() -> Tokenizer:
    rng = random.Random(0)
    special = ["<pad>", "<s>", "</s>", "<unk>"]
    words = {"".join(rng.choices("abcde", k=rng.randint(2, 5))) for _ in range(300)}
    pieces = [*"abcd:", "▁", *sorted(words), *sorted("▁" + word for word in words), "<mask>"]
    scored = [(piece, -rng.uniform(2, 6) - (3 if len(piece) < 2 else 0)) for piece in pieces]
    tokenizer = Tokenizer(models.Unigram([(piece, 0.0) for piece in special] + scored, unk_id=3))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)])
    return tokenizer


def _word_piece(pieces: list[str] | None = None) -> Tokenizer:
    rng = random.Random(1)
    words = sorted({"".join(rng.choices("abcde", k=rng.randint(2, 4))) for _ in range(200)})
    special = ["[PAD]", "[unused]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    # "##e" is missing: words can fail half-way
    pieces = pieces or [*"abcde:", *(f"##{letter}" for letter in "abcd"), *words, *(f"##{word}" for word in words)]
    vocabulary = {piece: number for number, piece in enumerate(special + pieces)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 4), ("[CLS]", 3))
    return tokenizer


def _fast(backend: Tokenizer) -> PreTrainedTokenizerFast:
    names = dict(zip(("pad", "bos", "eos", "unk", "mask"), ("<pad>", "<s>", "</s>", "<unk>", "<mask>"), strict=True))
    if backend.token_to_id("[PAD]") is not None:
        names = {name: f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
    special = {f"{name}_token": token for name, token in names.items()}
    return PreTrainedTokenizerFast(tokenizer_object=backend, model_max_length=48, **special)


def _model(backend: Tokenizer, folder: Path) -> SentenceTransformer:
    torch.manual_seed(0)
    tokenizer = _fast(backend)
    config = BertConfig(
        vocab_size=len(tokenizer) + 2,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=48,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
    )
    BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return SentenceTransformer(
        modules=[Transformer(str(folder)), Pooling(16), Normalize()], prompts=PROMPTS, device="cpu"
    )


def _texts(count: int, letters: str = "abcdex:  ") -> list[str]:
    rng = random.Random(2)
    return ["".join(rng.choices(letters, k=rng.randint(1, 30))) for _ in range(count)]


@pytest.mark.long
@pytest.mark.parametrize("build", [_unigram, _word_piece])
@pytest.mark.parametrize("keep", [0, 40])
def test_embeddings_and_tokens_stay_and_survive_saving(build, keep, tmp_path):
    """Guards against rows sliced in another order than the ids, special ids left at their old numbers, lost settings on disk."""
    model, texts = _model(build(), tmp_path / "base"), _texts(60)
    tokens = [model.tokenizer.tokenize(text) for text in texts]
    before = {prompt: model.encode(texts, prompt_name=prompt) for prompt in (None, *PROMPTS)}
    rows = model[0].auto_model.config.vocab_size
    report = prune_vocabulary(model, iter(texts), keep_most_frequent=keep)
    model.save(str(tmp_path / "pruned"))
    reloaded = load_base(str(tmp_path / "pruned"), device="cpu")
    for pruned in (model, reloaded):
        assert [pruned.tokenizer.tokenize(text) for text in texts] == tokens
        for prompt, expected in before.items():
            np.testing.assert_allclose(pruned.encode(texts, prompt_name=prompt), expected, atol=1e-5)
        encoder = pruned[0].auto_model
        assert encoder.config.vocab_size == len(pruned.tokenizer) == report.rows_after
        assert encoder.get_input_embeddings().weight.shape == (report.rows_after, 16)
        assert encoder.config.pad_token_id == pruned.tokenizer.pad_token_id
        assert encoder.config.bos_token_id == pruned.tokenizer.bos_token_id
        assert pruned.max_seq_length == 48
    assert report.rows_before == rows
    assert report.rows_after < rows - 100
    assert report.bytes_saved == (rows - report.rows_after) * 16 * 4


@pytest.mark.long
@pytest.mark.parametrize("build", [_unigram, _word_piece])
def test_no_random_text_is_segmented_otherwise(build, tmp_path):
    """Guards against removing unused pieces that changes a best path (Unigram) or rescues an unknown word (WordPiece)."""
    model, texts = _model(build(), tmp_path), _texts(400, "abcdexé ")
    for size in (1, 5, 20, 400):
        part = texts[:size]
        before = [model.tokenizer.tokenize(text) for text in part]
        trial = _model(build(), tmp_path / str(size))
        prune_vocabulary(trial, part)
        assert [trial.tokenizer.tokenize(text) for text in part] == before


def test_an_unknown_word_stays_unknown(tmp_path):
    """Guards against rescuing "abcx", which fails after "abc": without "abc" the pieces "ab" and "##cx" would spell it."""
    model = _model(_word_piece(["a", "q", "ab", "abc", "##cx"]), tmp_path)
    texts = ["ABCX", "ab qcx"]
    assert model.tokenizer.tokenize(texts[0]) == ["[UNK]"]
    prune_vocabulary(model, texts)
    assert model.tokenizer.tokenize(texts[0]) == ["[UNK]"]
    assert model.tokenizer.tokenize(texts[1]) == ["ab", "q", "##cx"]


def test_single_characters_and_most_frequent_pieces_are_kept(tmp_path):
    """Guards against unseen text that falls to unknown after pruning, and a ranking read from the wrong end."""
    backend = _unigram()
    model = _model(backend, tmp_path)
    prune_vocabulary(model, [], keep_most_frequent=30)
    kept = model.tokenizer.get_vocab()
    assert {*"abcd:", "▁", "<pad>", "<s>", "</s>", "<unk>", "<mask>"} <= kept.keys()
    words = {number: piece for piece, number in backend.get_vocab().items()}
    scores = [score for _, score in json.loads(backend.to_str())["model"]["vocab"]]
    best = sorted(words, key=lambda number: scores[number], reverse=True)[:30]
    assert {words[number] for number in best} <= kept.keys()


def test_frozen_embeddings_stay_frozen(tmp_path):
    """Guards against a student whose frozen vocabulary starts to train after pruning."""
    model = _model(_unigram(), tmp_path)
    embeddings = model[0].auto_model.get_input_embeddings()
    embeddings.weight.requires_grad_(False)
    prune_vocabulary(model, ["abc"])
    assert embeddings.weight.requires_grad is False
    assert model[0].auto_model.get_input_embeddings() is embeddings


def test_added_tokens_take_the_ids_after_the_pieces(tmp_path):
    """Guards against a token added to the tokenizer that points into another row after pruning."""
    backend = _unigram()
    backend.add_tokens(["[Q]", "[D]"])
    model, texts = _model(backend, tmp_path), ["[Q] abcde", "[D] cab [Q]"]
    before = model.encode(texts)
    prune_vocabulary(model, texts)
    np.testing.assert_allclose(model.encode(texts), before, atol=1e-5)
    assert model.tokenizer.convert_tokens_to_ids("[D]") == len(model.tokenizer) - 1


def test_byte_pair_tokenizers_are_refused_and_the_model_is_untouched(tmp_path):
    """Guards against a BPE vocabulary cut without its merges."""
    backend = Tokenizer(models.BPE({"<pad>": 0, "a": 1, "b": 2, "ab": 3}, [("a", "b")]))
    model = _model(backend, tmp_path)
    rows = model[0].auto_model.config.vocab_size
    with pytest.raises(InputError, match="BPE model, expected Unigram or WordPiece"):
        prune_vocabulary(model, ["ab"])
    assert model[0].auto_model.get_input_embeddings().num_embeddings == rows


def test_a_model_with_fewer_rows_than_tokens_is_refused(tmp_path):
    """Guards against an index error in the slice, after the tokenizer has been replaced."""
    model = _model(_unigram(), tmp_path)
    model[0].auto_model.resize_token_embeddings(20)
    old = model.tokenizer
    with pytest.raises(InputError, match="20 embedding rows"):
        prune_vocabulary(model, ["abc"])
    assert model.tokenizer is old


@pytest.mark.long
def test_the_real_model_is_pruned_without_a_trace(e5_folder, tmp_path):
    """Guards against a piece lost from a vocabulary of 250,002, with scripts, marks and compatibility characters."""
    texts = ["Habari ya asubuhi, ninafanya kazi shuleni.", "मुंबई हे महाराष्ट्राचे शहर आहे.", "አዲስ አበባ ዋና ከተማ ናት። 𐎀 ①"]
    model = load_base(str(e5_folder), device="cpu")
    before = {prompt: model.encode(texts, prompt_name=prompt) for prompt in (None, "query", "document")}
    report = prune_vocabulary(model, texts)
    model.save(str(tmp_path / "pruned"))
    reloaded = load_base(str(tmp_path / "pruned"), device="cpu")
    for prompt, expected in before.items():
        np.testing.assert_allclose(model.encode(texts, prompt_name=prompt), expected, atol=1e-5)
        np.testing.assert_allclose(reloaded.encode(texts, prompt_name=prompt), expected, atol=1e-5)
    assert isinstance(report, PruningReport)
    assert report.rows_before == 250_002
    assert report.rows_after < 25_000
