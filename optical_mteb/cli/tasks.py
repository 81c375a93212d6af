"""`optical-mteb tasks`: list, add, remove and export tasks, and write one for mteb."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from optical_mteb.registry import package_tasks, register
from optical_mteb.terminal_table import TerminalTable

app = typer.Typer(invoke_without_command=True, pretty_exceptions_enable=False)


@app.callback()
def tasks(context: typer.Context) -> None:
    """List, add, remove and export tasks."""
    if context.invoked_subcommand is None:
        list_tasks()


@app.command(name="list", epilog="Example: optical-mteb tasks list")
def list_tasks() -> None:
    """List the tasks of this package and your own."""
    register()
    from optical_mteb.collection.own_task import own_tasks

    table = TerminalTable("task", "subsets", "license", "data")
    for task in package_tasks():
        about = task.metadata
        table.add_row(about.name, _few(about.hf_subsets), about.license or "", about.dataset["path"])
    for own in own_tasks():
        if own.task is None:
            table.add_row("left out", "", "", own.problem)
        else:
            about = own.task.metadata
            table.add_row(about.name, _few(about.hf_subsets), about.license or "", str(own.folder))
    Console().print(table)


def _few(subsets: list[str]) -> str:
    return " ".join(subsets) if len(subsets) <= 4 else f"{len(subsets)}: {' '.join(subsets[:3])} ..."


@app.command(name="add", epilog="Example: optical-mteb tasks add my-collection")
def add_task(
    folder: Annotated[Path, typer.Argument(help="Has corpus.jsonl, queries.jsonl, qrels.tsv and task.toml.")],
) -> None:
    """Check your own collection and make it a task.

    The folder stays where it is.
    """
    register()
    from optical_mteb.collection.own_task import add_task as add

    task = add(folder)
    about = task.metadata
    subset, split = about.hf_subsets[0], about.eval_splits[0]
    data = task.dataset[subset][split]
    sizes = f"{len(data['corpus']):,} documents, {len(data['queries']):,} queries"
    typer.echo(f"added {about.name} ({subset}, {split}): {sizes}")
    typer.echo(f"evaluate on it: mteb run -m optical-student -t {about.name}")


@app.command(name="remove", epilog="Example: optical-mteb tasks remove MyNewsRetrieval")
def remove_task(name: Annotated[str, typer.Argument(help="Task that was added.")]) -> None:
    """Remove your own task from the list; its folder stays."""
    from optical_mteb.collection.own_task import remove_task as remove

    typer.echo(f"removed {name}; its folder stays: {remove(name)}")


@app.command(name="export", epilog="Example: optical-mteb tasks export CLDRNameRetrieval --subset swh-eng")
def export(
    name: Annotated[str, typer.Argument(help="A text retrieval task of this package, of yours or of MTEB.")],
    file_format: Annotated[str, typer.Option("--format", help="beir or trec.")] = "beir",
    subset: Annotated[list[str] | None, typer.Option(help="Subset to write; as `mteb run` by default.")] = None,
    split: Annotated[list[str] | None, typer.Option(help="Split to write; as `mteb run` by default.")] = None,
    output: Annotated[
        Path | None, typer.Option(help="Folder that gets one for each subset; NAME-FORMAT by default.")
    ] = None,
) -> None:
    """Write a task as files for other programs: documents, queries and judgements."""
    register()
    from optical_mteb.collection.export import export_task

    target = output or Path(f"{name}-{file_format}")
    for folder in export_task(name, file_format, target, subsets=subset or (), splits=split or (), say=typer.echo):
        typer.echo(f"wrote {folder}")


@app.command(name="upstream", epilog="Example: optical-mteb tasks upstream NTREXRetrieval --output ntrex")
def upstream(
    name: Annotated[str, typer.Argument(help="A task of this package, or of yours.")],
    output: Annotated[Path, typer.Option(help="Folder to write; an older task for mteb there is replaced.")],
    subset: Annotated[list[str] | None, typer.Option(help="Subset to write; as `mteb run` by default.")] = None,
    split: Annotated[list[str] | None, typer.Option(help="Split to write; as `mteb run` by default.")] = None,
    hub_id: Annotated[
        str | None,
        typer.Option("--hub-id", metavar="OWNER/NAME", help="The data set on the Hub; mteb/NAME by default."),
    ] = None,
    to_push: Annotated[bool, typer.Option("--push", help="Upload the data to the Hub.")] = False,
) -> None:
    """Write what a pull request to mteb needs.

    That is data for the Hub, the file of the task and its descriptive statistics.

    The task is then one on mteb's stock class and loader, without anything of this package: no scores by query, and
    documents that subsets share are read for each of them.
    """
    register()
    from optical_mteb.submission.upstream import next_steps, push_upstream, write_upstream

    written = write_upstream(name, output, hub_id=hub_id, subsets=subset or (), splits=split or ())
    typer.echo(f"wrote {output}")
    if to_push:
        push_upstream(written, say=typer.echo)
    for line in next_steps(written):
        typer.echo(f"next: {line}")
