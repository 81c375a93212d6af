"""README and docs: short sentences, plain words, links that lead somewhere, commands and scripts that run."""

import re
import runpy
import shlex
import shutil
import sys
import tomllib
from pathlib import Path

import mteb
import pytest
import typer

from optical_mteb import cli
from optical_mteb.bases import MultilingualE5Small
from optical_mteb.registry import register
from optical_mteb.storage import students_folder
from optical_mteb.toml_file import read_table
from optical_mteb.training.recipe import Recipe, read_recipe
from optical_mteb.training.run import train
from tests import prose
from tests.conftest import tiny_recipe

ROOT = Path(__file__).parents[1]
DATA = ROOT / "examples" / "data"
PAGES = prose.pages()
BLOCK = re.compile(r"(?:<!-- not run: ([^>]+) -->\n)?^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
STUDENTS = ["optical-student", "quickstart-student", "my-student", "short-student"]
REPLACED = re.compile(
    r"\b(is called after|stands? twice|so many|on record|goes on|go on with|is said instead|mend|learnt|judgement)\b"
)
"""Words that read as translated, and spellings of another English than the ecosystem's."""


def blocks(page):
    """Language, text, and reason not to run it, of each block of code on a page."""
    return [(found[2], found[3], found[1]) for found in BLOCK.finditer(page.read_text())]


def recipes(page):
    """The recipes on a page, each with the name of its language before it."""
    return [(language, text) for language, text, _ in blocks(page) if language == "toml" and "[student]" in text]


def commands(text):
    """The words of each command of a shell block."""
    lines = text.replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def test_sentences_are_short_and_words_plain():
    """Guards against prose that takes two readings: of 100 sentences at most 3 have more than 30 words."""
    counts = [prose.share_of_long(page) for page in PAGES]
    assert sum(long for long, _ in counts) < 0.03 * sum(count for _, count in counts)
    plain = {page.name: re.sub(r"```.*?```|`[^`]*`", "", page.read_text(), flags=re.DOTALL) for page in PAGES}
    assert {name: found for name, text in plain.items() if (found := REPLACED.findall(text))} == {}


def test_links_lead_somewhere():
    """Guards against a link to a page, a section or a file that was moved."""
    broken = []
    for page in PAGES:
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
            name, _, section = target.partition("#")
            if re.match(r"https?:", target):
                continue
            path = (page.parent / name).resolve() if name else page
            headings = re.findall(r"^#+ (.*)", path.read_text(), re.M) if section and path.is_file() else []
            anchors = [re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings]
            if not path.exists() or (section and section not in anchors):
                broken.append(f"{page.name}: {target}")
    assert broken == []


def test_blocks_are_what_they_say():
    """Guards against a command with an option that is gone, a script that is none, a recipe that is not read."""
    main = typer.main.get_command(cli.app)
    seen = 0
    for page in PAGES:
        for language, text, _ in blocks(page):
            if language == "python":
                compile(text, page.name, "exec")
            elif language == "toml" and "[student]" in text:
                read_table(tomllib.loads(text), Recipe, where=page.name)
            elif language == "sh":
                for words in commands(text):
                    if words[0] == "optical-mteb" and words[1] != "run":
                        command, rest = main, words[1:]
                        while rest and rest[0] in getattr(command, "commands", {}):
                            command, rest = command.commands[rest[0]], rest[1:]
                        with_context = command.make_context(command.name, rest)
                        assert with_context.command is command
                        seen += 1
    assert seen > 50


def test_messages_of_the_troubleshooting_page_exist():
    """Guards against advice for a message that the package no longer prints."""
    rows = re.findall(r"^\| (.+?) \| .+ \|$", (ROOT / "docs/troubleshooting.md").read_text(), re.MULTILINE)
    messages = [found[1] for row in rows if (found := re.match(r"`([^`]{9,})`", row))]
    source = "\n".join(path.read_text() for path in (ROOT / "optical_mteb").rglob("*.py"))
    source = re.sub(r'"\s*\n\s*f?"', "", source)
    assert len(messages) >= 20
    assert [message for message in messages if message not in source and "No module" not in message] == []


def test_the_tables_of_recipe_keys_are_whole():
    """Guards against a key of a recipe without a description in the reference."""
    hooks = runpy.run_path(str(ROOT / "docs" / "hooks.py"))
    page = hooks["on_page_markdown"]((ROOT / "docs/reference/recipe.md").read_text())
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    assert len(rows) > 80
    assert [row for row in rows if row.endswith("|  |")] == []
    assert "| `steps` | whole number | required | Optimizer steps. |" in rows


@pytest.fixture(scope="module")
def trained(tiny_base, tmp_path_factory):
    """Folder of a tiny student."""
    home = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPTICAL_MTEB_HOME", str(home))
        bitext = [{"source": "cldr:som"}, {"source": "cldr:swh"}]
        train(read_recipe(tiny_recipe(tiny_base, bitext=bitext)), say=lambda _: None)
        return students_folder() / "tiny-student"


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """Folder for the results of the base and the student on a subset, which the first test fills."""
    return tmp_path_factory.mktemp("scored") / "results"


@pytest.fixture
def small_world(monkeypatch, tmp_path, trained, tiny_base, scored):
    """A folder with the files that the pages name, where bases and students are tiny."""
    monkeypatch.delenv("OPTICAL_MTEB_DATA", raising=False)
    monkeypatch.setattr(MultilingualE5Small, "folder", lambda self: tiny_base)
    monkeypatch.setattr(mteb, "evaluate", mteb.evaluate)
    monkeypatch.chdir(tmp_path)
    for name in STUDENTS:
        shutil.copytree(trained, students_folder() / name)
    shutil.copy(DATA / "bitext.tsv", "my-bitext.tsv")
    shutil.copy(DATA / "collection" / "corpus.jsonl", "corpus.jsonl")
    Path("more.jsonl").write_text('{"_id": "d17", "text": "a document more"}\n')
    Path("my-student.toml").write_text(next(text for *_, text in recipes(ROOT / "README.md")))
    collection = Path(shutil.copytree(DATA / "collection", "my-collection"))
    task = (collection / "task.toml").read_text()
    (collection / "task.toml").write_text(task.replace("ExampleNewsRetrieval", "MyNewsRetrieval"))
    if not scored.exists():
        for model in ("pypi:multilingual-e5-small", "optical-student"):
            run(["mteb", "run", "-m", model, "-t", "CLDRNameRetrieval", "--output-folder", str(scored)], monkeypatch)
    shutil.copytree(scored, "results")
    yield
    monkeypatch.setenv("OPTICAL_MTEB_HOME", str(tmp_path / "none"))
    register()


def shortened(words):
    """A command on less data: few steps, one subset."""
    if words[:2] in (["optical-mteb", "train"], ["optical-mteb", "baselines"]) and "--explain" not in words:
        return [*words, "--set", "training.steps=2", "--set", "training.batch_size=16"]
    if words[1] == "run" and "CLDRNameRetrieval" in words and "-l" not in words:
        return [*words, "-l", "som"]
    return words


def run(words, monkeypatch):
    """Runs a command in this process."""
    monkeypatch.setattr(sys, "argv", shortened(words))
    register()
    if words[0] == "mteb":
        from mteb.cli import main
    else:
        main = cli.main
    try:
        main()
        code = 0
    except SystemExit as stopped:
        code = stopped.code
    # Worse is what a tiny model may be.
    assert not code or (code == 1 and "--fail-if-worse" in words), words


RUN = [page for page in PAGES if any(language in ("sh", "python") and not why for language, _, why in blocks(page))]


@pytest.mark.slow
@pytest.mark.parametrize("page", RUN, ids=[page.stem for page in RUN])
def test_blocks_run(page, monkeypatch, small_world):
    """Guards against a command or script in README or docs that fails when it is pasted; each page in its order."""
    for language, text, not_run in blocks(page):
        if not_run:
            continue
        if language == "sh":
            for words in commands(text):
                run(words, monkeypatch)
        elif language == "python":
            register()
            exec(compile(text, page.name, "exec"), {})
