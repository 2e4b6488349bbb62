"""Policies: what passes, what fails and with which exit code. A report in, checks out."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence

from matrix.catalogue import releases
from matrix.catalogue.ranges import covers
from matrix.catalogue.words import Basis, EntryState, Verdict, Word
from matrix.errors import ExitCode, worst
from matrix.report import diff
from matrix.report.diff import Direction
from matrix.report.document import Report, ReportCell


class PolicyName(Word):
    """What a gate holds a run against."""

    DOCUMENTED = "documented"
    """The FAQ: every deviation from it fails."""
    LEDGER = "ledger"
    """The FAQ and the ledger: known deviations pass, stale and expired entries fail."""
    NO_REGRESSION = "no-regression"
    """An earlier run, the baseline: what is no worse passes."""


class CheckState(Word):
    """What became of a check."""

    PASS = "pass"
    KNOWN = "known"
    """A deviation that is expected to be there."""
    FIXED = "fixed"
    """A known deviation is gone, so that its ledger entry is stale."""
    FAIL = "fail"
    BROKEN = "broken"
    """Something of the harness or around it failed."""
    SKIP = "skip"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Policy:
    """What a gate asks for.

    :param baseline: the run to hold against, for ``no-regression`` and only for it. A cell
        that it has no outcome for is held to the ledger.
    :param require_lane: fail whatever was measured on another lane.
    :param require_live: fail whatever rests on recorded evidence.
    :param allow_missing: skip cells that are inconclusive, unavailable or not run. Never
        those that are ``infra``, nor what the two demands above refuse, and not all cells.
    """

    name: PolicyName = PolicyName.LEDGER
    baseline: Report | None = None
    require_lane: str | None = None
    require_live: bool = False
    allow_missing: bool = False


@dataclasses.dataclass(frozen=True)
class Check:
    """One thing that the gate looks at: a cell, a save's place, or a ledger entry.

    :param code: what it adds to the exit code.
    """

    id: str
    state: CheckState
    code: ExitCode
    reason: str
    cell: ReportCell | None = None


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
    if policy.name == PolicyName.LEDGER:
        found += _ledger(report)
    if all(check.state == CheckState.SKIP for check in found if check.cell):
        nothing = "no cell has an outcome, and a gate that looked at nothing cannot pass"
        found.append(Check("cells", CheckState.FAIL, ExitCode.INCOMPLETE, nothing))
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
            check = Check(cell.id, CheckState.FAIL, ExitCode.INCOMPLETE, refused, cell)
        yield check


def _absent(cell: ReportCell, policy: Policy) -> Check:
    reason = ": ".join(filter(None, [cell.verdict.value, cell.note]))
    if cell.verdict == Verdict.INFRA:
        return Check(cell.id, CheckState.BROKEN, ExitCode.INFRA, reason, cell)
    if policy.allow_missing:
        return Check(cell.id, CheckState.SKIP, ExitCode.OK, reason, cell)
    return Check(cell.id, CheckState.FAIL, ExitCode.INCOMPLETE, reason, cell)


def _refused(cell: ReportCell, policy: Policy) -> str:
    if policy.require_lane not in (None, cell.lane.value):
        return f"measured on lane {cell.lane.value}; lane {policy.require_lane} is required"
    if policy.require_live and cell.provenance != Basis.LIVE:
        return "rests on recorded evidence; live evidence is required"
    return ""


def _judged(
    cell: ReportCell, policy: Policy, old: ReportCell | None, stale: Sequence[str]
) -> Check:
    if policy.name == PolicyName.NO_REGRESSION and old is not None and old.present:
        return _against(cell, old)
    if policy.name == PolicyName.DOCUMENTED and cell.verdict == Verdict.KNOWN_DEVIATION:
        return _failed(cell, f"documented {cell.documented.value}, {_seen(cell)}")
    if cell.verdict == Verdict.DEVIATES:
        return _failed(cell, f"documented {cell.documented.value}, {_seen(cell)}")
    if cell.verdict == Verdict.KNOWN_DEVIATION:
        return Check(
            cell.id, CheckState.KNOWN, ExitCode.OK, f"ledger: {', '.join(cell.ledger)}", cell
        )
    if policy.name == PolicyName.LEDGER and stale:
        reason = f"agrees with the FAQ, though the ledger knows it under {', '.join(stale)}"
        return Check(cell.id, CheckState.FIXED, ExitCode.DEVIATES, reason, cell)
    return Check(cell.id, CheckState.PASS, ExitCode.OK, _seen(cell), cell)


def _against(cell: ReportCell, old: ReportCell) -> Check:
    change = diff.CellChange(old, cell)
    # No ledger excuses a candidate: what its release did before is no worse for that.
    same = old.id != cell.id and change.what == ("verdict",)
    if change.direction == Direction.REGRESSION and not same:
        return _failed(cell, f"was {diff.describe(old)}, now {diff.describe(cell)}")
    if cell.verdict.deviating:
        return Check(cell.id, CheckState.KNOWN, ExitCode.OK, f"no worse than {old.id} was", cell)
    return Check(cell.id, CheckState.PASS, ExitCode.OK, _seen(cell), cell)


def _failed(cell: ReportCell, reason: str) -> Check:
    return Check(cell.id, CheckState.FAIL, ExitCode.DEVIATES, reason, cell)


def _seen(cell: ReportCell) -> str:
    return f"{cell.seen}: {cell.reason}" if cell.reason else cell.seen


def _under_stale(report: Report) -> dict[str, list[str]]:
    """Return the stale entries that each conforming cell falls under, by cell id."""
    candidates = {row.name for row in report.releases if row.candidate}
    found: dict[str, list[str]] = {}
    for entry in report.ledger:
        if entry.state != EntryState.STALE:
            continue
        saves, loads = covers(entry.saved_by), covers(entry.loaded_by)
        for cell in report.cells:
            if (
                cell.verdict == Verdict.CONFORMS
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
            yield Check(name, CheckState.PASS, ExitCode.OK, row.observed)
        else:
            reason = f"metadata under {row.observed}, documented {row.documented}"
            yield Check(name, CheckState.FAIL, ExitCode.DEVIATES, reason)


def _ledger(report: Report) -> Iterator[Check]:
    for entry in report.ledger:
        name, reason = f"ledger/{entry.id}", f"{entry.state.value}, {entry.cells} cells under it"
        if entry.state.fails(report.whole):
            yield Check(
                name, CheckState.FAIL, ExitCode.DEVIATES, f"ledger entry {entry.id} is {reason}"
            )
        else:
            yield Check(name, CheckState.PASS, ExitCode.OK, reason)
