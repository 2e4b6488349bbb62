"""``te-matrix gate``: what a store says under a policy, as an exit code."""

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
from matrix.gate import outputs, policies
from matrix.gate.baseline import PolicyRequest
from matrix.gate.policies import Check, PolicyName
from matrix.report import console, rendering
from matrix.store.store import Store
from matrix.workflow.selecting import Request, select

_FILE = click.Path(path_type=Path, dir_okay=False)


@dataclasses.dataclass(frozen=True, kw_only=True)
class OutputFiles:
    """The files to write for a pipeline, each where it is given."""

    junit: Path | None
    code_quality: Path | None
    summary: Path | None
    badge: Path | None


@click.command("gate", short_help="Judge a store under a policy; the exit code says it.")
@with_selection
@with_store
@with_today
@click.option(
    "--policy",
    type=click.Choice([name.value for name in PolicyName]),
    default=PolicyName.LEDGER.value,
    show_default=True,
)
@click.option("--baseline", help="the run to hold against: a store or a report.json")
@click.option(
    "--require-lane",
    type=click.Choice([lane.value for lane in Lane]),
    help="refuse what another lane measured",
)
@click.option("--require-live", is_flag=True, help="refuse what rests on recorded evidence")
@click.option("--allow-missing", is_flag=True, help="skip cells without outcome, but for infra")
@click.option("--junit", type=_FILE, help="write JUnit XML there")
@click.option("--code-quality", type=_FILE, help="write GitLab's code quality report there")
@click.option("--summary", type=_FILE, help="write a Markdown summary there")
@click.option("--badge", type=_FILE, help="write an SVG badge there")
@gathered_in(PolicyRequest, "asked")
@gathered_in(OutputFiles, "files")
def gate_command(
    request: Request,
    store: Store,
    today: datetime.date,
    asked: PolicyRequest,
    files: OutputFiles,
) -> None:
    """Judge what a store holds under a policy and say it with the exit code.

    By default what the last run selected. Policies: `documented` (every deviation fails),
    `ledger` (known ones pass; stale and expired entries fail), `no-regression` (whatever is
    no worse than in --baseline passes). A candidate is gated as a loader unless
    --candidate-as says otherwise. Under GitHub Actions, annotations and the step summary
    are written too.
    """
    request = request.with_candidate_as("loader")
    policy = asked.resolve(request, today)
    selected = select(request, store, resume=True)
    judgement = selected.judge(today)
    made = report.build(judgement, selected.documentation)
    order = policies.order(made, policy)
    checks = policies.checks(made, policy, order)
    screen = Console()
    console.print_judgement(screen, judgement, selected.documentation)
    code = _run(checks, files.junit)
    found = outputs.group_failures(checks)
    for line in (outputs.totals(checks), *outputs.lines(found, order)):
        screen.print(line, highlight=False, markup=False, soft_wrap=True)
    screen.print(f"gate: policy {policy.name.value}, exit code {int(code)}", highlight=False)
    summary = outputs.summary(made, found, code, order)
    texts = {
        files.code_quality: outputs.code_quality(checks),
        files.summary: summary,
        files.badge: rendering.badge(made.lane.value, int(code)),
    }
    outputs.write({path: text for path, text in texts.items() if path})
    _github(list(outputs.workflow_commands(found, order)), summary)
    sys.exit(int(code))


def _run(checks: list[Check], junit: Path | None) -> ExitCode:
    # pytest is imported here, not by every command.
    from matrix.gate import pytest_session

    return pytest_session.run(checks, junit)


def _github(commands: list[str], summary: str) -> None:
    """Tell GitHub Actions, where this runs there."""
    if os.environ.get("GITHUB_ACTIONS") != "true":
        return
    for line in commands:
        click.echo(line)
    if path := os.environ.get("GITHUB_STEP_SUMMARY"):
        outputs.append(Path(path), summary)
