"""The command that shows what a report of a problem needs."""

from __future__ import annotations

import typer

app = typer.Typer(pretty_exceptions_enable=False)


@app.command(epilog="Example: optical-mteb doctor")
def doctor() -> None:
    """Show versions, device, folders and hook, and name what is wrong.

    Exit code 1 if something is wrong. Works offline.
    """
    from optical_mteb.doctor import examine

    findings = list(examine())
    width = max(len(finding.about) for finding in findings)
    for finding in findings:
        typer.echo(f"{finding.about:<{width}}  {finding.found}")
    wrong = [finding for finding in findings if finding.advice]
    for finding in wrong:
        typer.echo(f"{finding.about}: {finding.advice}", err=True)
    if wrong:
        raise typer.Exit(1)
