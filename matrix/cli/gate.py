"""``te-matrix gate``: judges a store under a policy and sets the exit code."""

from __future__ import annotations

import dataclasses
import datetime
import os
import sys
from pathlib import Path

import click
from rich.console import Console

from matrix import report
from matrix.catalogue.words import Lane
from matrix.cli.options import gathered_in, with_selection, with_store, with_today
from matrix.errors import ExitCode
from matrix.gate import condensing, outputs, policies
from matrix.gate.baseline import PolicyRequest
from matrix.gate.policies import Check, PolicyName
from matrix.report import console, printout, rendering
from matrix.store.store import Store
from matrix.workflow.selecting import Request, select

_FILE = click.Path(path_type=Path, dir_okay=False)


@dataclasses.dataclass(frozen=True, kw_only=True)
class OutputFiles:
    """The files to write for a CI service; None for those that are not wanted."""

    junit: Path | None
    code_quality: Path | None
    summary: Path | None
    badge: Path | None


@click.command("gate", short_help="Judge a store under a policy and set the exit code.")
@with_selection
@with_store
@with_today
@click.option(
    "--policy",
    type=click.Choice([name.value for name in PolicyName]),
    help="what to compare with  [default: baseline for candidates, else ledger]",
)
@click.option(
    "--baseline",
    "--against",
    metavar="RUN",
    help="the run to compare with: a store or a report.json, for candidates also a release",
)
@click.option(
    "--require-lane",
    type=click.Choice([lane.value for lane in Lane]),
    help="fail cells that were measured in another lane",
)
@click.option("--require-live", is_flag=True, help="fail cells with recorded evidence")
@click.option("--allow-missing", is_flag=True, help="skip cells without outcome, except infra")
@click.option("--junit", type=_FILE, help="write JUnit XML to this file")
@click.option("--code-quality", type=_FILE, help="write a GitLab code quality report to this file")
@click.option("--summary", type=_FILE, help="write a Markdown summary to this file")
@click.option("--badge", type=_FILE, help="write an SVG badge to this file")
@gathered_in(PolicyRequest, "asked")
@gathered_in(OutputFiles, "files")
def gate_command(
    request: Request,
    store: Store,
    today: datetime.date,
    asked: PolicyRequest,
    files: OutputFiles,
) -> None:
    """Judge the evidence in a store under a policy, and set the exit code.

    The default selection is that of the last run. Policies: `baseline` (what is not worse than
    in the release before a candidate passes; the default where there is one), `documented`
    (every deviation fails), `ledger` (known deviations pass; stale and expired entries fail),
    `no-regression` (what is not worse than in --baseline passes). Under GitHub Actions,
    annotations and the step summary are written, too.
    """
    request = asked.request(request)
    selected = select(request, store, resume=True)
    if asked.name(bool(selected.candidates)) == PolicyName.BASELINE:
        selected = selected.of_candidates()
    judgement = selected.judge(today)
    made = report.build(judgement, selected.documentation)
    policy = asked.resolve(request, made, today, selected)
    order = policies.order(made, policy)
    checks = policies.checks(made, policy, order)
    made = policies.qualified(made, policy, policies.exit_code(checks))
    screen = Console()
    if made.qualification is None:
        console.print_judgement(screen, printout.of(judgement, made))
    else:
        console.print_qualification(screen, made.qualification, worse=False)
    cases = condensing.condensed(checks, order)
    code = _run(cases, files.junit)
    found = outputs.group_failures(checks)
    for line in (outputs.totals(checks), *outputs.lines(found, order)):
        screen.print(line, highlight=False, markup=False, soft_wrap=True)
    screen.print(f"gate: policy {policy.name.value}, exit code {int(code)}", highlight=False)
    summary = outputs.summary(made, found, code, order)
    texts = {
        files.code_quality: outputs.code_quality(cases),
        files.summary: summary,
        files.badge: rendering.badge(made.lane.value, int(code), made.title),
    }
    outputs.write({path: text for path, text in texts.items() if path})
    _github(list(outputs.workflow_commands(found, order)), summary)
    sys.exit(int(code))


def _run(checks: list[Check], junit: Path | None) -> ExitCode:
    # Imported here, because pytest takes long to import.
    from matrix.gate import pytest_session

    return pytest_session.run(checks, junit)


def _github(commands: list[str], summary: str) -> None:
    """Print annotations and write the step summary, if this runs under GitHub Actions."""
    if os.environ.get("GITHUB_ACTIONS") != "true":
        return
    for line in commands:
        click.echo(line)
    if path := os.environ.get("GITHUB_STEP_SUMMARY"):
        outputs.append(Path(path), summary)
