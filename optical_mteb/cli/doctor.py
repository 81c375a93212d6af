"""The command that shows what a report of a problem needs, and what is wrong."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import typer

from optical_mteb import __version__
from optical_mteb.errors import InputError

LIBRARIES = ("mteb", "sentence-transformers", "transformers", "torch", "faiss-cpu", "numpy")
EXTRAS = ("", "train", "index", "report")
"""Extras whose libraries are checked where they are installed."""

SECONDS = 3
"""How long the Hub may take to answer."""


app = typer.Typer(pretty_exceptions_enable=False)


class Finding(NamedTuple):
    """A line of the command; `advice` says what to do about it, and is empty if nothing is wrong."""

    about: str
    found: str
    advice: str = ""


@app.command(epilog="Example: optical-mteb doctor")
def doctor() -> None:
    """Show versions, device, folders and hook, and name what is wrong.

    Exit code 1 if something is wrong. Works offline.
    """
    findings = list(_examine())
    width = max(len(finding.about) for finding in findings)
    for finding in findings:
        typer.echo(f"{finding.about:<{width}}  {finding.found}")
    wrong = [finding for finding in findings if finding.advice]
    for finding in wrong:
        typer.echo(f"{finding.about}: {finding.advice}", err=True)
    if wrong:
        raise typer.Exit(1)


def _examine() -> Iterator[Finding]:
    """Look at versions, device, folders, hook and Hub; nothing is written, and nothing takes more than seconds."""
    yield Finding("optical-mteb", f"{__version__} in {Path(__file__).parents[1]}")
    yield Finding("python", f"{platform.python_version()} on {platform.platform()}")
    yield from _libraries()
    yield from _device()
    yield _checked("student store", _store)
    yield _checked("data folder", _data)
    yield from _bases()
    yield _hook()
    yield _hub()


def _libraries() -> Iterator[Finding]:
    from packaging.requirements import Requirement

    lacking = {}
    installed_as = _version("optical-mteb")
    if installed_as != __version__:
        yield Finding("package", f"installed as {installed_as or 'nothing'}", "run pip install again")
    for line in (requires("optical-mteb") or ()) if installed_as else ():
        needed = Requirement(line)
        installed = _version(needed.name)
        wanted = EXTRAS if installed else ("",)
        if needed.marker is not None and not any(needed.marker.evaluate({"extra": extra}) for extra in wanted):
            continue
        if installed is None or not needed.specifier.contains(installed, prereleases=True):
            lacking[needed.name] = f"pip install '{needed.name}{needed.specifier}'"
    for name in dict.fromkeys([*LIBRARIES, *lacking]):
        yield Finding(name, _version(name) or "not installed", lacking.get(name, ""))


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _device() -> Iterator[Finding]:
    import torch

    from optical_mteb.hardware import computes_in_bfloat16, free_memory

    if torch.cuda.is_available():
        device = torch.device("cuda")
        name = f"cuda ({torch.cuda.device_count()} x {torch.cuda.get_device_name()})"
    elif torch.backends.mps.is_available():
        device, name = torch.device("mps"), "mps"
    else:
        device, name = torch.device("cpu"), "cpu"
    yield Finding("device", f"{name}, {os.cpu_count()} CPU cores, torch uses {torch.get_num_threads()} of them")
    yield Finding("bfloat16", "fast here" if computes_in_bfloat16(device) else "not fast here; float32 is used")
    if find_spec("psutil") is not None:
        yield Finding("memory", f"{free_memory() / 1e9:.1f} GB free")


def _checked(about: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(about, look())
    except InputError as error:
        return Finding(about, "cannot be used", str(error))


def _store() -> str:
    from optical_mteb.storage import students_folder
    from optical_mteb.students import student_names

    folder = students_folder()
    there = next(path for path in (folder, *folder.parents) if path.exists())
    if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
        raise InputError(f"{folder}: cannot write there; set OPTICAL_MTEB_HOME to a folder that you may write to")
    names = student_names()
    return f"{folder}, {len(names)} {'student' if len(names) == 1 else 'students'}"


def _data() -> str:
    from optical_mteb.storage import local_data

    return str(local_data() or "OPTICAL_MTEB_DATA is not set: data sets come from where they are published")


def _bases() -> Iterator[Finding]:
    from optical_mteb.bases import pypi_bases

    for base in pypi_bases():
        yield Finding(
            base.spec, "installed" if base.is_available() else f"not installed: {base.install_instructions()}"
        )


def _hook() -> Finding:
    if os.environ.get("OPTICAL_MTEB_DISABLE") == "1":
        return Finding("mteb hook", "off: OPTICAL_MTEB_DISABLE=1; `optical-mteb run` works without it")
    active = any(getattr(finder, "__name__", "") == "OpticalMtebHook" for finder in sys.meta_path)
    return Finding(
        "mteb hook",
        "active: the stock `mteb` command knows students and tasks"
        if active
        else "not active: use `optical-mteb run`, or call optical_mteb.register() in Python",
    )


def _hub() -> Finding:
    from huggingface_hub import constants, get_token

    if constants.HF_HUB_OFFLINE:
        return Finding("Hugging Face Hub", "not asked: HF_HUB_OFFLINE is set")
    import requests

    token = "with a token" if get_token() else "without a token"
    try:
        answer = requests.head(constants.ENDPOINT, timeout=SECONDS)
    except requests.RequestException as error:
        return Finding("Hugging Face Hub", f"{constants.ENDPOINT} does not answer ({type(error).__name__})")
    return Finding("Hugging Face Hub", f"{constants.ENDPOINT} answers ({answer.status_code}), {token}")
