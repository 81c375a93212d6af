"""Commands that run MTEB and compare its results."""

from __future__ import annotations

import argparse
import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from optical_mteb.errors import InputError, did_you_mean
from optical_mteb.mteb_compat import model_registry, model_renames
from optical_mteb.registry import register, search_by_index, without_index
from optical_mteb.storage import runs_folder

app = typer.Typer(pretty_exceptions_enable=False)


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
    epilog="Example: optical-mteb run -m optical-student -t CLDRNameRetrieval",
)
def run(
    context: typer.Context,
    index: Annotated[
        str | None,
        typer.Option(
            metavar="SPEC", help="Search by an index that stays in the store: auto, flat, hnsw32, ivf4096,pq48+refine."
        ),
    ] = None,
    recall: Annotated[
        float | None, typer.Option(help="With --index: share of the exact best to find; 0.99 by default.")
    ] = None,
) -> None:
    """Run `mteb run` with this package's models and tasks, with or without the hook.

    Takes the arguments of `mteb run`, and two more.
    """
    if {"-h", "--help"} & set(context.args):
        typer.echo("Example: optical-mteb run -m optical-student -t CLDRNameRetrieval")
        typer.echo("Beside mteb's own: --index SPEC [--recall SHARE] searches by an index (auto, flat, hnsw32, ...)")
    spec = index if index is not None else os.environ.get("OPTICAL_MTEB_INDEX") or None
    if recall is not None and spec is None:
        raise InputError(f"--recall {recall:g}: is for searches by an index; name one, as in --index hnsw32")
    if spec is not None:
        from optical_mteb.index.assembly import BuildSettings

        settings = BuildSettings(spec=spec, recall=0.99 if recall is None else recall)
    register()
    from optical_mteb.cli.task_lines import evaluate_by_lines

    _check_names(context.args)
    evaluate_by_lines()
    searched = search_by_index(settings.spec, settings.recall) if spec is not None else None
    from mteb.cli import main as mteb_main

    quiet = [] if any(word.startswith(("-v", "--verb")) for word in context.args) else ["--verbosity", "1"]
    sys.argv = ["mteb", "run", *context.args, *quiet]
    mteb_main()
    if searched is not None and not searched():
        raise InputError(without_index(settings.spec))


def _check_names(arguments: list[str]) -> None:
    """Refuse names that nobody knows: of a task, and of a model, for which mteb would ask the Hub (there, names have a slash)."""
    parser = argparse.ArgumentParser("optical-mteb run", add_help=False, allow_abbrev=False)
    parser.add_argument("-m", "--model")
    parser.add_argument("-t", "--tasks", nargs="+", default=[])
    given = parser.parse_known_args(arguments)[0]
    name = given.model
    known = [*model_renames(), *model_registry()]
    if name and "/" not in name and name not in known and not Path(name).exists():
        if (runs_folder() / name).is_dir():
            raise InputError(
                f"model {name!r} is not trained yet: its training was interrupted; continue it: the same "
                "optical-mteb train command again"
            )
        hint = did_you_mean(name, known) or "list them: optical-mteb models, optical-mteb bases"
        raise InputError(f"model {name!r} is unknown; {hint}")
    from optical_mteb.collection.text_retrieval import task_named

    for task in given.tasks:
        task_named(task)


class TableFormat(StrEnum):
    """How a comparison is printed."""

    TERMINAL = "terminal"
    MARKDOWN = "markdown"
    LATEX = "latex"
    JSON = "json"


@app.command(epilog="Example: optical-mteb compare pypi/multilingual-e5-small optical-student -t CLDRNameRetrieval")
def compare(
    baseline: Annotated[
        str, typer.Argument(help="Model to compare with: MTEB's name, NAME@REVISION, or a folder of its results.")
    ],
    models: Annotated[
        list[str] | None, typer.Argument(metavar="MODEL...", help="Models to compare, likewise.", show_default=False)
    ] = None,
    task: Annotated[
        list[str] | None, typer.Option("-t", "--task", help="Task to compare on; all that both sides have by default.")
    ] = None,
    results: Annotated[Path, typer.Option(help="Folder that `mteb run --output-folder` wrote.")] = Path("results"),
    published: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODEL",
            help="Model to compare by what MTEB's results repository has of it: means, no tests of significance.",
        ),
    ] = None,
    split: Annotated[str, typer.Option(help="Split of the tasks.")] = "test",
    metric: Annotated[
        list[str] | None, typer.Option(help="Scores to show; ndcg_at_10 and map_at_100 by default.")
    ] = None,
    predictions: Annotated[
        list[Path] | None,
        typer.Option(help="Folder that `mteb run --prediction-folder` wrote, for results without scores by query."),
    ] = None,
    intersect: Annotated[
        bool, typer.Option("--intersect", help="Compare the subsets and queries that both sides have.")
    ] = False,
    details: Annotated[
        bool, typer.Option("--details", help="Show p-values, wins/ties/losses and the effect size d_z, too.")
    ] = False,
    table_format: Annotated[TableFormat, typer.Option("--format", help="What to print.")] = TableFormat.TERMINAL,
    fail_if_worse: Annotated[
        float | None,
        typer.Option(
            metavar="POINTS",
            help="Exit with 1 if the first score of a subset or group is worse by more than this many points "
            "and the interval of the difference is below zero.",
        ),
    ] = None,
) -> None:
    """Compare the scores of models with a baseline, with tests of significance.

    Results that keep the score of every query (this package's tasks do) get a 95% bootstrap interval of each
    difference, and a mark where a paired randomisation test, Holm-corrected, calls it significant.
    """
    register()
    from optical_mteb.scores import formats
    from optical_mteb.scores.compare import compare_models, regressions
    from optical_mteb.scores.published import published_results
    from optical_mteb.scores.results import find_results

    if not (models or published):
        raise InputError("there is nothing to compare; name a model after the baseline, or one by --published")
    if fail_if_worse is not None and not fail_if_worse >= 0:
        raise InputError(f"--fail-if-worse {fail_if_worse}: expected a number of points, 0 or more")
    metrics = metric or ["ndcg_at_10", "map_at_100"]
    tasks = list(dict.fromkeys(task or ()))
    sides = [find_results(source, results, tasks) for source in (baseline, *(models or ()))]
    sides += [published_results(source, tasks or sides[0].tasks) for source in published or ()]
    comparisons = compare_models(
        sides[0],
        sides[1:],
        metrics=metrics,
        tasks=tasks,
        split=split,
        intersect=intersect,
        predictions=predictions or (),
    )
    worse = []
    if fail_if_worse is not None:
        for comparison in comparisons:
            _, name = formats.labels(comparison)
            worse += [
                f"{row.task} {row.name}: {name} is worse by {-100 * row.difference:.1f} points of {row.metric}"
                for row in regressions(comparison, fail_if_worse, metrics[0])
            ]
    if table_format is TableFormat.JSON:
        typer.echo(formats.as_json(comparisons, {"split": split, "intersect": intersect}))
    elif table_format is TableFormat.TERMINAL:
        for comparison in comparisons:
            for grid in formats.grids(comparison, details=details, metrics_apart=len(metrics) > 2):
                Console().print(formats.as_table(grid))
            for line in [*formats.legend(comparison), *comparison.notes]:
                typer.echo(line)
    else:
        render = formats.as_markdown if table_format is TableFormat.MARKDOWN else formats.as_latex
        for comparison in comparisons:
            typer.echo(formats.all_grids(comparison, render, details=details))
    for line in worse:
        typer.echo(line, err=True)
    if worse:
        raise typer.Exit(1)
