"""Tables in terminals of any width."""

from rich.console import Console
from rich.text import Text

from optical_mteb.terminal_table import TerminalTable


def printed(table, width):
    console = Console(width=width, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    console.print(table)
    return [line.rstrip() for line in console.export_text().splitlines()]


def test_no_word_is_cut_at_any_width():
    """Guards against cells that are cut inside a word or wider than the terminal, and against lost rows or markup."""
    table = TerminalTable("task", "subsets", "license", "score", whole=(3,), title="All [tasks]")
    table.add_row("TICO19Retrieval", "35: swh-eng som-eng mar-eng", "cc0-1.0", "1,234 5.6", style="bold")
    table.add_row("CLEFRetrieval", "swh-eng", "https://catalog.elra.info/en-us/repository", "7.8")
    table.add_row("TICO19Retrieval", Text("[left] out"))
    words = {"TICO19Retrieval", "swh-eng", "som-eng", "https://catalog.elra.info/en-us/repository", "[left]", "7.8"}
    for width in (200, 100, 80, 56):
        lines = printed(table, width)
        assert max(map(len, lines)) <= width
        assert lines[0] == "All [tasks]"
        assert words <= {word for line in lines for word in line.split()}
        assert any("1,234 5.6" in line for line in lines)
    assert printed(table, 100)[1].split() == ["task", "subsets", "license", "score"]
    assert printed(table, 56)[1:9] == [
        "TICO19Retrieval",
        "  subsets  35: swh-eng som-eng mar-eng",
        "  license  cc0-1.0",
        "  score    1,234 5.6",
        "",
        "CLEFRetrieval",
        "  subsets  swh-eng",
        "  license  https://catalog.elra.info/en-us/repository",
    ]
    assert printed(TerminalTable("task", "score"), 80) == ["task  score"]


def test_text_without_blanks_stays_in_a_table():
    """Guards against blocks of lines for a ranking of documents whose script puts no blanks between words."""
    table = TerminalTable("rank", "text", prose=(1,))
    table.add_row("1", "雨" * 100)
    lines = printed(table, 80)
    assert lines[0].split() == ["rank", "text"]
    assert "".join(lines).count("雨") == 100
