"""The TMX reader."""

import tracemalloc

import pytest

from optical_mteb.bitext.records import Malformed, Record
from optical_mteb.bitext.tmx import read_tmx
from tests.collection.conftest import refused

HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n<tmx version="1.4"><header srclang="en"/><body>\n'
TAIL = "</body></tmx>\n"


def unit(english: str, other: str, *, tag: str = "sw", english_tag: str = "en", tuid: str = "") -> str:
    attribute = f' tuid="{tuid}"' if tuid else ""
    return (
        f'<tu{attribute}><prop type="note">p</prop><tuv xml:lang="{english_tag}"><seg>{english}</seg></tuv>'
        f'<tuv xml:lang="{tag}"><seg>{other}</seg></tuv></tu>\n'
    )


def tmx(tmp_path, *units: str):
    path = tmp_path / "a.tmx"
    path.write_text(HEAD + "".join(units) + TAIL, encoding="utf-8")
    return path


def test_units_with_ids_and_lines(tmp_path):
    """Guards against wrong ids, line numbers and predefined entities, and notes that are taken for text."""
    path = tmx(tmp_path, unit("a &amp; b", "x &lt; y", tuid="D:1"), unit("c", "ń"))
    assert list(read_tmx(path, "swh")) == [Record("D:1", "a & b", "x < y", 3), Record("4", "c", "ń", 4)]


def test_english_tag_picks_the_variant(tmp_path):
    """Guards against a wrong choice between two English variants; a bare tag takes the first."""
    british = '<tuv xml:lang="en-GB"><seg>colour</seg></tuv>'
    path = tmx(tmp_path, unit("color", "rangi", english_tag="en-US").replace("<tuv", british + "<tuv", 1))
    assert [r.english for r in read_tmx(path, "swh", english_tag="en-US")] == ["color"]
    assert [r.english for r in read_tmx(path, "swh")] == ["colour"]


@pytest.mark.parametrize(
    ("segment", "text"),
    [
        ('a <bpt i="1">&lt;b&gt;</bpt>bold<ept i="1">&lt;/b&gt;</ept> <hi>b</hi>', "a bold b"),
        ('a <bpt i="1"/>b<ept i="1"/>old', "a bold"),
        ('one<ph type="lb"/>two', "one two"),
        ("one<ph><sub>note</sub></ph>two<it pos='begin'>&lt;i&gt;</it>three<ut/>four", "one two three four"),
    ],
)
def test_formatting_codes_are_no_text(tmp_path, segment, text):
    """Guards against markup in the training text, highlighted words that get lost, and words joined at a line break."""
    assert [r.english for r in read_tmx(tmx(tmp_path, unit(segment, "x")), "swh")] == [text]


@pytest.mark.parametrize(
    ("tags", "language", "tag", "read"),
    [
        (["es-LA", "es-419"], "spa", None, ["x0", "x1"]),
        (["pt-BR", "pt_br"], "por", None, ["x0", "x1"]),
        (["tl", "fr"], "tgl", None, ["x0"]),
        (["fil-PH", "fr"], "fil", None, ["x0"]),
        (["kik", "swh"], "swh", None, ["x1"]),
        (["ln", "ln"], "lin", None, ["x0", "x1"]),
        (["ti_ER", "ti_ET"], "tir", None, ["x0", "x1"]),
        (["ak", "din"], "twi", None, []),
        (["ak", "din"], "twi", "ak", ["x0"]),
        (["kr", "lin"], "lin", None, ["x1"]),
        (["sw", "sw"], "fra", None, []),
        (["sw", "sw"], "fra", "sw", ["x0", "x1"]),
        (["x-klingon", "fr"], "fra", "X-Klingon", ["x0"]),
        (["en-US", "ln"], "lin", None, ["x1"]),
    ],
)
def test_any_tag_can_be_read(tmp_path, tags, language, tag, read):
    """Guards against files that cannot be read for their tag, and against text of another language read as the wanted one.

    Tags may name a region or use another code of the language.
    """
    path = tmx(tmp_path, *[unit("a", f"x{n}", tag=tag, english_tag="en-US") for n, tag in enumerate(tags)])
    records = list(read_tmx(path, language, translation_tag=tag))
    assert [record.translation for record in records if isinstance(record, Record)] == read
    lacking = [str(record) for record in records if isinstance(record, Malformed)]
    assert all(line.endswith("translation_tag can name another tag") for line in lacking)
    assert len(lacking) == 2 - len(read)


def test_units_that_lack_a_side_are_reported(tmp_path):
    """Guards against a unit without translation that takes the text of its neighbour."""
    path = tmx(tmp_path, unit("a", "x"), unit("b", "y", tag="fr", tuid="D:2"), "<tu/>\n", unit("c", "z"))
    records = list(read_tmx(path, "swh"))
    assert [str(r) for r in records if isinstance(r, Malformed)] == [
        f"{path}:4: unit 'D:2' has en, fr, expected a side in swh; translation_tag can name another tag",
        f"{path}:5: unit '5' has no text, expected a side in en; english_tag can name another tag",
    ]
    assert [r.english for r in records if isinstance(r, Record)] == ["a", "c"]


def test_entity_declarations_are_refused(tmp_path):
    """Guards against the billion-laughs attack, and a refusal of a DOCTYPE that declares nothing, which is common."""
    path = tmp_path / "a.tmx"
    bomb = '<!DOCTYPE tmx [\n<!ENTITY a "ha">\n<!ENTITY b "&a;&a;">]>\n<tmx><body>'
    path.write_text(bomb + unit("&b;", "x") + TAIL)
    with refused(r"a\.tmx:2: declares the entity 'a'; "):
        list(read_tmx(path, "swh"))
    path.write_text('<!DOCTYPE tmx SYSTEM "tmx14.dtd">\n<tmx><body>' + unit("a", "x") + TAIL)
    assert [r.english for r in read_tmx(path, "swh")] == ["a"]
    path.write_text('<!DOCTYPE tmx SYSTEM "tmx14.dtd">\n<tmx><body>' + unit("a&nbsp;b", "x") + TAIL)
    with refused(r"a\.tmx:2: entity &nbsp; is not defined"):
        list(read_tmx(path, "swh"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (HEAD + unit("a", "x") + "<tu></tuv>\n", r"a\.tmx:4: not well-formed XML \(mismatched tag\)"),
        (HEAD + unit("a", "x"), r"a\.tmx:4: not well-formed XML \(no element found\)"),
        ("", r"a\.tmx:1: not well-formed XML \(no element found\)"),
        ("<html><body/></html>", r"a\.tmx:1: no <tmx> element"),
        (HEAD + unit("a", "x") + unit("b", "@") + TAIL, r"a\.tmx:4: not well-formed XML"),
    ],
)
def test_broken_xml_names_the_line(tmp_path, content, message):
    """Guards against a parser traceback, a truncated download that passes as a short file, and replaced characters."""
    path = tmp_path / "a.tmx"
    path.write_bytes(content.encode().replace(b"@", b"\xff"))
    with refused(message):
        list(read_tmx(path, "swh"))


def test_memory_stays_constant(tmp_path):
    """Guards against a reader that builds the whole tree: 8 MB of units in less than 1 MB."""
    path = tmx(tmp_path, *[unit("a" * 400, "x" * 400)] * 8_000)
    tracemalloc.start()
    try:
        count = sum(1 for _ in read_tmx(path, "swh"))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 8_000
    assert path.stat().st_size > 7_000_000
    assert peak < 1_000_000


def test_encodings_and_sizes_that_the_parser_does_not_take(tmp_path):
    """Guards against a traceback for an encoding that Python or expat lacks, and a hang over a tag without an end."""
    path = tmp_path / "a.tmx"
    for encoding in ("nope", "gbk", "shift_jis", "utf-7", "utf-32", "base64", "idna", "undefined", "x" * 5000):
        path.write_text(f'<?xml version="1.0" encoding="{encoding}"?><tmx>{unit("a", "x")}</tmx>')
        with refused(r"a\.tmx:1: cannot be read in the encoding that it declares"):
            list(read_tmx(path, "swh"))
    for start in ('<tmx a="', "<!--"):
        path.write_text(start + "x" * (8 << 20))
        with refused(r"a\.tmx:1: a tag or comment of more than 4 MB"):
            list(read_tmx(path, "swh"))
    path.write_bytes(f'<?xml version="1.0" encoding="koi8-r"?><tmx>{unit("a", "ы")}</tmx>'.encode("koi8-r"))
    assert [record.translation for record in read_tmx(path, "swh")] == ["ы"]
