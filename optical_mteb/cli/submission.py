"""The command that prepares what MTEB's leaderboard asks for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from optical_mteb.registry import register

if TYPE_CHECKING:
    from optical_mteb.submission import Submission

app = typer.Typer(pretty_exceptions_enable=False)


@app.command(epilog="Example: optical-mteb submit optical-student --output submission")
def submit(
    model: Annotated[str, typer.Argument(help="A student of the store.")],
    output: Annotated[Path, typer.Option(help="Folder to write; an older submission there is replaced.")],
    results: Annotated[Path, typer.Option(help="Folder that `mteb run --output-folder` wrote.")] = Path("results"),
    task: Annotated[list[str] | None, typer.Option("-t", "--task", help="Task to submit; all by default.")] = None,
    hub_id: Annotated[
        str | None, typer.Option("--hub-id", metavar="OWNER/NAME", help="The student's repository on the Hub.")
    ] = None,
    revision: Annotated[str | None, typer.Option(metavar="COMMIT", help="Commit of its weights there.")] = None,
    no_rerun: Annotated[bool, typer.Option("--no-rerun", help="Run no sample of the results again.")] = False,
    to_push: Annotated[
        bool, typer.Option("--push", help="Upload the weights and open the pull request of the results.")
    ] = False,
) -> None:
    """Prepare and check a submission to MTEB's leaderboard.

    The checks are those of the results repository.

    Needs no network, but for --push. Exit code 1 where a check fails.
    """
    register()
    from optical_mteb.submission import prepare

    def prepared(commit: str | None) -> Submission:
        return prepare(
            model,
            output,
            cache=results,
            tasks=list(dict.fromkeys(task or ())),
            hub_id=hub_id,
            revision=commit,
            rerun=not no_rerun,
        )

    submission = prepared(revision)
    for check in submission.checks:
        typer.echo(str(check))
    typer.echo(f"wrote {output}; read {output / 'SUBMISSION.md'}")
    if submission.is_sound and to_push:
        from optical_mteb.submission.push import push

        submission = push(submission, prepared, say=typer.echo)
    if not submission.is_sound:
        raise typer.Exit(1)
