"""`flask api-v1 doctor`: is this installation complete, and what is to be done?"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict

import click
from flask import current_app
from flask.cli import with_appcontext

from api_v1.cli import checks
from api_v1.cli.checks import Grade
from api_v1.cli.output import json_option, show_json


@click.command("doctor")
@with_appcontext
@json_option
@click.pass_context
def examine(context: click.Context, as_json: bool) -> None:
    """Check this installation, and say what to do; ends with status 1 where there is trouble.

    It changes nothing, and takes half a minute at most.
    """
    findings = checks.examine(current_app)
    if as_json:
        show_json([asdict(finding) for finding in findings])
    else:
        for finding in findings:
            click.echo(f"{finding.grade:8} {finding.name:11} {finding.message}")
            if finding.advice:
                click.echo(f"{'':21}-> {finding.advice}")
        counts = Counter(finding.grade for finding in findings)
        click.echo(", ".join(f"{counts[grade]} {grade}" for grade in Grade if counts[grade]) + ".")
    context.exit(any(finding.grade is Grade.TROUBLE for finding in findings))
