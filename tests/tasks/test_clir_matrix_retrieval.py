"""CLIRMatrix: ir_datasets' own code reads a small copy of its downloads."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from optical_mteb.tasks.clir_matrix_retrieval import _CODES, CLIRMatrixRetrieval
from tests.collection.conftest import put, refused

pytest.importorskip("ir_datasets", reason="needs the extra ir-datasets")

SITE = "http://www.cs.jhu.edu/~shuosun/clirmatrix/data"
DOCUMENTS = {
    "sw": "690\tAruba ni kisiwa cha Karibi .\n5615\tDunia ni sayari .\n7\tMwezi .\n",
    "en": "3\tAruba is an island .\n9\tThe Moon .\n",
    "fr": "45187\tLa mort .\n",
}
QUERIES = {
    ("clirmatrix_bi139_base", "en_sw", "test1"): [
        {"src_id": "3", "src_query": "Aruba", "tgt_results": [["690", 6], ["7", 2], ["5615", 0]]},
        {"src_id": "9", "src_query": "Moon", "tgt_results": [["7", 5], ["99999", 1]]},
        {"src_id": "11", "src_query": "Nothing found", "tgt_results": [["7", 0]]},
    ],
    ("clirmatrix_bi139_base", "en_sw", "test2"): [{"src_id": "4", "src_query": "Earth", "tgt_results": [["5615", 6]]}],
    ("clirmatrix_bi139_base", "sw_en", "test1"): [{"src_id": "690", "src_query": "Aruba", "tgt_results": [["3", 6]]}],
    ("clirmatrix_multi8", "fr_en", "test1"): [{"src_id": "45187", "src_query": "Mort", "tgt_results": [["9", 1]]}],
    ("clirmatrix_bi139_base", "fr_en", "test1"): [{"src_id": "1", "src_query": "Non", "tgt_results": [["3", 6]]}],
}


@pytest.fixture
def downloads(irds_home: Path) -> Path:
    """The index of downloads and the files that it names, where ir_datasets keeps them."""
    folder = irds_home / "clirmatrix"
    index: dict[str, dict[str, dict[str, str]]] = {}

    def add(part: str, key: str, name: str, content: str) -> None:
        index.setdefault(part, {})[key] = {"url": f"{SITE}/{name}", "expected_md5": "0" * 32, "cache_path": name}
        put(folder / name, gzip.compress(content.encode()))

    for language, documents in DOCUMENTS.items():
        add("clirmatrix_docs", f"docs/{language}", f"DOCS/{language}.tsv.gz", documents)
    for (part, pair, split), queries in QUERIES.items():
        name = f"{part}/{pair.replace('_', '.')}.{split}.jl.gz"
        lines = "".join(json.dumps(query) + "\n" for query in queries)
        add(part, f"queries/{pair}/{split}", name, lines)
    put(folder / "clirmatrix_downloads.json.gz", gzip.compress(json.dumps(index).encode()))
    return folder


def load(subset: str, split: str = "test1"):
    task = CLIRMatrixRetrieval().filter_languages(None, hf_subsets=[subset]).filter_eval_splits([split])
    task.load_data()
    return task.dataset[subset][split]


def test_subsets_are_what_the_docstring_says():
    """Guards against a pair that is left out, or listed both as BI-139 and as MULTI-8."""
    subsets = set(CLIRMatrixRetrieval.metadata.eval_langs)
    others = set(_CODES) - {"eng"}
    multi8 = {"arb", "deu", "eng", "fra", "jpn", "rus", "spa", "zho"}
    low = {"swh", "tgl", "mar", "yor"}
    assert len(others) == 137
    expected = {f"eng-{name}" for name in others} | {f"{name}-eng" for name in others}
    expected |= {f"{a}-{b}" for group in (multi8, low) for a in group for b in group if a != b}
    assert subsets == expected


def test_title_as_query_graded_articles(downloads: Path, caplog: pytest.LogCaptureFixture):
    """Guards against languages swapped, grades flattened, grade 0 relevant, a judgement of a missing document that is kept."""
    split = load("eng-swh")
    assert split["corpus"].to_dict() == {
        "id": ["690", "5615", "7"],
        "text": ["Aruba ni kisiwa cha Karibi .", "Dunia ni sayari .", "Mwezi ."],
        "title": ["", "", ""],
    }
    assert split["queries"].to_dict() == {"id": ["3", "9"], "text": ["Aruba", "Moon"]}
    assert split["relevant_docs"] == {"3": {"690": 6, "7": 2}, "9": {"7": 5}}
    assert "1 judgements" in caplog.text
    assert "1 of 3 queries" in caplog.text


def test_other_directions_splits_and_parts(downloads: Path):
    """Guards against the pair read backwards, a split that is another one's, and queries of BI-139 in MULTI-8."""
    assert load("swh-eng")["relevant_docs"] == {"690": {"3": 6}}
    other = load("eng-swh", "test2")
    assert other["relevant_docs"] == {"4": {"5615": 6}}
    assert other["corpus"].cache_files == load("eng-swh")["corpus"].cache_files
    multi8 = load("fra-eng")
    assert multi8["queries"].to_dict() == {"id": ["45187"], "text": ["Mort"]}
    assert multi8["relevant_docs"] == {"45187": {"9": 1}}


def test_every_subset_is_a_data_set_of_ir_datasets(irds_home: Path):
    """Guards against a failure on a language code that Wikipedia does not have."""
    import ir_datasets

    patterns = [pattern for pattern, _ in ir_datasets.registry._patterns]
    for code in _CODES.values():
        assert any(pattern.match(f"clirmatrix/{code}") for pattern in patterns), code
        if code != "en":
            assert any(pattern.match(f"clirmatrix/{code}/bi139-base/en/test1") for pattern in patterns), code


def test_offline_the_index_is_asked_for(irds_home: Path, monkeypatch: pytest.MonkeyPatch):
    """Guards against a traceback where nothing was ever downloaded."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with refused(r"downloads\.json\.gz is not here and HF_HUB_OFFLINE is set"):
        load("eng-swh")


@pytest.mark.long
@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("DOCS/sw.tsv.gz", gzip.compress(DOCUMENTS["sw"].encode())[:-12], "clirmatrix/sw: its docs cannot be read"),
        ("clirmatrix_bi139_base/en.sw.test1.jl.gz", gzip.compress(b"{}\n"), "its qrels cannot be read after number 0"),
        ("clirmatrix_bi139_base/en.sw.test1.jl.gz", gzip.compress(b'{"src_id":\n'), "its qrels cannot be read"),
    ],
    ids=["cut off", "a key that is missing", "no JSON"],
)
def test_broken_downloads_are_one_line(downloads: Path, file: str, content: bytes, message: str):
    """Guards against half a corpus that passes for the whole, and a traceback of gzip, JSON or ir_datasets."""
    put(downloads / file, content)
    with refused(message):
        load("eng-swh")
