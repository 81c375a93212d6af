"""TREC's formats: judgements, topics and documents, as their publishers write them and as they break."""

from __future__ import annotations

import gzip
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from optical_mteb.collection import Entry
from optical_mteb.collection.arrow_corpus import corpus_dataset
from optical_mteb.collection.sgml import plain, split_tags
from optical_mteb.collection.trec_documents import read_documents
from optical_mteb.collection.trec_qrels import Judgement, judged_split, read_qrels
from optical_mteb.collection.trec_topics import read_topics, read_topics_tsv
from tests.collection.conftest import refused


@pytest.fixture
def written(tmp_path: Path) -> Callable[[str | bytes], Path]:
    """Writes a file."""

    def write(content: str | bytes, name: str = "file.txt") -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


# Judgements


def test_qrels_come_as_written(written):
    """Guards against swapped columns, and failures on white space other than one tab, an empty line or a byte order mark."""
    path = written("\ufeff301 0 FBIS3-10082 1\r\n301\tQ0\tBBC#788#6\t0\n\n 302  0   A   -1 \n")
    assert read_qrels(path) == [
        Judgement("301", "FBIS3-10082", 1, f"{path}:1"),
        Judgement("301", "BBC#788#6", 0, f"{path}:2"),
        Judgement("302", "A", -1, f"{path}:4"),
    ]


def test_a_repeated_line_counts_once(written):
    """Guards against a judgement that is there twice."""
    assert len(read_qrels(written("1 0 a 1\n1 0 a 1\n1 0 b 1\n"))) == 2


# Topics

TREC = """
<top>
<num> Number: 301
<title> International Organized Crime

<desc> Description:
Identify organizations that participate in
international criminal activity.

<narr> Narrative:
A relevant document must name it.
</top>

<top>

<num> Number: 302
<title> Topic: Poliomyelitis &amp; Post-Polio
<dom> Domain: Medicine
not to be read
<desc> Description:
Is it under control? 3 < 5, <http here
</top>
"""

CLEF = """<top lang="EN">
<num> C041 </num>
<EN-title> Pesticides in Baby Food </EN-title>
<EN-desc> Find reports on pesticides
in baby food. </EN-desc>
<EN-narr> Relevant documents report. </EN-narr>
</top>
<top lang="EN"><num>C042</num><EN-title>U.N./US Invasion of Haiti</EN-title><EN-desc>Find.</EN-desc></top>
"""


def test_topics_of_trec(written):
    """Guards against misread elements without end tags, labels, entities, a text in lines, other elements, a < that is text."""
    path = written(TREC)
    assert read_topics(path) == [
        Entry(
            "301",
            "International Organized Crime Identify organizations that participate in international criminal activity.",
            where=f"{path}:2",
        ),
        Entry("302", "Poliomyelitis & Post-Polio Is it under control? 3 < 5, <http here", where=f"{path}:14"),
    ]


def test_topics_of_clef(written):
    """Guards against misread end tags, attributes, languages in tags, and a topic in one line."""
    path = written(CLEF)
    first, second = read_topics(path)
    assert first == Entry("C041", "Pesticides in Baby Food Find reports on pesticides in baby food.", where=f"{path}:1")
    assert second == Entry("C042", "U.N./US Invasion of Haiti Find.", where=f"{path}:8")


def test_topics_without_the_end_tag_of_the_topic(written):
    """Guards against a topic that is lost where the next one begins, or the file ends."""
    topics = read_topics(written("<top>\n<num> 1\n<title> a\n<top>\n<num> 2\n<title> b\n"))
    assert [(topic.id, topic.text) for topic in topics] == [("1", "a"), ("2", "b")]


def test_topics_as_table(written):
    """Guards against quotation marks read as CSV's, blanks kept around texts, and a third column that passes."""
    path = written('11\tWhere was he born?\n\n238\t"What was it? "\n291\t Where?  \n1\ta\tb\n')
    assert read_topics_tsv(path) == [
        Entry("11", "Where was he born?", where=f"{path}:1"),
        Entry("238", '"What was it? "', where=f"{path}:3"),
        Entry("291", "Where?", where=f"{path}:4"),
        Entry("1", "a b", where=f"{path}:5"),
    ]


def test_topics_with_labels(written):
    """Guards against misread Swahili and Somali topics: labels, empty lines, a description of several lines."""
    path = written(
        "\ufeffquery_id: C001\ntitle: Usanifu: Berlin\ndescription: Tafuta nyaraka\nkuhusu usanifu.\n\n\n"
        "query_id:C002\nTitle: b\ndescription: c\ndescription: d\n"
    )
    assert read_topics(path) == [
        Entry("C001", "Usanifu: Berlin Tafuta nyaraka kuhusu usanifu.", where=f"{path}:1"),
        Entry("C002", "b c d", where=f"{path}:7"),
    ]


@pytest.mark.parametrize(
    ("content", "number"), [(TREC, "301"), ("\n7\ttitle: a\n", "7"), ("\n\nQuery_ID: C9\ntitle: a\tb\n", "C9")]
)
def test_format_is_told_from_the_first_line(written, content: str, number: str):
    """Guards against a format that is guessed wrong."""
    assert read_topics(written(content))[0].id == number


# Documents

LA_TIMES = """<DOC>
<DOCNO> LA010194-0001 </DOCNO>
<DOCID> 000001 </DOCID>
<DATE>
<P>
January 1, 1994
</P>
</DATE>
<HEADLINE>
<P>
WATER &amp; POWER;
</P>
<P>
A 5 < 7 QUESTION
</P>
</HEADLINE>
<BYLINE><P>By A WRITER</P></BYLINE>
<TEXT>
<P>
The first   paragraph.
</P>
<!-- a remark -->
<P ALIGN=LEFT>The second.</P>
</TEXT>
<TYPE><P>Column</P></TYPE>
</DOC>
<DOC><DOCNO>LA010194-0002</DOCNO><TEXT>One line.</TEXT></DOC>
outside
<DOC>
<DOCNO> LA010194-0003 </DOCNO>
<DATE> never </DATE>
</DOC>
"""


def documents(path: Path, **options: str) -> list[Entry]:
    return list(read_documents(path, titles=["headline"], texts=["TEXT"], **options))


@pytest.mark.parametrize("packed", [False, True])
def test_documents_of_the_la_times(written, packed: bool):
    """Guards against elements that leak into text or title, and misread tags, entities, documents in one line and packed files."""
    path = written(gzip.compress(LA_TIMES.encode()) if packed else LA_TIMES, "la010194.gz" if packed else "la010194")
    assert documents(path) == [
        Entry("LA010194-0001", "The first paragraph. The second.", "WATER & POWER; A 5 < 7 QUESTION", f"{path}:1"),
        Entry("LA010194-0002", "One line.", "", f"{path}:27"),
        Entry("LA010194-0003", "", "", f"{path}:29"),
    ]


def test_element_without_end_tag_ends_at_the_next(written):
    """Guards against a headline that swallows the text, and a text that swallows the next document."""
    content = "<DOC>\n<DOCNO> a\n<HEADLINE> h\n<TEXT> t\n</DOC>\n<doc><docno>b</docno><text>u</doc>\n"
    assert [(d.id, d.title, d.text) for d in documents(written(content))] == [("a", "h", "t"), ("b", "", "u")]


@pytest.mark.parametrize(
    ("read", "content", "message"),
    [
        (read_qrels, "1 0 a 1\n1 0 b\n", r"file.txt:2: expected 'query 0 document grade'.*found '1 0 b'"),
        (read_qrels, "1 0 a 0.5\n", r"file.txt:1: expected"),
        (read_qrels, "1 0 a 1_0\n", r"file.txt:1: expected"),
        (read_qrels, "1 0 a \u0661\n", r"file.txt:1: expected"),
        (read_qrels, "1 0 a 999999999\n", r"file.txt:1: expected .*up to 9999"),
        (
            read_qrels,
            "1 0 a 1\n\n1 0 a 2\n",
            r"file.txt:3: query '1' and document 'a' have the grade 2, but 1 at .*file.txt:1",
        ),
        (read_qrels, b"1 0 a 1\n1 0 \xe9 1\n", r"file.txt:2: byte 5 of the line is not valid UTF-8"),
        (read_qrels, "\n", "file.txt: holds no judgement"),
        (read_topics, "301 Organized Crime\n", "file.txt:1: expected '<top>', 'query_id: ...', or an id"),
        (read_topics, "\n\n", "file.txt: holds no topic"),
        (read_topics_tsv, "", "file.txt: holds no topic"),
        (read_topics_tsv, "1\ta\nhalf a line\n", "file.txt:2: expected an id, a tab and a text, found 'half a line'"),
        (read_topics_tsv, "1\t\n", "file.txt:1: expected"),
        (read_topics_tsv, "1\ta\tb\tc\n", "file.txt:1: expected"),
        (read_topics_tsv, "1\ta\n2\tb\n1\tc\n", "file.txt:3: topic '1' appears twice, the first at .*file.txt:1"),
        (read_topics, "\n<top>\n<title> a\n</top>\n", "file.txt:2: expected a topic with a number"),
        (read_topics, "<top>\n<num> 1 2\n<title> a\n</top>\n", "file.txt:1: expected a topic with a number"),
        (read_topics, "<top>\n<num> 1\n<narr> a\n</top>\n", "file.txt:1: topic '1' has neither title nor desc"),
        (
            read_topics,
            "<top>\n<num> 1\n<title> a\n<num> 2\n<title> b\n",
            "file.txt:4: .* at .*:1 has a second num",
        ),
        (read_topics, CLEF + CLEF, "file.txt:9: topic 'C041' appears twice, the first at .*file.txt:1"),
        (read_topics, "title: a\n", "file.txt:1: expected '<top>', 'query_id: ...', .*, found 'title: a'"),
        (read_topics, "query_id: 1\ntitle: a\ntitle: b\n", "file.txt:3: .* has a second title"),
        (read_topics, "query_id: 1\n\nquery_id: 2\ntitle: a\n", "file.txt:1: topic '1' has neither"),
        (
            documents,
            "<DOC>\n<DOCNO>a</DOCNO>\n<DOC>\n",
            "file.txt:3: a document begins before the one at .*file.txt:1 ends",
        ),
        (documents, "\n<DOC>\n<DOCNO>a</DOCNO>\n<TEXT>b\n", "file.txt:2: the document does not end"),
        (documents, "<DOC>\n<DOCNO>a</DOCNO>\n</DOC>\n</DOC>\n", "file.txt:4: a document ends that did not begin"),
        (documents, "\n<DOC>\n<TEXT>a</TEXT>\n</DOC>\n", "file.txt:2: expected a document with a <DOCNO>, found ''"),
        (
            documents,
            "<DOC>\n<DOCNO>a b</DOCNO>\n</DOC>\n",
            "file.txt:1: expected a document with a <DOCNO>, found 'a b'",
        ),
        (
            documents,
            "<DOC>\n<DOCNO>a</DOCNO>\n<DOCNO>b</DOCNO>\n</DOC>\n",
            "file.txt:3: .* at .*file.txt:1 has a second <DOCNO>",
        ),
        (documents, "a readme\n", "file.txt: holds no <DOC>"),
    ],
)
def test_bad_lines_are_refused_with_their_place(written, read: Callable, content: str | bytes, message: str):
    """Guards against a judgement, topic or document that is skipped, misread, merged with its neighbour or ends in a traceback."""
    with refused(message):
        read(written(content))


@pytest.mark.long
def test_documents_are_streamed(written):
    """Guards against a file that is read into memory whole."""
    path = written("<DOC>\n<DOCNO>a</DOCNO>\n<TEXT>\nword\n</TEXT>\n</DOC>\n" * 8_000)
    tracemalloc.start()
    count = sum(1 for _ in read_documents(path, texts=["TEXT"]))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 8_000
    assert peak < path.stat().st_size / 4


@pytest.mark.parametrize("piece", ["<", "<a", "<a ", "<a <!", "< >", "&", "&a", "<!--"])
def test_hostile_line_takes_linear_time(piece: str):
    """Guards against a reading whose time grows with the square of a line's length."""
    started = time.process_time()
    assert plain(text for _, text in split_tags(piece * 50_000)) is not None
    assert time.process_time() - started < 1


# A split


def judge(query: str, document: str, grade: int, line: int = 1) -> Judgement:
    return Judgement(query, document, grade, f"qrels:{line}")


@pytest.fixture
def corpus():
    return corpus_dataset("c", "1", lambda: iter([Entry("a", "x"), Entry("b", "y"), Entry("empty", "")]))


@pytest.mark.parametrize(
    ("judgement", "message"),
    [
        (judge("1", "gone", 1, 7), "qrels:7: document 'gone' is not there"),
        (judge("1", "empty", 1, 8), "qrels:8: document 'empty' is not there, or has no text"),
        (judge("9", "a", 1, 9), "qrels:9: query '9' is not there"),
    ],
)
def test_judgement_that_points_nowhere_is_refused_with_its_line(corpus, judgement: Judgement, message: str):
    """Guards against judgements of what is not there."""
    with refused(message):
        judged_split("t", corpus, [Entry("1", "q")], [judge("1", "a", 1), judgement])
