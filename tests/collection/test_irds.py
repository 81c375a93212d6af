"""Collections through ir_datasets: its own code reads files that are laid out as it downloads them."""

from __future__ import annotations

import logging
import socket
import sys
from pathlib import Path

import pytest

from optical_mteb.collection.irds import irds_split
from tests.collection.conftest import put, refused

pytest.importorskip("ir_datasets", reason="needs the extra ir-datasets")

DOCUMENTS = "2\tAkiolojia\t somo la zamani .\n33\tLugha asilia\t lugha .\n40\tTupu\t\n"
QUERIES = "12\tAnarchism\tis a political philosophy .\n25\tAutism\tis a disorder .\n39\tAlbedo\tis a measure .\n"
QRELS = "12\t2\t2\n12\t33\t1\n25\t33\t2\n"


def swahili(home: Path, documents: str | bytes = DOCUMENTS, queries: str = QUERIES, qrels: str = QRELS) -> Path:
    """The Swahili part of WikiCLIR, as the archive unpacks."""
    folder = home / "wikiclir" / "source" / "wiki-clir"
    put(folder / "english/wiki_en.queries", queries)
    put(folder / "swahili/wiki_sw.documents", documents)
    put(folder / "swahili/en2sw.rel", qrels)
    return folder


def load():
    return irds_split("WikiCLIR", "wikiclir/sw", corpus_id="wikiclir/sw", query_field="first_sent")


def test_the_corpus_is_read_once_until_its_file_changes(irds_home: Path, monkeypatch: pytest.MonkeyPatch):
    """Guards against a corpus parsed at every run, or a stale one after its file was replaced."""
    folder = swahili(irds_home)
    first = load()["corpus"].cache_files
    assert load()["corpus"].cache_files == first
    (folder / "swahili" / "wiki_sw.documents").write_text(DOCUMENTS + "50\tMpya\tmpya .\n", encoding="utf-8")
    assert list(load()["corpus"]["id"]) == ["2", "33", "40", "50"]


def test_what_points_nowhere_is_left_out_and_counted(irds_home: Path, caplog: pytest.LogCaptureFixture):
    """Guards against a judgement of a document that is not there, a query without text, one without relevant document.

    And against a grade that a second line of the same pair lowers.
    """
    swahili(
        irds_home,
        queries="12\tAnarchism\tis a philosophy .\n25\tAutism\t \n39\tAlbedo\tis a measure .\n41\tA\tis a letter .\n",
        qrels="12 2 1\n12 2 2\n12 2 1\n12 999 1\n25 33 2\n39 998 2\n41 33 0\n77 2 2\n",
    )
    with caplog.at_level(logging.WARNING):
        split = load()
    assert split["relevant_docs"] == {"12": {"2": 2}}
    assert list(split["queries"]["id"]) == ["12"]
    message = caplog.records[-1].getMessage()
    assert "2 judgements" in message
    assert "3 of 4 queries" in message


@pytest.mark.long
@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"documents": DOCUMENTS + "2\tMara ya pili\tx\n"}, r"document 4: document id '2' appears twice, .*document 1"),
        ({"documents": b"2\tA\tx\n3\tB\t\xff\n"}, r"wikiclir/sw: its docs cannot be read after number \d.*utf-8"),
        ({"documents": "2\tA\tx\n3\tB\n"}, r"its docs cannot be read after number 1 \(expected 3 fields, got 2"),
        ({"qrels": "12 2 two\n"}, r"its qrels cannot be read after number 0 \(invalid literal"),
        ({"queries": QUERIES + "12\tA\ttwice .\n"}, r"wikiclir/sw, query \d: query id '12' appears twice"),
        ({"qrels": "12 999 2\n"}, "WikiCLIR: there is no query"),
    ],
)
def test_bad_files_are_one_line(irds_home: Path, parts: dict[str, str | bytes], message: str):
    """Guards against a traceback out of ir_datasets, or bad data that pass."""
    swahili(irds_home, **parts)
    with refused(message):
        load()


@pytest.mark.long
@pytest.mark.parametrize("name", ["english/wiki_en.queries", "swahili/wiki_sw.documents", "swahili/en2sw.rel"])
def test_missing_file_is_one_line(irds_home: Path, name: str):
    """Guards against a traceback where part of the unpacked archive was deleted; the line says where the files are."""
    (swahili(irds_home) / name).unlink()
    with refused(f"No such file.*{name.split('/')[1]}.*{irds_home}"):
        load()


def test_unknown_data_set_is_one_line(irds_home: Path):
    """Guards against a traceback where this version of ir_datasets does not have a data set."""
    with refused("wikiclir/xx: its documents cannot be loaded"):
        irds_split("t", "wikiclir/xx", corpus_id="wikiclir/xx")


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks the network fails."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: pytest.fail("network"))


def test_offline_nothing_is_downloaded(irds_home: Path, offline: None):
    """Guards against a download against HF_HUB_OFFLINE; the line says what to get and where to put it."""
    place = irds_home / "downloads" / "705abb611eb8cbab9ced2b8767a3bdb6"
    with refused(rf"wiki-clir.tar.gz is not here and HF_HUB_OFFLINE is set.*put it at {place}$"):
        load()


def test_online_a_failed_download_is_one_line(irds_home: Path, monkeypatch: pytest.MonkeyPatch):
    """Guards against a traceback where the network is down, and a switch that stops downloads when it is off."""
    attempts = []

    def fail(host, *_, **__):
        attempts.append(host)
        raise socket.gaierror("no network")

    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setenv("IR_DATASETS_DL_TRIES", "1")
    monkeypatch.setenv("IR_DATASETS_SKIP_DISK_FREE", "true")
    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with refused("wikiclir/sw: its documents cannot be loaded"):
        load()
    assert attempts == ["www.cs.jhu.edu"]


@pytest.mark.long
def test_a_file_put_there_by_hand_is_checked_offline(irds_home: Path, offline: None, monkeypatch: pytest.MonkeyPatch):
    """Guards against a user's own copy that is not looked at, or one with a wrong checksum that sets off a download."""
    monkeypatch.setenv("IR_DATASETS_SKIP_DISK_FREE", "true")
    place = irds_home / "downloads" / "705abb611eb8cbab9ced2b8767a3bdb6"
    place.parent.mkdir(parents=True)
    place.write_bytes(b"something else")
    with refused("Expected md5 hash to be 705abb611eb8cbab9ced2b8767a3bdb6"):
        load()


def test_without_the_package_the_line_names_the_extra(monkeypatch: pytest.MonkeyPatch):
    """Guards against an ImportError where the extra is not installed."""
    monkeypatch.setitem(sys.modules, "ir_datasets", None)
    with refused(r"pip install 'optical-mteb\[ir-datasets\]'"):
        load()


def test_another_encoding_of_the_system_is_refused(irds_home: Path, monkeypatch: pytest.MonkeyPatch):
    """Guards against UTF-8 files read as Latin-1 without a message."""
    swahili(irds_home)
    monkeypatch.setattr("locale.getpreferredencoding", lambda do_setlocale=True: "ISO-8859-1")
    with refused("PYTHONUTF8=1"):
        load()
