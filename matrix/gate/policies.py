"""Policies: what passes, what fails and with which exit code. A report in, checks out."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

from matrix.catalogue import releases
from matrix.catalogue.selection import covers
from matrix.errors import ExitCode, worst
from matrix.report import diff
from matrix.report.document import Cell, Report

PolicyName = Literal["documented", "ledger", "no-regression"]
POLICIES: tuple[PolicyName, ...] = ("documented", "ledger", "no-regression")

State = Literal["pass", "known", "fixed", "fail", "broken", "skip"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Policy:
    """What a gate asks for.

    ``documented``: every deviation from the FAQ fails. ``ledger``: known ones pass, and
    entries that are stale or expired fail. ``no-regression``: what is no worse than in the
    baseline passes; a cell that the baseline has no outcome for is held to the ledger.

    :param baseline: the run to hold against, for ``no-regression`` and only for it.
    :param require_lane: fail whatever was measured on another lane.
    :param require_live: fail whatever rests on recorded evidence.
    :param allow_missing: skip cells that are inconclusive, unavailable or not run. Never
        those that are ``infra``, nor what the two demands above refuse, and not all cells.
    """

    name: PolicyName = "ledger"
    baseline: Report | None = None
    require_lane: str | None = None
    require_live: bool = False
    allow_missing: bool = False


@dataclasses.dataclass(frozen=True)
class Check:
    """One thing that the gate looks at: a cell, a save's place, or a ledger entry.

    ``state``: ``pass``; ``known`` (a deviation that must go on deviating); ``fixed`` (it no
    longer does, so that its ledger entry is stale); ``fail``; ``broken`` (something of ours
    or around us failed); ``skip``. ``code`` is what it adds to the exit code.
    """

    id: str
    state: State
    code: ExitCode
    reason: str
    cell: Cell | None = None


def exit_code(checks: Iterable[Check]) -> ExitCode:
    """Return the exit code of all checks together."""
    return worst(check.code for check in checks)


def order(report: Report, policy: Policy) -> list[str]:
    """Return every release of the catalogue, the run and the baseline, oldest first."""
    runs = [report, policy.baseline] if policy.baseline else [report]
    return releases.order(row.name for run in runs for row in run.releases)


def checks(report: Report, policy: Policy, order: Sequence[str]) -> list[Check]:
    """Return every check of a run, in the order of its cells.

    :param order: every release there is, oldest first.
    """
    found = [*_cells(report, policy, order), *_saves(report, policy, order)]
    if policy.name == "ledger":
        found += _ledger(report)
    if all(check.state == "skip" for check in found if check.cell):
        nothing = "no cell has an outcome, and a gate that looked at nothing cannot pass"
        found.append(Check("cells", "fail", ExitCode.INCOMPLETE, nothing))
    return found


def _cells(report: Report, policy: Policy, order: Sequence[str]) -> Iterator[Check]:
    stale = _under_stale(report)
    before = policy.baseline
    instead = diff.stand_ins(before, report, order) if before else {}
    pairs = diff.counterparts(before.cells if before else (), report.cells, instead)
    for old, cell in pairs:
        if not cell.present:
            yield _absent(cell, policy)
            continue
        check = _judged(cell, policy, old, stale.get(cell.id, ()))
        refused = _refused(cell, policy)
        if refused and check.code == ExitCode.OK:
            check = Check(cell.id, "fail", ExitCode.INCOMPLETE, refused, cell)
        yield check


def _absent(cell: Cell, policy: Policy) -> Check:
    reason = f"{cell.verdict}: {cell.note}" if cell.note else cell.verdict
    if cell.verdict == "infra":
        return Check(cell.id, "broken", ExitCode.INFRA, reason, cell)
    if policy.allow_missing:
        return Check(cell.id, "skip", ExitCode.OK, reason, cell)
    return Check(cell.id, "fail", ExitCode.INCOMPLETE, reason, cell)


def _refused(cell: Cell, policy: Policy) -> str:
    if policy.require_lane not in (None, cell.lane):
        return f"measured on lane {cell.lane}; lane {policy.require_lane} is required"
    if policy.require_live and cell.provenance != "live":
        return "rests on recorded evidence; live evidence is required"
    return ""


def _judged(cell: Cell, policy: Policy, old: Cell | None, stale: Sequence[str]) -> Check:
    if policy.name == "no-regression" and old is not None and old.present:
        return _against(cell, old)
    if policy.name == "documented" and cell.verdict == "known-deviation":
        return _failed(cell, f"documented {cell.documented}, {_seen(cell)}")
    if cell.verdict == "deviates":
        return _failed(cell, f"documented {cell.documented}, {_seen(cell)}")
    if cell.verdict == "known-deviation":
        return Check(cell.id, "known", ExitCode.OK, f"ledger: {', '.join(cell.ledger)}", cell)
    if policy.name == "ledger" and stale:
        reason = f"agrees with the FAQ, though the ledger knows it under {', '.join(stale)}"
        return Check(cell.id, "fixed", ExitCode.DEVIATES, reason, cell)
    return Check(cell.id, "pass", ExitCode.OK, _seen(cell), cell)


def _against(cell: Cell, old: Cell) -> Check:
    change = diff.Change(old, cell)
    # No ledger excuses a candidate: what its release did before is no worse for that.
    same = old.id != cell.id and change.what == ("verdict",)
    if change.direction == "regression" and not same:
        return _failed(cell, f"was {diff.describe(old)}, now {diff.describe(cell)}")
    if cell.verdict in ("deviates", "known-deviation"):
        return Check(cell.id, "known", ExitCode.OK, f"no worse than {old.id} was", cell)
    return Check(cell.id, "pass", ExitCode.OK, _seen(cell), cell)


def _failed(cell: Cell, reason: str) -> Check:
    return Check(cell.id, "fail", ExitCode.DEVIATES, reason, cell)


def _seen(cell: Cell) -> str:
    return f"{cell.seen}: {cell.reason}" if cell.reason else cell.seen


def _under_stale(report: Report) -> dict[str, list[str]]:
    """Return the stale entries that each conforming cell falls under, by cell id."""
    candidates = {row.name for row in report.releases if row.candidate}
    found: dict[str, list[str]] = {}
    for entry in report.ledger:
        if entry.state != "stale":
            continue
        saves, loads = covers(entry.saved_by), covers(entry.loaded_by)
        for cell in report.cells:
            if (
                cell.verdict == "conforms"
                and cell.scenario in entry.scenarios
                and cell.variant in entry.variants
                and not candidates & {cell.saved_by, cell.loaded_by}
                and saves(cell.saved_by)
                and loads(cell.loaded_by)
            ):
                found.setdefault(cell.id, []).append(entry.id)
    return found


def _saves(report: Report, policy: Policy, order: Sequence[str]) -> Iterator[Check]:
    before = policy.baseline
    instead = diff.stand_ins(before, report, order) if before else {}
    known = {(row.scenario, row.release): row for row in (before.saves if before else ())}
    for row in report.saves:
        name = f"save/{row.scenario}/{row.release}"
        old = known.get((row.scenario, instead.get(row.release, row.release)))
        if row.conforms or (old is not None and old.observed == row.observed):
            yield Check(name, "pass", ExitCode.OK, row.observed)
        else:
            reason = f"metadata under {row.observed}, documented {row.documented}"
            yield Check(name, "fail", ExitCode.DEVIATES, reason)


def _ledger(report: Report) -> Iterator[Check]:
    failing = {"stale", "expired"} | ({"unused"} if report.whole else set())
    for entry in report.ledger:
        name, reason = f"ledger/{entry.id}", f"{entry.state}, {entry.cells} cells under it"
        if entry.state in failing:
            yield Check(name, "fail", ExitCode.DEVIATES, f"ledger entry {entry.id} is {reason}")
        else:
            yield Check(name, "pass", ExitCode.OK, reason)
