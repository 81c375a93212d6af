"""The command that makes a page of a result folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(pretty_exceptions_enable=False)


@app.command(epilog="Example: optical-mteb report results --output site")
def report(
    results: Annotated[Path, typer.Argument(help="Folder that mteb run --output-folder wrote.")] = Path("results"),
    output: Annotated[Path, typer.Option(help="Folder of the page.")] = Path("site"),
    reference: Annotated[
        str | None,
        typer.Option(help="Model that the others are compared with; by default the base that a student came from."),
    ] = None,
) -> None:
    """Make one static page of all scores in a folder: groups of languages, every task, studies, speed, files.

    Results that are damaged are left out and named on the page.
    """
    from optical_mteb.registry import register

    register()
    from optical_mteb.report.site import write_report

    collection = write_report(results, output, reference=reference)
    for note in collection.notes:
        typer.echo(note, err=True)
    typer.echo(
        f"wrote {output / 'index.html'}: {len(collection.models)} models, compared with {collection.reference.label}"
    )
