"""The `optical-mteb` command: a module for each group of commands, which imports what a command needs inside that command."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from optical_mteb import __version__
from optical_mteb.cli import doctor, evaluation, index, report, scores, study, submission, tasks, training
from optical_mteb.cli.guard import errors_in_one_line, print_anything, take_debug

app = typer.Typer(
    name="optical-mteb",
    help="Low-resource cross-lingual retrieval for MTEB: train students, evaluate them, compare their scores.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.add_typer(training.app)
app.add_typer(evaluation.app)
app.add_typer(scores.app)
app.add_typer(submission.app)
app.add_typer(report.app)
app.add_typer(study.app)
app.add_typer(doctor.app)
app.add_typer(tasks.app, name="tasks", epilog="Example: optical-mteb tasks")
app.add_typer(index.app, name="index")


def main() -> None:
    """Run the command; bad input prints one line and exits with code 2."""
    # Read when torch is loaded: it then asks the kernel for large pages, and a training spends less time on page faults.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    # Bars of libraries that nobody asked for; commands have a progress line, and downloads their bars.
    os.environ.setdefault("TQDM_DISABLE", "1")
    print_anything()
    with errors_in_one_line(debug=take_debug(sys.argv)):
        app()


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"optical-mteb {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print it.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error; anywhere in a command.")
    ] = False,
) -> None:
    pass
