"""`optical-mteb index`: the way of a user from documents to rankings, and mistakes on it."""

import json
import shutil

import pytest

from optical_mteb.index import FaissIndex
from tests.index.conftest import contents, flip, sentence
from tests.index.processes import stub_encoder, stub_token_encoder

TEXTS = [sentence(number) for number in range(60)]


@pytest.fixture(autouse=True)
def late(request, monkeypatch):
    """A stub for whatever model is named, of late interaction where a test asks for it."""
    late = getattr(request, "param", False)
    stub = stub_token_encoder if late else stub_encoder
    monkeypatch.setattr("optical_mteb.index.encoder.load_encoder", lambda name, device: stub(name=name))
    return late


both = pytest.mark.parametrize("late", [False, True], ids=["dense", "late"], indirect=True)


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "corpus.jsonl"
    lines = [json.dumps({"id": f"d{n}", "title": "Mvua", "text": text}) for n, text in enumerate(TEXTS)]
    path.write_text("\n".join(lines))
    return path


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """The folder in which the first test that needs an index builds it."""
    return tmp_path_factory.mktemp("indexes")


@pytest.fixture
def built(index_command, corpus, place, late):
    """The folder of an index."""
    folder, kept = corpus.with_name("my-index"), place / f"late {late}"
    if not kept.exists():
        code, output, errors = index_command(
            "build", "my-index", "--corpus", corpus, "-m", "stub/model", "--spec", "hnsw8"
        )
        assert (code, errors) == (0, "")
        spec = "hnsw8+refine" if late else "hnsw8"
        assert f"my-index: {spec}, 60 documents, recall@60 1.000 on 60 beginnings of documents" in output
        folder.rename(kept)
    return shutil.copytree(kept, folder)


@both
def test_from_documents_to_rankings(index_command, built, tmp_path, late):
    """Guards against commands that do not fit together, or take a late-interaction student for a dense model."""
    code, output, _ = index_command("search", "my-index", f"Mvua {TEXTS[7]}", "--top-k", 3)
    rows = [line for line in output.splitlines() if "Mvua" in line]
    assert (code, len(rows)) == (0, 3)
    rank, score, key, *text = rows[0].split()
    assert (rank, key, " ".join(text)) == ("1", "d7", f"Mvua {TEXTS[7]}")
    assert float(score) == pytest.approx(len(text) if late else 1, abs=1e-2)
    (tmp_path / "queries.tsv").write_text("q1\train\nq2\tየዛሬ ዜና\n", encoding="utf-8")
    code, output, _ = index_command("search", "my-index", "--queries", "queries.tsv", "--output", "test.run")
    assert (code, output) == (0, "wrote test.run\n")
    run = [line.split() for line in (tmp_path / "test.run").read_text().splitlines()]
    assert [line[0] for line in run] == ["q1"] * 60 + ["q2"] * 60
    code, output, _ = index_command("info", "my-index")
    about = json.loads(output)
    assert (about["model"]["name"], about["metric"]) == ("stub/model", "maxsim" if late else "inner product")
    code, output, _ = index_command("verify", "my-index")
    assert code == 0
    assert [line[:6] for line in output.splitlines()] == ["ok    "] * (7 if late else 5)


@both
def test_documents_come_and_go(index_command, built, tmp_path):
    """Guards against a count that the next search does not bear out."""
    (tmp_path / "more.tsv").write_text("new\train today\n")
    code, output, _ = index_command("add", "my-index", "--corpus", "more.tsv")
    assert (code, output) == (0, "my-index: added 1 documents, 61 are in it\n")
    code, output, _ = index_command("remove", "my-index", "d3", "d4", "d3")
    assert (code, output) == (0, "my-index: removed 2 documents, 59 are in it\n")
    assert len(FaissIndex.open(built)) == 59
    assert "new" in index_command("search", "my-index", "rain today", "--top-k", 1)[1]


def test_a_failed_check_is_exit_code_1(index_command, built):
    """Guards against a broken index that a script takes for a sound one."""
    flip(built / "index.faiss")
    code, output, errors = index_command("verify", "my-index")
    assert (code, errors) == (1, "")
    assert "FAILED  index.faiss: has changed since it was written" in output


BUILD = ["build", "other", "--corpus", "corpus.jsonl", "-m", "stub/model"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([*BUILD, "--spec", "ivf4096"], "index spec ivf4096: needs 4,096 documents at least, found 60; use flat or auto"),
        ([*BUILD, "--workers", "2"], "--workers is for --engine ray"),
        ([*BUILD, "--engine", "ray", "--workers", "0"], "--workers 0: expected 1 at least"),
        ([*BUILD, "--memory", "4"], "memory '4': expected a number and a unit, as 4GB"),
        ([*BUILD, "--queries", "no.tsv"], "no.tsv: no such file of queries"),
        ([*BUILD[:3], "empty.tsv", "-m", "stub/model"], "empty.tsv: there is no document with text"),
        ([*BUILD[:3], "nan.tsv", "-m", "stub/model"], "nan.tsv: no document has a vector that is finite and not zero"),
        (["build", "my-index", *BUILD[2:], "--spec", "flat"], "holds another index already, hnsw8 over"),
        (["search", "other", "rain"], "other: no index there, as it has no manifest.json; build one: optical-mteb index build "),
        (["search", "my-index"], "give either a query, or both --queries and --output"),
        (["search", "my-index", "rain", "--queries", "corpus.jsonl"], "give either a query, or both"),
        (["search", "my-index", "rain", "--threads", "0"], "threads 0: expected 1 at least"),
        (["search", "my-index", "--queries", "two.tsv", "--output", "run", "--top-k", "0"], "top 0: expected"),
        (["search", "my-index", "--queries", "two.tsv", "--output", "no/run"], "cannot be written (No such file or dir"),
        (["info", "other"], "other: no index there"),
        (["verify", "other"], "other: no index there"),
        (["add", "my-index", "--corpus", "corpus.jsonl"], "my-index: has a document 'd0' already; remove it first"),
        (["add", "other", "--corpus", "two.tsv"], "other: no index there"),
        (["remove", "other", "d1"], "other: no index there"),
        (["remove", "my-index", "d1", "nowhere"], "has no document 'nowhere'; nothing was removed"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_and_exit_code_2(index_command, built, tmp_path, arguments, message):
    """Guards against a traceback, another exit code, and anything half-written."""
    (tmp_path / "empty.tsv").write_text("")
    (tmp_path / "two.tsv").write_text("a\tone\nb\ttwo\n")
    (tmp_path / "nan.tsv").write_text("b\tnot a number\n")
    before = contents(built)
    code, _, errors = index_command(*arguments)
    assert code == 2
    assert errors.startswith("optical-mteb: error: ")
    assert message in errors
    assert errors.count("\n") == 1
    assert contents(built) == before
    assert not (tmp_path / "other").exists()
    assert not (tmp_path / "run").exists()
    assert [path.name for path in tmp_path.glob("*.build")] == (["other.build"] if "nan.tsv" in arguments else [])
