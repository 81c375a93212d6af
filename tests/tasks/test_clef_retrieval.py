"""CLEF: read from the user's own folder, in the formats of the licensed package."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

import pytest

from optical_mteb.tasks.clef_retrieval import CLEFRetrieval
from tests.collection.conftest import refused

LA_TIMES = """<DOC>
<DOCNO> LA010194-0001 </DOCNO>
<DATE><P>January 1, 1994</P></DATE>
<HEADLINE><P>BERLIN REBUILDS &amp; GROWS</P></HEADLINE>
<TEXT><P>Architects work in Berlin.</P></TEXT>
</DOC>
<DOC>
<DOCNO> LA010194-0002 </DOCNO>
<TEXT><P>Baby food was tested.</P></TEXT>
</DOC>
"""
HERALD = """<DOC>
<DOCNO>GH950102-000000</DOCNO>
<HEADLINE>Prices rise</HEADLINE>
<EDITION>3</EDITION>
<TEXT>A loaf costs \xa31.
</TEXT>
</DOC>
"""
SWAHILI = "\n".join(
    f"query_id: {key}\ntitle: {title}\ndescription: {description}\n"
    for key, title, description in (
        ("C001", "Usanifu Berlin", "Tafuta nyaraka kuhusu usanifu."),
        ("C041", "Dawa katika chakula", "Tafuta ripoti."),
        ("C091", "Haina jibu", "Hakuna."),
        ("C141", "Bei ya mkate", "Tafuta bei."),
        ("C142", "Haijahukumiwa", "Hakuna."),
    )
)
FRENCH = {
    "fra.2000.txt": "<top>\n<num> C001\n\n<F-title>\nArchitecture à Berlin\n\n<F-desc>\nTrouver.\n\n</top>\n",
    "fra.2001.txt": "<top>\n<num> C041 </num>\n<FR-title> Pesticides </FR-title>\n<FR-desc> Été. </FR-desc>\n</top>\n",
    "fra.2002.txt": "<top>\n<num> C091 </num>\n<FR-title> Sans réponse </FR-title>\n</top>\n",
    "fra.2003.txt": "<top>\n<num>C141</num>\n<FR-title>Prix du pain</FR-title>\n</top>\n",
}
QRELS = {
    2000: "1 0 LA010194-0001 1\n1 0 LA010194-0002 0\n",
    2001: "41 0 LA010194-0002 1\n",
    2002: "91 0 LA010194-0001 0\n",
    2003: "141 0 GH950102-000000 1\n141 0 LA010194-0001 0\n",
}


@pytest.fixture
def clef(data: Path) -> Path:
    """The user's own copy."""
    folder = data / "clef"
    for name in ("documents/latimes94", "documents/glasgow95", "topics", "qrels"):
        (folder / name).mkdir(parents=True)
    (folder / "documents/latimes94/la010194.gz").write_bytes(gzip.compress(LA_TIMES.encode()))
    (folder / "documents/glasgow95/950102.sgml").write_text(HERALD, encoding="iso-8859-1")
    (folder / "documents/glasgow95/gh95.dtd").write_text("<!ELEMENT DOC - - (DOCNO)>\n")
    (folder / "documents/glasgow95/.DS_Store").write_bytes(b"\0")
    (folder / "topics/swh.txt").write_text(SWAHILI, encoding="utf-8")
    for name, content in FRENCH.items():
        (folder / "topics" / name).write_text(content, encoding="iso-8859-1")
    for year, content in QRELS.items():
        (folder / f"qrels/{year}.txt").write_text(content)
    return folder


def load(subset: str = "swh-eng"):
    return CLEFRetrieval().load_split(subset, "test")


def test_articles_of_both_newspapers(clef: Path):
    """Guards against a newspaper, a headline or a packed file that is lost, the pound sign, and files that are no documents."""
    assert load()["corpus"].to_list() == [
        {"id": "LA010194-0001", "title": "BERLIN REBUILDS & GROWS", "text": "Architects work in Berlin."},
        {"id": "LA010194-0002", "title": "", "text": "Baby food was tested."},
        {"id": "GH950102-000000", "title": "Prices rise", "text": "A loaf costs £1."},
    ]


RELEVANT = {
    "C001": {"LA010194-0001": 1},
    "C041": {"LA010194-0002": 1},
    "C141": {"GH950102-000000": 1},
}


@pytest.mark.parametrize(
    ("subset", "texts"),
    [
        (
            "swh-eng",
            [
                "Usanifu Berlin Tafuta nyaraka kuhusu usanifu.",
                "Dawa katika chakula Tafuta ripoti.",
                "Bei ya mkate Tafuta bei.",
            ],
        ),
        ("fra-eng", ["Architecture à Berlin Trouver.", "Pesticides Été.", "Prix du pain"]),
    ],
)
def test_topics_of_all_years(clef: Path, subset: str, texts: list[str]):
    """Guards against a format, Latin 1, files by year, or numbers of another form that are misread, and topics without an answer."""
    loaded = load(subset)
    assert loaded["queries"]["id"] == ["C001", "C041", "C141"]
    assert loaded["queries"]["text"] == texts
    assert loaded["relevant_docs"] == RELEVANT


def test_topics_as_a_table(clef: Path):
    """Guards against a refusal of numbers without the C, or of Devanagari digits."""
    (clef / "topics/mar.tsv").write_text("1\tबर्लिन\tशोधा\n041\tअन्न\nC141\tभाव\n", encoding="utf-8")
    loaded = load("mar-eng")
    assert loaded["queries"].to_list() == [
        {"id": "C001", "text": "बर्लिन शोधा"},
        {"id": "C041", "text": "अन्न"},
        {"id": "C141", "text": "भाव"},
    ]
    assert loaded["relevant_docs"] == RELEVANT


def test_languages_share_the_corpus(clef: Path):
    """Guards against articles that are read again for every language."""
    assert load("swh-eng")["corpus"].cache_files == load("fra-eng")["corpus"].cache_files


@pytest.mark.parametrize(
    ("path", "content", "message"),
    [
        ("topics/swh.b.tsv", "41\tx\n", r"swh\.txt:5: query id 'C041' appears twice, the first at .*swh\.b\.tsv:1"),
        ("topics/swh.txt", "Q1\tx\n", r"swh\.txt:1: expected the number of a topic, C001 to C200, found 'Q1'"),
        ("topics/swh.txt", b"1\t\xe9\n", r"swh\.txt:1: byte 3 of the line is not valid UTF-8"),
        ("qrels/2001.txt", QRELS[2003], r"2001\.txt:1: judges topic '141', but CLEF 2001 has C041 to C090"),
        ("documents/latimes94/more", LA_TIMES, r"more:1: document id 'LA010194-0001' appears twice, .* .*gz:1"),
    ],
)
def test_bad_data_is_refused_with_its_line(clef: Path, path: str, content: str | bytes, message: str):
    """Guards against bad lines and files that are skipped, or end in a traceback."""
    (clef / path).write_bytes(content if isinstance(content, bytes) else content.encode())
    with refused(message):
        load()


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("documents/latimes94/la010194.gz", "documents/latimes94/*"),
        ("documents/glasgow95", "documents/glasgow95/*"),
        ("topics/swh.txt", "topics/swh.*"),
        ("qrels/2000.txt", "qrels/2000.txt"),
        (".", ""),
    ],
)
def test_missing_part_is_named_with_the_layout(clef: Path, path: str, named: str):
    """Guards against an error that does not say what is missing, how the folder has to look and where to get it."""
    place = clef / path
    shutil.rmtree(place) if place.is_dir() else place.unlink()
    with refused() as caught:
        load()
    text = str(caught.value)
    assert text.startswith(f"{clef / named} is not there; CLEFRetrieval reads documents/latimes94/*, documents/gl")
    assert "topics/<language>.*, qrels/2000.txt" in text
    assert "ELRA-E0008" in text


def test_unset_data_folder_is_named(clef: Path, monkeypatch: pytest.MonkeyPatch):
    """Guards against a traceback where OPTICAL_MTEB_DATA is not set."""
    monkeypatch.delenv("OPTICAL_MTEB_DATA")
    with refused("OPTICAL_MTEB_DATA/clef is not there; CLEFRetrieval reads"):
        load()
