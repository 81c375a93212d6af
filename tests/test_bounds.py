"""Whatever comes in, the command ends in one line and code 2: numbers, names, paths, devices, terminals, start-up."""

import io
import sys
from pathlib import Path

import pytest
from rich.console import Console

from optical_mteb.cli.guard import print_anything, take_debug
from optical_mteb.errors import InputError
from optical_mteb.hardware import check_device, check_inference_device
from optical_mteb.storage import home
from optical_mteb.training.recipe import read_recipe
from tests.conftest import tiny_recipe, write_toml

HUGE = "9" * 5000


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tables = tiny_recipe("no-such-base", bitext=[{"source": "pairs.tsv", "language": "sw"}])
    return write_toml(tmp_path / "mine.toml", tables)


SETTINGS = {
    "seed": ["4294967296", "-1", HUGE, "1e400", "nan"],
    "name": ["x" * 300, "a/b", "..", "'a\\u0000b'"],
    "student.layers": [str(10**30), HUGE],
    "student.max_tokens": [str(10**30)],
    "student.dropout": ["nan", "1e308"],
    "training.steps": [str(10**30), "0", "1e308", HUGE, "[" * 5000, "{a=" * 5000 + "1" + "}" * 5000],
    "training.batch_size": [str(10**9), HUGE],
    "training.learning_rate": ["inf", "nan", "1e308"],
    "training.weight_decay": ["inf", "1e308"],
    "batches.monolingual": ["1e308", "inf"],
    "batches.window": [str(10**30)],
    "batches.caps": [f"{{sw={10**30}}}"],
    "objective.optical.epsilon": ["1e-300", "inf", "nan"],
    "objective.optical.weight": ["1e308"],
    "objective.optical.iterations": [str(10**30)],
    "objective.optical.layers": ["[-1000000000000]"],
    "objective.contrastive": ["{temperature=1e-300}"],
    "evaluation": [f"{{pairs={10**30}}}"],
    "bitext.0.limit": [str(10**30)],
    "bitext.0.max_length_ratio": ["inf", "nan"],
    "bitext.0.english_column": [str(10**30), "-1"],
    "bitext.0.language": ["x" * 5000, "'\\u0000'"],
    "bitext.0": [
        f"{{source='a.tsv', language='sw', url='{url}', sha256='{'0' * 64}'}}"
        for url in ("http://[::1", "http://", "http://a:99999999/", "http://a:0/")
    ],
    "bitext." + HUGE + ".limit": ["1"],
    "a" + ".a" * 100_000: ["1"],
}


def test_numbers_beyond_what_is_computed_with_are_refused(recipe):
    """Guards against a traceback, a hang or a NaN where a recipe has a number that the code underneath does not take."""
    taken = []
    for key, value in [(key, value) for key, values in SETTINGS.items() for value in values]:
        try:
            read_recipe(recipe, [f"{key}={value}"])
            taken.append(f"{key[:40]}={value[:60]}")
        except InputError:
            continue
    assert taken == []


@pytest.mark.parametrize(
    "text", ["a = " + "[" * 5000, "a = " + HUGE, "a" + ".a" * 100_000 + " = 1", "a = '\ud800'"], ids=lambda t: t[:8]
)
def test_a_file_that_python_cannot_parse_is_one_line(recipe, text):
    """Guards against a RecursionError or a ValueError from a TOML file that is nested too deep or holds huge numbers."""
    recipe.write_text(text, encoding="utf-8", errors="surrogatepass")
    with pytest.raises(InputError):
        read_recipe(recipe)


@pytest.mark.long
def test_names_and_paths_that_the_system_refuses_are_one_line(command, tmp_path):
    """Guards against a traceback where a name is too long, has a NUL, a lone surrogate, or an unknown user in it."""
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    names = [
        "x" * 300,
        "x" * 5000,
        "a\0b",
        "~nosuchuser/x",
        "",
        "/dev/null",
        "/dev/null/x",
        "\udce9",
        "\ud800",
        str(loop),
    ]
    wrong = []
    for name in names:
        for words in (
            ["train", name],
            ["models", name or "x y"],
            ["index", "info", name],
            ["study", name, "--dry-run"],
        ):
            code, _, errors = command(*words)
            # The parser of the command line shows the usage for a path with a NUL in it.
            in_one_line = errors.startswith("optical-mteb: error: ") and errors.count("\n") == 1
            if code != 2 or not (in_one_line or errors.startswith("Usage: ")):
                wrong.append((words, code, errors))
    assert wrong == []


def test_a_home_that_cannot_be_is_one_line(command, monkeypatch, tmp_path):
    """Guards against a traceback where OPTICAL_MTEB_HOME is too long, no folder, not UTF-8 or of an unknown user."""
    for place in ["/" + "x" * 300, "/dev/null", str(tmp_path / "\udce9"), "~nosuchuser"]:
        monkeypatch.setenv("OPTICAL_MTEB_HOME", place)
        code, _, errors = command("models", "nobody")
        assert (code, errors.count("\n")) == (2, 1), errors
    monkeypatch.delenv("OPTICAL_MTEB_HOME")
    monkeypatch.delenv("HOME")
    assert isinstance(home(), Path)


def test_devices_that_are_not_there_are_refused():
    """Guards against a traceback for a device that torch does not know, was not built for or finds too few of."""
    for device in ("foo", "", "cuda:99", "cuda:-1", "cpu ", "\udce9", "meta", "x" * 5000):
        for check in (check_device, check_inference_device):
            with pytest.raises(InputError, match="device") as refused:
                check(device)
            assert len(str(refused.value).splitlines()) == 1
    check_inference_device("cpu")
    check_inference_device(None)


def test_rank_that_is_no_number(command, recipe, monkeypatch):
    """Guards against a traceback where RANK is set to something that torchrun never sets."""
    monkeypatch.setenv("RANK", "x")
    code, _, errors = command("train", str(recipe))
    assert (code, "RANK=x" in errors) == (2, True)


def test_unforeseen_errors_of_input_are_one_line_and_faults_keep_their_traceback(command, monkeypatch):
    """Guards against tracebacks for odd input, and against a fault of the package that looks like odd input."""
    for error in (OSError(36, "File name too long", "x"), ValueError("a\nb"), OverflowError("big"), RecursionError()):
        monkeypatch.setattr("optical_mteb.bases.pypi_bases", lambda error=error: (_ for _ in ()).throw(error))
        code, _, errors = command("bases")
        assert (code, errors.count("\n")) == (2, 1)
        assert f"({type(error).__name__} at optical_mteb/cli/training.py:" in errors
        assert "--debug" in errors
        with pytest.raises(type(error)):
            command("bases", "--debug")
    monkeypatch.setattr("optical_mteb.bases.pypi_bases", lambda: {}["fault"])
    with pytest.raises(KeyError):
        command("bases")
    words = ["optical-mteb", "--debug", "index", "search", "--debug", "x", "--", "--debug"]
    assert take_debug(words)
    assert words == ["optical-mteb", "index", "search", "x", "--", "--debug"]
    assert not take_debug(words)


def test_a_full_standard_output_is_one_line(command, monkeypatch):
    """Guards against an error that Python only mentions at exit, with another code, when the output's disk is full."""
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with monkeypatch.context() as patch, Path("/dev/full").open("w") as full:
        patch.setattr(sys, "stdout", full)
        assert command("bases")[0] == 2


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_any_terminal_takes_the_output(monkeypatch, encoding):
    """Guards against UnicodeEncodeError on a terminal that lacks a character of a document."""
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding=encoding))
    print_anything()
    Console().print("document አማርኛ \udce9")
    sys.stdout.flush()
    assert written.getvalue().startswith(b"document \\u12a0")
