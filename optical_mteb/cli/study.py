"""The command that runs a study of language pairs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from optical_mteb.cli.console import Engine, check_engine
from optical_mteb.errors import InputError
from optical_mteb.terminal_table import TerminalTable

if TYPE_CHECKING:
    from optical_mteb.study.cells import CellFolder
    from optical_mteb.study.jobs import Job, Study

app = typer.Typer(pretty_exceptions_enable=False)


@app.command(epilog="Example: optical-mteb study pairs --output results/study/pairs")
def study(
    study: Annotated[str, typer.Argument(help="A TOML file, or a study that ships with the package.")],
    output: Annotated[Path, typer.Option(help="Folder of the trainings' records, the table and the figures.")] = Path(
        "study"
    ),
    only: Annotated[
        str,
        typer.Option(
            metavar="PATTERN",
            help="Trainings to run, a shell pattern of their cells or words, as --dry-run prints both.",
        ),
    ] = "*",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Train nothing; show the trainings and what they cost.")
    ] = False,
    report: Annotated[
        bool, typer.Option("--report", help="Train nothing; write table and document of what is done.")
    ] = False,
    figures: Annotated[bool, typer.Option(help="Draw figures; needs the extra plot.")] = True,
    document: Annotated[
        Path | None, typer.Option(help="Markdown file to write; study.md in the output folder by default.")
    ] = None,
    against: Annotated[
        Path | None, typer.Option(help="Table of a study that the trainings of --only should agree with.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="Torch device; the best one there is by default.")] = None,
    engine: Annotated[
        Engine, typer.Option(help="Where students are trained: this process, or a Ray cluster.")
    ] = Engine.LOCAL,
    address: Annotated[
        str | None, typer.Option(help="With --engine ray: cluster to join; one on this machine by default.")
    ] = None,
    workers: Annotated[int | None, typer.Option(help="With --engine ray: processes; a core each by default.")] = None,
) -> None:
    """Train and score a grid of language pairs, approaches, budgets and seeds.

    What is done is not done again; the same command continues after an interruption, and several processes may share an
    output folder. Exit code 1 where a training failed, or its scores do not agree with the table of --against.
    """
    from optical_mteb.study.cells import CellFolder
    from optical_mteb.study.jobs import load_study
    from optical_mteb.study.settings import find_study

    on_ray = check_engine(engine, address, workers)
    if figures and not dry_run:
        from optical_mteb.study.figures import check_plotting

        check_plotting()
    loaded = load_study(find_study(study), only)
    cells = CellFolder(output / "cells")
    jobs = _chosen(loaded, only)
    if dry_run:
        _show(loaded, cells, jobs)
        return
    failed: dict[str, str] = {}
    if not report:
        from optical_mteb.study.running import run, run_on_ray

        if on_ray:
            failed = run_on_ray(loaded, cells, jobs, address=address, workers=workers, device=device, say=typer.echo)
        else:
            failed = run(loaded, cells, jobs, device=device, say=typer.echo)
    from optical_mteb.study.writing import write

    for path in write(loaded, cells, output, document=document, figures=figures, command=f"optical-mteb study {study}"):
        typer.echo(f"wrote {path}")
    if against is not None:
        holds, line = _agreement(loaded, cells, jobs, against)
        typer.echo(line)
        if not holds:
            failed["against"] = f"scores are not those of {against}"
    for line in failed.values():
        typer.echo(f"failed: {line}", err=True)
    if failed:
        raise typer.Exit(1)


def _agreement(study: Study, cells: CellFolder, jobs: list[Job], against: Path) -> tuple[bool, str]:
    from optical_mteb.study.agreement import agree
    from optical_mteb.study.table import read_records, read_table, rows

    wanted = {job.fingerprint for job in jobs}
    return agree([row for row in rows(study, read_records(study, cells)) if row.cell in wanted], read_table(against))


def _chosen(study: Study, only: str) -> list[Job]:
    from fnmatch import fnmatch

    from optical_mteb.study.jobs import describe

    chosen = [
        job for job in study.jobs.values() if fnmatch(describe(job.training), only) or fnmatch(job.fingerprint, only)
    ]
    if not chosen:
        raise InputError(f"--only {only!r}: matches no training of the study; --dry-run prints them all")
    return chosen


def _show(study: Study, cells: CellFolder, jobs: list[Job]) -> None:
    from optical_mteb.study.costs import Costs
    from optical_mteb.study.jobs import describe

    done = {job.fingerprint: record for job in jobs if (record := cells.read(job.fingerprint)) is not None}
    costs = Costs.of(study, list(done.values()))
    table = TerminalTable("cell", "training", "examples", "minutes", "state", whole=(2, 3))
    for job in jobs:
        seconds = costs.seconds(job) if job.fingerprint not in done else done[job.fingerprint].seconds()
        state = "done" if job.fingerprint in done else ""
        table.add_row(job.fingerprint, describe(job.training), f"{job.pairs_read:,}", f"{seconds / 60:.1f}", state)
    Console().print(table)
    left = costs.words([job for job in jobs if job.fingerprint not in done])
    trained = sum(bool(job.training.languages) for job in study.jobs.values())
    untrained = " and the untrained model" if trained < len(study.jobs) else ""
    typer.echo(
        f"{len(study.cells):,} cells are {trained:,} trainings{untrained}; {len(jobs):,} chosen, {len(done):,} done; {left}"
    )
