"""TICO-19: the publisher's translation memories, small, and the real ones against counts of its own."""

from __future__ import annotations

import csv
import re
import unicodedata
import zipfile
from collections import Counter, defaultdict
from pathlib import Path
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import pytest

from optical_mteb.recipes import shipped_recipes
from optical_mteb.tasks.tico19_retrieval import MISALIGNED, TEST_DOCUMENTS, TICO19Retrieval
from optical_mteb.training.recipe import read_recipe
from tests.collection.conftest import refused
from tests.tasks.conftest import real_data, texts

REAL, with_real_data = real_data("bitext/tico19")

HEAD = (
    '<?xml version="1.0" encoding="UTF-8"?>\n<tmx version="1.4"><header creationtool="unknown" '
    'creationtoolversion="unknown" segtype="paragraph" o-tmf="unknown" adminlang="en" srclang="en" '
    'datatype="text"></header><body>\n'
)
TAIL = "</body></tmx>\n"
ROW = "wiki_9:1\twiki_9\ttest\tu\ta\tx\n"


def unit(key: str, english: str, translation: str, code: str) -> str:
    return (
        f'<tu tuid="{key}">\n<prop type="note">https://en.wikipedia.org/</prop>\n<tuv xml:lang="en">\n'
        f'<seg>{escape(english)}</seg></tuv>\n<tuv xml:lang="{code}"><seg>{escape(translation)}</seg></tuv>\n</tu>\n'
    )


@pytest.fixture
def folder(data: Path) -> Path:
    folder = data / "bitext" / "tico19"
    folder.mkdir(parents=True)
    return folder


def write(folder: Path, code: str, *rows: tuple[str, str, str]) -> Path:
    path = folder / f"all.en-{code}.tmx"
    path.write_text(HEAD + "".join(unit(*row, code) for row in rows) + TAIL, encoding="utf-8")
    return path


def load(subset: str = "swh-eng"):
    return TICO19Retrieval().load_split(subset, "test")


def test_test_documents_in_blocks_of_five(folder: Path):
    """Guards against passages across two documents or of another size, and sentences of dev documents or of no document."""
    rows = [("CMU_1:1", "any pain?", "maumivu?"), ("wiki_26:2435", "dev", "ukuzaji")]
    rows += [(f"wiki_20:{n}", f"e{n} & <b>", f"s{n} & <b>") for n in range(2411, 2418)]
    rows += [("wiki_7:2439", "last", " mwisho ")]
    write(folder, "sw", *rows)
    split = load()
    assert texts(split["corpus"]) == {
        "wiki_20:2411": "e2411 & <b>\ne2412 & <b>\ne2413 & <b>\ne2414 & <b>\ne2415 & <b>",
        "wiki_20:2416": "e2416 & <b>\ne2417 & <b>",
        "wiki_7:2439": "last",
    }
    assert texts(split["queries"]) == {
        **{f"wiki_20:{n}": f"s{n} & <b>" for n in range(2411, 2418)},
        "wiki_7:2439": "mwisho",
    }
    assert split["relevant_docs"] == {
        **{f"wiki_20:{n}": {"wiki_20:2411": 1} for n in range(2411, 2416)},
        **{f"wiki_20:{n}": {"wiki_20:2416": 1} for n in (2416, 2417)},
        "wiki_7:2439": {"wiki_7:2439": 1},
    }


def test_a_sentence_that_two_documents_share_is_relevant_to_both(folder: Path):
    """Guards against a right answer that counts as wrong: English that differs in a comma, one translation of two sentences."""
    write(
        folder,
        "sw",
        ("wiki_4:1", "Fever, cough, and pain.", "homa"),
        ("wiki_4:2", "One.", "moja"),
        ("wiki_9:1", "Fever, cough and pain.", "kikohozi"),
        ("wiki_10:1", "A single one.", "Moja!"),
    )
    assert load()["relevant_docs"] == {
        "wiki_4:1": {"wiki_4:1": 1, "wiki_9:1": 1},
        "wiki_4:2": {"wiki_10:1": 1, "wiki_4:1": 1},
        "wiki_9:1": {"wiki_4:1": 1, "wiki_9:1": 1},
        "wiki_10:1": {"wiki_10:1": 1, "wiki_4:1": 1},
    }


def test_marathi_that_differs_in_vowels_alone_is_not_the_same(folder: Path):
    """Guards against vowel signs that are taken for punctuation, and digits that are rewritten."""
    write(folder, "mr", ("wiki_4:1", "a", "का १४"), ("wiki_9:1", "b", "की १४"))
    split = load("mar-eng")
    assert split["relevant_docs"] == {"wiki_4:1": {"wiki_4:1": 1}, "wiki_9:1": {"wiki_9:1": 1}}
    assert texts(split["queries"]) == {"wiki_4:1": "का १४", "wiki_9:1": "की १४"}


def test_sentences_without_translation_ask_nothing(folder: Path):
    """Guards against queries in English, empty ones and place holders; their English stays in the passage."""
    write(
        folder,
        "tl",
        ("wiki_4:1", "LICENSING: CC0", "LICENSING: CC0"),
        ("wiki_4:2", '" The ""word"" is out.', '"The ""word"" is out.'),
        ("wiki_4:3", "Genus", " "),
        ("wiki_4:4", "Also trials.", "{NS}"),
        ("wiki_4:5", "See also: Flight", "Tingnan din: Flight"),
    )
    split = load("tgl-eng")
    assert texts(split["queries"]) == {"wiki_4:5": "Tingnan din: Flight"}
    assert texts(split["corpus"]) == {
        "wiki_4:1": 'LICENSING: CC0\n" The ""word"" is out.\nGenus\nAlso trials.\nSee also: Flight'
    }


def test_documents_that_are_shifted_in_french_ask_nothing_in_french(folder: Path):
    """Guards against French queries judged on passages that they do not translate, and their answers taken for right ones."""
    rows = [(f"{name}:1", f"english {name}", f"other {name}") for name in ("PubMed_8", "Wikinews_1", "Wikinews_3")]
    rows += [("wiki_9:1", "sound", "other Wikinews_3")]
    write(folder, "fr", *rows)
    write(folder, "pt-BR", *rows)
    french, portuguese = load("fra-eng"), load("por-eng")
    assert french["relevant_docs"] == {"wiki_9:1": {"wiki_9:1": 1}}
    assert texts(french["corpus"]) == texts(portuguese["corpus"])
    assert list(portuguese["queries"]["id"]) == ["PubMed_8:1", "Wikinews_1:1", "Wikinews_3:1", "wiki_9:1"]


def test_somali_is_read_from_the_repaired_file_alone(folder: Path, monkeypatch: pytest.MonkeyPatch):
    """Guards against Somali sentences that are a line off, and quotes that are taken for CSV."""
    write(folder, "so", ("wiki_9:1", "a", "shifted"), ("wiki_9:2", "b", "too"))
    place = re.escape(str(folder / "tico19.en-so.realigned.tsv"))
    with refused(rf"^tico19: .* shifted by a line in two ranges; .* at {place}, or choose"):
        load("som-eng")
    (folder / "tico19.en-so.realigned.tsv").write_text(
        'wiki_9:1\twiki_9\ttest\thttps://x\t"a\tkow\nwiki_26:1\twiki_26\tdev\thttps://x\tb\tlaba\n', encoding="utf-8"
    )
    split = load("som-eng")
    assert texts(split["corpus"]) == {"wiki_9:1": '"a'}
    assert texts(split["queries"]) == {"wiki_9:1": "kow"}
    monkeypatch.delenv("OPTICAL_MTEB_DATA")
    with refused(r"at OPTICAL_MTEB_DATA/bitext/tico19/tico19\.en-so\.realigned\.tsv"):
        load("som-eng")


@pytest.mark.parametrize(("code", "subset"), [("es-LA", "spa-eng"), ("ti_ET", "tir-eng"), ("kr", "knc-eng")])
def test_codes_of_the_publisher(folder: Path, code: str, subset: str):
    """Guards against failures on codes that are not ISO 639-3, in the file's name and in its `xml:lang`."""
    write(folder, code, ("wiki_9:1", "a", "x"))
    assert texts(load(subset)["queries"]) == {"wiki_9:1": "x"}


def test_the_publishers_zip_is_unpacked(folder: Path):
    """Guards against a wrong name of the file inside of the archive."""
    path = write(folder, "sw", ("wiki_9:1", "a", "x"))
    with zipfile.ZipFile(folder / "all.en-sw.tmx.zip", "w") as packed:
        packed.write(path, "all.en-sw.tmx")
    path.unlink()
    assert texts(load()["queries"]) == {"wiki_9:1": "x"}


@pytest.mark.parametrize(
    ("subset", "content", "message"),
    [
        ("swh-eng", HEAD + unit("wiki_9:1", "a", "x", "so") + TAIL, r"sw\.tmx:3: unit 'wiki_9:1' has en, so, expected"),
        ("swh-eng", HEAD + unit("wiki_9:1", "a", "x", "sw") * 2 + TAIL, r"tmx:9: query id 'wiki_9:1' appears twice"),
        ("swh-eng", HEAD + unit("wiki_26:1", "a", "x", "sw") + TAIL, r"19Retrieval/swh-eng/test: there is no document"),
        ("som-eng", f"{ROW}wiki_9:2\twiki_9\ttest\tu\ta\t@\n", r"tsv:2: byte 26 of the line"),
        ("som-eng", f"{ROW}wiki_9:2\ta\tx\n", r"tsv:2: 3 columns, expected 6"),
        ("som-eng", "wiki_9:1\ta\tx\n", r"tsv:1: no column 4"),
    ],
)
def test_damaged_files_are_refused_by_line(folder: Path, subset: str, content: str, message: str):
    """Guards against tracebacks on units without a side, repeated ids, a file of dev alone, and Somali rows cut short."""
    name = {"swh-eng": "all.en-sw.tmx", "som-eng": "tico19.en-so.realigned.tsv"}[subset]
    (folder / name).write_bytes(content.encode().replace(b"@", b"\xff"))
    with refused(message):
        load(subset)


def test_students_that_read_tico19_name_the_task():
    """Guards against a student whose scores on its own training data pass as zero-shot."""
    reads = {name: read_recipe(path) for name, path in shipped_recipes().items()}
    trained = {name for name, recipe in reads.items() if any("tico19" in each.source for each in recipe.bitext)}
    assert {"tico19", "tico19-small"} <= trained
    assert {name for name, recipe in reads.items() if "TICO19Retrieval" in recipe.mteb_tasks} == trained


def real_rows(code: str) -> list[tuple[str, str, str]]:
    if code == "so":
        with (REAL / "tico19.en-so.realigned.tsv").open(encoding="utf-8", newline="") as stream:
            rows = list(csv.reader(stream, delimiter="\t", quoting=csv.QUOTE_NONE))
        return [(row[0], row[4].strip(), row[5].strip()) for row in rows]
    units = ElementTree.parse(REAL / f"all.en-{code}.tmx").getroot().iter("tu")
    return [(each.get("tuid"), *((seg.text or "").strip() for seg in each.iter("seg"))) for each in units]


@with_real_data
def test_test_documents_against_the_published_split():
    """Guards against a wrong list of documents: all whose sentences are in the test split, and CMU_1 the only divided one."""
    with (REAL / "tico19.en-so.realigned.tsv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.reader(stream, delimiter="\t", quoting=csv.QUOTE_NONE))
    splits = defaultdict(Counter)
    for row in rows:
        splits[row[1]][row[2]] += 1
    assert {name for name, counts in splits.items() if set(counts) == {"test"}} == TEST_DOCUMENTS
    assert {name: dict(counts) for name, counts in splits.items() if len(counts) > 1} == {
        "CMU_1": {"test": 104, "dev": 37}
    }
    assert sum(counts["test"] for counts in splits.values()) == 2100


@pytest.mark.long
@with_real_data
@pytest.mark.parametrize("code", ["sw", "tl", "mr", "fr", "es-LA", "pt-BR", "ha", "zu"])
def test_misaligned_documents_against_the_figures_in_their_sentences(code: str):
    """Guards against documents whose translations are shifted: the numbers of a sentence must be in its translation."""
    agreement = defaultdict(list)
    for key, english, translation in real_rows(code):
        digits = "".join(str(unicodedata.digit(each, each)) for each in translation)
        numbers = set(re.findall(r"\d+", english))
        if numbers:
            agreement[key.partition(":")[0]].append(len(numbers & set(re.findall(r"\d+", digits))) / len(numbers))
    shifted = {name for name, shares in agreement.items() if len(shares) > 2 and sum(shares) / len(shares) < 0.6}
    assert shifted == (MISALIGNED["fra"] if code == "fr" else set())


@pytest.mark.long
@with_real_data
@pytest.mark.parametrize(
    ("code", "subset", "queries"),
    [
        ("sw", "swh-eng", 1996),
        ("so", "som-eng", 1996),
        ("tl", "tgl-eng", 1978),
        ("mr", "mar-eng", 1996),
        ("fr", "fra-eng", 1637),
        ("es-LA", "spa-eng", 1994),
        ("pt-BR", "por-eng", 1996),
        ("ha", "hau-eng", 1996),
        ("zu", "zul-eng", 1996),
    ],
)
def test_real_files_against_an_independent_count(code: str, subset: str, queries: int):
    """Guards against sentences lost, doubled or judged on a passage that does not have their English."""
    split = load(subset)
    corpus, asked = texts(split["corpus"]), texts(split["queries"])
    rows = {
        key: (english, translation)
        for key, english, translation in real_rows(code)
        if key.partition(":")[0] in TEST_DOCUMENTS
    }
    sizes = Counter(key.partition(":")[0] for key in rows)
    skipped = {"PubMed_8", "Wikinews_1", "Wikinews_3"} if code == "fr" else set()
    expected = {
        key: translation
        for key, (english, translation) in rows.items()
        if key.partition(":")[0] not in skipped
        and translation != "{NS}"
        and re.sub(r"\W", "", translation) != re.sub(r"\W", "", english)
    }
    assert asked == expected
    assert len(asked) == len(split["queries"]) == queries
    assert len(corpus) == len(split["corpus"]) == sum((size + 4) // 5 for size in sizes.values()) == 405
    assert "\n".join(corpus.values()) == "\n".join(english for english, _ in rows.values())
    assert all(corpus.values())
    assert all(asked.values())
    assert split["relevant_docs"].keys() == asked.keys()
    for key, relevant in split["relevant_docs"].items():
        assert any(rows[key][0] in corpus[passage].split("\n") for passage in relevant)
    shared = [relevant for relevant in split["relevant_docs"].values() if len(relevant) > 1]
    assert sum(map(len, split["relevant_docs"].values())) == queries + len(shared)
    assert len(shared) == (8 if code == "fr" else 6)
