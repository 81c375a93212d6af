"""Commands that hold scores to what is expected of them, and that hand scores to other programs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from optical_mteb.registry import register
from optical_mteb.terminal_table import TerminalTable

if TYPE_CHECKING:
    from optical_mteb.scores.reproduction import Finding

app = typer.Typer(pretty_exceptions_enable=False)
scores_app = typer.Typer(
    no_args_is_help=True, pretty_exceptions_enable=False, epilog="Example: optical-mteb scores export --help"
)


@app.command(epilog="Example: optical-mteb expect --only 'e5-*'")
def expect(
    only: Annotated[str, typer.Option(metavar="PATTERN", help="Expectations to run, a shell pattern.")] = "*",
    update: Annotated[
        bool, typer.Option("--update", help="Write scores that differ from what was expected into the file.")
    ] = False,
    file: Annotated[Path, typer.Option(help="The expectations.")] = Path("results/expected.yaml"),
) -> None:
    """Run commands whose scores are recorded, and fail if a score differs.

    A score is met within the tolerance, of the same revision of the model and of the task's data. Exit code 1 where
    one is not; with --update, where a command gave no scores to write.
    """
    register()
    from optical_mteb.scores.expected import read_expected, write_expected
    from optical_mteb.scores.reproduction import check

    outcomes = check(read_expected(file, only), say=lambda line: typer.echo(line, err=True))
    table = TerminalTable("expectation", "subset", "score", "expected", "got", "difference", "verdict", whole=(3, 4, 5))
    for outcome in outcomes:
        name = outcome.expectation.name
        if not outcome.findings:
            table.add_row(name, *[""] * 5, "failed")
        for found in outcome.findings:
            expected, got = ("" if score is None else f"{score:.5f}" for score in (found.expected, found.got))
            table.add_row(name, found.subset, found.metric, expected, got, _difference(found), found.verdict)
    Console().print(table)
    for note in (note for outcome in outcomes for note in outcome.notes):
        typer.echo(note)
    unmet = [outcome for outcome in outcomes if not outcome.is_met]
    if update:
        made = [outcome.made for outcome in unmet if outcome.made is not None]
        if made:
            write_expected(file, made)
            typer.echo(f"wrote {', '.join(each.name for each in made)} into {file}; review the difference")
        unmet = [outcome for outcome in unmet if outcome.made is None]
    if unmet:
        raise typer.Exit(1)


def _difference(found: Finding) -> str:
    return "" if found.expected is None or found.got is None else f"{found.got - found.expected:+.5f}"


@scores_app.callback()
def scores() -> None:
    """Export scores for other programs."""


@scores_app.command(
    epilog="Example: optical-mteb scores export pypi:multilingual-e5-small --predictions predictions --format trec"
)
def export(
    model: Annotated[str, typer.Argument(help="MTEB's name, NAME@REVISION, or a folder of its results.")],
    file_format: Annotated[str, typer.Option("--format", help="trec, ranx or csv.")] = "csv",
    task: Annotated[list[str] | None, typer.Option("-t", "--task", help="Task to write; all by default.")] = None,
    results: Annotated[Path, typer.Option(help="Folder that `mteb run --output-folder` wrote.")] = Path("results"),
    predictions: Annotated[
        list[Path] | None, typer.Option(help="Folder that `mteb run --prediction-folder` wrote; for trec and ranx.")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Folder to write; NAME-FORMAT by default.")] = None,
) -> None:
    """Write runs and judgments for TREC's tools or ranx, or scores by query as CSV."""
    register()
    from optical_mteb.scores.export import export_scores
    from optical_mteb.scores.results import find_results

    tasks = list(dict.fromkeys(task or ()))
    found = find_results(model, results, tasks)
    target = output or Path(f"{found.model.rpartition('/')[2]}-{file_format}")
    export_scores(found, file_format, target, tasks=tasks, predictions=predictions or (), say=typer.echo)
    typer.echo(f"wrote {target}")


app.add_typer(scores_app, name="scores")
