"""Bitext that is fetched from where it is published."""

import hashlib

import pytest

from optical_mteb.bitext import BitextSource, ParallelCorpus
from tests.collection.conftest import publisher, refused, zipped  # noqa: F401 - a fixture

TSV = "".join(f"English sentence {n}\tsentensi ya {n}\n" for n in range(12)).encode()


@pytest.fixture(autouse=True)
def online(monkeypatch, tmp_path):
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.delenv("OPTICAL_MTEB_DATA", raising=False)
    monkeypatch.chdir(tmp_path)


def source(publisher, path="/pairs.tsv", content=TSV, **more):  # noqa: F811
    sha256 = hashlib.sha256(content).hexdigest()
    return BitextSource(
        **{"source": "bitext/pairs.tsv", "language": "sw", "url": publisher.url + path, "sha256": sha256} | more
    )


@pytest.mark.parametrize("path", ["/pairs.tsv", "/all.zip"])
def test_fetched_once_from_file_or_archive(publisher, path, own_home):  # noqa: F811
    """Guards against a file that is fetched for every training, or an archive that stays on the disk beside its file."""
    publisher.files = {"/pairs.tsv": TSV, "/all.zip": zipped(inside__pairs=TSV, other=b"else")}
    for _ in range(2):
        corpus = ParallelCorpus.load([source(publisher, path)])
        assert corpus[3].translation == "sentensi ya 3"
    assert len([each for each in publisher.served if each.path == path]) == 1
    kept = [each.name for each in (own_home / "data" / "bitext").rglob("*") if each.is_file()]
    assert [name for name in kept if not name.endswith(".lock")] == ["pairs.tsv"]


def test_the_users_own_copy_comes_first(publisher, tmp_path, monkeypatch):  # noqa: F811
    """Guards against a download of what is there, and a copy that is refused because its user changed it."""
    (tmp_path / "data" / "bitext").mkdir(parents=True)
    (tmp_path / "data" / "bitext" / "pairs.tsv").write_bytes(TSV.replace(b"sentensi", b"neno"))
    monkeypatch.setenv("OPTICAL_MTEB_DATA", str(tmp_path / "data"))
    assert ParallelCorpus.load([source(publisher)])[0].translation == "neno ya 0"
    assert publisher.served == []


@pytest.mark.parametrize(
    ("path", "files", "line"),
    [
        ("/pairs.tsv", {"/pairs.tsv": TSV + b"one\tmoja\n"}, "pairs.tsv.*expected"),
        ("/all.zip", {"/all.zip": zipped(pairs=TSV + b"one\tmoja\n")}, "its publisher changed it"),
        ("/all.zip", {"/all.zip": zipped(other=TSV)}, "holds 0 files named pairs.tsv"),
        ("/all.zip", {"/all.zip": zipped(a__pairs=TSV, b__pairs=TSV)}, "holds 2 files named pairs.tsv"),
        ("/all.zip", {"/all.zip": b"no archive"}, "cannot be unpacked|is not a zip"),
        ("/gone.tsv", {}, "404"),
    ],
)
def test_other_files_are_refused(publisher, path, files, line, own_home):  # noqa: F811
    """Guards against a training on a file that is not the one that the recipe was written for."""
    publisher.files = files
    with refused(line):
        ParallelCorpus.load([source(publisher, path)])
    assert not list((own_home / "data" / "bitext").rglob("pairs.tsv"))


def test_nothing_is_fetched_offline(publisher, monkeypatch):  # noqa: F811
    """Guards against a download in spite of HF_HUB_OFFLINE, and a line that does not say where the file belongs."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with refused(r"get it from http.*put it at OPTICAL_MTEB_DATA/bitext/pairs.tsv"):
        ParallelCorpus.load([source(publisher)])
    assert publisher.served == []


def test_both_files_of_a_pair(publisher):  # noqa: F811
    """Guards against a Moses pair whose second file is looked for on this machine alone."""
    english, swahili = (
        b"".join(line.split(b"\t")[side].strip() + b"\n" for line in TSV.splitlines()) for side in (0, 1)
    )
    publisher.files = {"/en.txt": english, "/sw.txt": swahili}
    pair = source(
        publisher,
        "/en.txt",
        english,
        source="bitext/en.txt",
        translation="bitext/sw.txt",
        translation_url=publisher.url + "/sw.txt",
        translation_sha256=hashlib.sha256(swahili).hexdigest(),
    )
    assert ParallelCorpus.load([pair])[5].translation == "sentensi ya 5"
