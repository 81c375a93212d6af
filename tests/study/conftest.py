"""A study that takes seconds (a tiny base, names from CLDR, one task), and tiny random translation models."""

from __future__ import annotations

import string
from pathlib import Path

import pytest
import torch
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, processors
from transformers import (
    M2M100Config,
    M2M100ForConditionalGeneration,
    MarianConfig,
    MarianMTModel,
    NllbTokenizer,
    PreTrainedTokenizerFast,
)

from optical_mteb.study.cells import CellRecord
from optical_mteb.study.evaluation import METRICS
from optical_mteb.study.jobs import Job
from tests.conftest import tiny_recipe, write_toml

STUDY = """
name = "tiny"
recipe = "recipe.toml"
pairs = [1, 2, 3]
high_resource = ["fra"]
seeds = [1, 2]

[orders]
given = ["swh", "som", "fra"]

[budgets]
total = 3

[approaches]
zero-shot = []
contrastive = []

[[tasks]]
name = "CLDRNameRetrieval"
subsets = ["swh-eng", "som-eng", "fra-eng", "hau-eng"]
queries = 15
documents = 80
parallel = true
"""


@pytest.fixture
def study_file(tmp_path: Path, tiny_base: Path) -> Path:
    """The study's file, beside its recipe."""
    bitext = [{"source": f"cldr:{language}", "limit": 100} for language in ("swh", "som", "fra")]
    training = {"steps": 3, "batch_size": 8, "learning_rate": 1e-3, "precision": "float32"}
    recipe = tiny_recipe(tiny_base, bitext=bitext, objective={"contrastive": {}}, training=training)
    write_toml(tmp_path / "recipe.toml", recipe)
    path = tmp_path / "study.toml"
    path.write_text(STUDY)
    return path


def record(job: Job, scores: dict, *, determined_by: dict | None = None, **figures: float) -> CellRecord:
    """The record of a job whose queries, `q0` and so on, have the same scores in both metrics: scores by task and subset."""
    return CellRecord(
        fingerprint=job.fingerprint,
        determined_by=determined_by or {},
        student="0" * 40,
        evaluation_seconds=1,
        versions={},
        figures=figures,
        queries={
            task: {subset: [f"q{n}" for n in range(len(values))] for subset, values in subsets.items()}
            for task, subsets in scores.items()
        },
        scores={
            task: {subset: dict.fromkeys(METRICS, values) for subset, values in subsets.items()}
            for task, subsets in scores.items()
        },
    )


def edit(path: Path, old: str, new: str) -> Path:
    """Replace text in a file that has it once."""
    text = path.read_text()
    assert text.count(old) == 1, old
    path.write_text(text.replace(old, new))
    return path


SIZES = {
    "d_model": 16,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 16,
    "decoder_ffn_dim": 16,
    "max_position_embeddings": 64,
}
NLLB_CODES = ["eng_Latn", "swh_Latn", "tgl_Latn", "mar_Deva", "arb_Arab"]


def character_tokenizer(*extra):
    """A fast tokenizer over single characters that ends a text with `</s>`, as Marian's does."""
    pieces = ["</s>", "<unk>", "<pad>", "▁", *extra, *string.ascii_lowercase]
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    backend = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 0)])
    backend.add_tokens([AddedToken(token, special=False) for token in extra])
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>", unk_token="<unk>", pad_token="<pad>")


@pytest.fixture
def marian():
    """Builder of a Marian model and its tokenizer, with extra tokens such as `>>eng<<`."""

    def build(*extra):
        tokenizer = character_tokenizer(*extra)
        torch.manual_seed(0)
        config = MarianConfig(
            vocab_size=len(tokenizer),
            pad_token_id=2,
            eos_token_id=0,
            decoder_start_token_id=2,
            forced_eos_token_id=0,
            **SIZES,
        )
        return MarianMTModel(config), tokenizer

    return build


@pytest.fixture
def marian_folder(marian, tmp_path):
    """Folder of a saved Marian model."""
    folder = tmp_path / "opus-mt-sw-en"
    for part in marian():
        part.save_pretrained(str(folder))
    return folder


@pytest.fixture
def nllb():
    """A model of NLLB's kind with NLLB's own tokenizer over a few languages."""
    pieces = ["<s>", "<pad>", "</s>", "<unk>", "▁", *string.ascii_lowercase]
    tokenizer = NllbTokenizer(
        vocab={piece: index for index, piece in enumerate(pieces)}, merges=[], extra_special_tokens=NLLB_CODES
    )
    torch.manual_seed(0)
    config = M2M100Config(
        vocab_size=len(tokenizer), pad_token_id=1, bos_token_id=0, eos_token_id=2, decoder_start_token_id=2, **SIZES
    )
    return M2M100ForConditionalGeneration(config), tokenizer
