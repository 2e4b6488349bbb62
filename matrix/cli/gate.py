"""``te-matrix gate``: what a store says under a policy, as an exit code."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from matrix import report
from matrix.catalogue import releases
from matrix.cli.options import date, judged, select, selecting, with_store
from matrix.cli.runs import a_policy
from matrix.errors import ExitCode
from matrix.gate import outputs, policies
from matrix.gate.policies import POLICIES, Check
from matrix.report import console, rendering
from matrix.store.store import Store

DEMANDS = ("require_lane", "require_live", "allow_missing")
A_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command("gate")
@selecting
@with_store
@click.option("--policy", type=click.Choice(POLICIES), default="ledger", show_default=True)
@click.option("--baseline", help="the run to hold against: a store or a report.json")
@click.option(
    "--require-lane", type=click.Choice(["cpu", "gpu"]), help="refuse what another lane measured"
)
@click.option("--require-live", is_flag=True, help="refuse what rests on recorded evidence")
@click.option("--allow-missing", is_flag=True, help="skip cells without outcome, but for infra")
@click.option("--junit", type=A_FILE, help="write JUnit XML there")
@click.option("--code-quality", type=A_FILE, help="write GitLab's code quality report there")
@click.option("--summary", type=A_FILE, help="write a Markdown summary there")
@click.option("--badge", type=A_FILE, help="write an SVG badge there")
def gate_command(store: str, today: Any, policy: str, baseline: str | None, **options: Any) -> None:
    """Judge what a store holds under a policy and say it with the exit code.

    By default what the last run selected. Policies: `documented` (every deviation fails),
    `ledger` (known ones pass; stale and expired entries fail), `no-regression` (whatever is
    no worse than in --baseline passes). A candidate is gated as a loader unless
    --candidate-as says otherwise. Under GitHub Actions, annotations and the step summary
    are written too.
    """
    options["candidate_as"] = options["candidate_as"] or "loader"
    places = {name: options.pop(name) for name in ("junit", "code_quality", "summary", "badge")}
    demands = {name: options.pop(name) for name in DEMANDS}
    asked = a_policy(policy, baseline, options, date(today), **demands)
    kept = Store(store)
    selected = select(options, kept.remembered())
    judgement = judged(selected, kept, date(today))
    made = report.build(judgement, selected.documentation)
    runs = [made, asked.baseline] if asked.baseline else [made]
    order = releases.order(row.name for run in runs for row in run.releases)
    checks = policies.checks(made, asked, order)
    show = Console()
    console.print_judgement(show, judgement, selected.documentation)
    code = _run(checks, places["junit"])
    found = outputs.problems(checks)
    for line in (outputs.totals(checks), *outputs.lines(found, order)):
        show.print(line, highlight=False, markup=False, soft_wrap=True)
    show.print(f"gate: policy {policy}, exit code {int(code)}", highlight=False)
    summary = outputs.summary(made, found, code, order)
    texts = {
        places["code_quality"]: outputs.code_quality(checks),
        places["summary"]: summary,
        places["badge"]: rendering.badge(made.lane, int(code)),
    }
    outputs.write({path: text for path, text in texts.items() if path})
    _github(list(outputs.workflow_commands(found, order)), summary)
    sys.exit(int(code))


def _run(checks: list[Check], junit: Path | None) -> ExitCode:
    # pytest is imported here, not by every command.
    from matrix.gate import engine

    return engine.run(checks, junit)


def _github(commands: list[str], summary: str) -> None:
    """Tell GitHub Actions, where this runs there."""
    if os.environ.get("GITHUB_ACTIONS") != "true":
        return
    for line in commands:
        click.echo(line)
    if path := os.environ.get("GITHUB_STEP_SUMMARY"):
        outputs.append(Path(path), summary)
