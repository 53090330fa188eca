"""`quintet doctor`: check this machine, and say what is wrong and how to mend it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from quintet.cli import settings
from quintet.cli.failure import Failure

if TYPE_CHECKING:
    from quintet.cli.checks import Finding


def doctor(
    home: Annotated[
        Path | None, typer.Option(help="Data directory. Default: $QUINTET_HOME, then ~/.quintet.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Check this machine: processor, memory, disk, packages, runtime, models, data directory, port.

    Changes nothing. The exit status is 1 if something keeps the server from working; warnings don't count.

    \b
    Examples:
      quintet doctor
      quintet doctor --home /srv/quintet
      quintet doctor --json
    """
    findings = []
    for finding in examine(home):
        findings.append(finding)
        if not as_json:
            mend = f"\n      → {finding.mend}" if finding.mend else ""
            typer.echo(f"{finding.level:4}  {finding.text}{mend}")
    failed = sum(finding.level == "fail" for finding in findings)
    if as_json:
        rows = [{"level": each.level, "text": each.text, "mend": each.mend} for each in findings]
        typer.echo(json.dumps(rows, indent=2, ensure_ascii=False))
    else:
        typer.echo(f"\n{failed} to mend before Quintet can work." if failed else "\nQuintet can work here.")
    if failed:
        raise typer.Exit(1)


def examine(home: Path | None) -> Iterator[Finding]:
    """Everything there is to say about this machine, quick checks first."""
    from quintet.cli import checks

    yield from checks.check_python()
    yield from checks.check_processor()
    yield from checks.check_memory()
    yield from checks.check_open_files()
    yield from checks.check_packages()
    try:
        current = settings.read(home=home)
    except Failure as failure:
        yield checks.Finding("fail", str(failure), "correct the setting, then run quintet doctor again")
    else:
        yield from checks.check_home(current)
        yield from checks.check_database(current)
        yield from checks.check_models(current)
        yield from checks.check_port(current)
    yield from checks.check_openvino()
