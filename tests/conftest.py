"""What all tests share: a store of their own, no network, and tiny encoders built in memory."""

from __future__ import annotations

import copy
import functools
import gc
import os
import string
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest
from babel.core import get_cldr_version

from_cldr_47 = pytest.mark.skipif(
    get_cldr_version() != "47", reason="what is on record was made from the names of CLDR 47, and Babel ships others"
)
"""For tests of results and statistics of CLDRNameRetrieval that the repository holds."""

PROMPTS = {"query": "query: ", "document": "passage: "}


def pytest_collectstart(collector: pytest.Collector) -> None:
    """For all tests, import mteb before torch: where torch is loaded, mteb seeds it 2,000 times as it is imported."""
    if collector.config.args == collector.config.getini("testpaths"):
        import mteb  # noqa: F401


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Look for no garbage among what is imported: it stays until the end."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files with slow tests first, so that no process waits at the end for one that has just begun."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_runtest_setup() -> None:
    """Leave out measures of abstention, which nothing here reads: they take mteb two thirds of an evaluation."""
    if metrics := sys.modules.get("mteb._evaluators.retrieval_metrics"):
        metrics.nauc = lambda *_, **__: 0.0


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store and cache for this test alone."""
    home = tmp_path / "home"
    monkeypatch.setenv("OPTICAL_MTEB_HOME", str(home))
    return home


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs the command as its console script does; returns exit code, output and errors."""

    def run(*arguments: str) -> tuple[int, str, str]:
        from optical_mteb import cli

        monkeypatch.setattr(sys, "argv", ["optical-mteb", *arguments])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        captured = capsys.readouterr()
        return stopped.value.code or 0, captured.out, captured.err

    return run


@pytest.fixture
def irds_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of downloads for ir_datasets, which is imported anew: it asks for the folder but once."""
    home = tmp_path / "ir_datasets"
    monkeypatch.setenv("IR_DATASETS_HOME", str(home))
    monkeypatch.setenv("IR_DATASETS_TMP", str(tmp_path / "ir_datasets_tmp"))
    for module in [name for name in sys.modules if name.partition(".")[0] == "ir_datasets"]:
        monkeypatch.delitem(sys.modules, module)
    yield home
    for module in [name for name in sys.modules if name.partition(".")[0] == "ir_datasets"]:
        del sys.modules[module]


def build_tiny_model(*, hidden: int = 32, layers: int = 2, words: tuple[str, ...] = (), seed: int = 0):
    """A random BERT that reads single characters and the given words, mean pooling, prompts as e5's."""
    return copy.deepcopy(_tiny_model(hidden, layers, words, seed))


@functools.cache
def _tiny_model(hidden, layers, words, seed):
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    characters = string.ascii_lowercase + string.digits + string.punctuation
    pieces = [*special, *words, *characters, *(f"##{character}" for character in characters)]
    vocabulary = {piece: index for index, piece in enumerate(dict.fromkeys(pieces))}
    backend = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True, strip_accents=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        model_max_length=128,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=4,
        intermediate_size=2 * hidden,
        max_position_embeddings=128,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        BertModel(config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        transformer = Transformer(folder)
    return SentenceTransformer(
        modules=[transformer, Pooling(hidden, "mean"), Normalize()],
        prompts=PROMPTS,
        similarity_fn_name="cosine",
        device="cpu",
    )


@pytest.fixture
def tiny_model():
    """The builder of tiny encoders."""
    return build_tiny_model


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a saved tiny encoder, a base for recipes."""
    folder = tmp_path_factory.mktemp("bases") / "tiny"
    build_tiny_model().save_pretrained(str(folder), create_model_card=False)
    return folder


def tiny_recipe(base: Path | str, **tables):
    """What a recipe has that is trained within a second, some of its tables replaced."""
    return {
        "name": "tiny-student",
        "student": {"base": str(base), "prompt": "query"},
        "teacher": {"base": str(base), "prompt": "document"},
        "bitext": [{"source": "cldr:swh"}],
        "objective": {"optical": {}},
        "training": {"steps": 2, "batch_size": 8, "precision": "float32"},
    } | tables


def write_toml(path: Path, tables) -> Path:
    """Write the tables of a recipe into a file, a line each."""
    from optical_mteb.toml_file import as_override

    path.write_text("\n".join(as_override(key, table) for key, table in tables.items()))
    return path


@pytest.fixture(scope="module")
def registered():
    """Mteb's registries have what this package has."""
    from optical_mteb.registry import register

    register()
