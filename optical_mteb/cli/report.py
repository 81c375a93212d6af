"""Commands that show a result folder: a page of everything, and the table of where every model stands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from optical_mteb.errors import InputError
from optical_mteb.registry import register

app = typer.Typer(pretty_exceptions_enable=False)


@app.command(epilog="Example: optical-mteb report results --output site")
def report(
    results: Annotated[Path, typer.Argument(help="Folder that mteb run --output-folder wrote.")] = Path("results"),
    output: Annotated[Path, typer.Option(help="Folder of the page.")] = Path("site"),
    reference: Annotated[
        str | None,
        typer.Option(help="Model that the others are compared with; by default the base that a student came from."),
    ] = None,
    published: Annotated[
        list[str] | None,
        typer.Option(metavar="MODEL", help="Model to add by what MTEB's results repository has of it: means alone."),
    ] = None,
) -> None:
    """Write one static page of all scores in a folder.

    It shows groups of languages, every task, studies, speed and files.

    Results that are damaged are left out and named on the page.
    """
    register()
    from optical_mteb.report.site import write_report

    collection = write_report(results, output, reference=reference, published=published or ())
    for note in collection.notes:
        typer.echo(note, err=True)
    typer.echo(
        f"wrote {output / 'index.html'}: {len(collection.models)} models, compared with {collection.reference.label}"
    )


@app.command(epilog="Example: optical-mteb standings results --into README.md")
def standings(
    results: Annotated[Path, typer.Argument(help="Folder that mteb run --output-folder wrote.")] = Path("results"),
    into: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Markdown file whose table to replace, instead of printing it.")
    ] = None,
) -> None:
    """Show a table of all models on the tasks of OPTICAL-CLIR.

    In Markdown, where it does not go to a terminal. It has a mean for each group of languages, the parameters and the seconds.

    A mean is shown where a model has been run on all subsets of the group that `mteb run -t` takes by default.
    """
    from optical_mteb.benchmark import SPLITS
    from optical_mteb.report.collect import collect
    from optical_mteb.report.standings import as_markdown, as_table, write_into
    from optical_mteb.report.standings import standings as table_of

    collection = collect(results)
    for note in collection.notes:
        typer.echo(note, err=True)
    table = table_of(collection)
    if not table.rows:
        raise InputError(
            f"{results}: no model has been run on all of a group; "
            f"run: mteb run -m MODEL -t {' '.join(SPLITS)} --output-folder {results}"
        )
    markdown = as_markdown(table)
    if into is None and Console().is_terminal:
        Console().print(as_table(table))
    elif into is None:
        typer.echo(markdown)
    else:
        typer.echo(f"{into}: {'wrote the table' if write_into(into, markdown) else 'the table is as it should be'}")
