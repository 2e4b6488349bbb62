"""Policies of the gate: which cells of a report pass, which fail, and with which exit code."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import assert_never

from matrix.catalogue import releases
from matrix.catalogue.ranges import covers
from matrix.catalogue.words import Basis, EntryState, Standing, Verdict, Word
from matrix.errors import ExitCode, worst
from matrix.report import comparison, diff, qualification, standings
from matrix.report.cells import ReportCell
from matrix.report.comparison import Compared
from matrix.report.diff import Direction
from matrix.report.document import Report
from matrix.system.counting import counted


class PolicyName(Word):
    """What the gate compares a run with."""

    DOCUMENTED = "documented"
    """The FAQ; every deviation fails."""
    LEDGER = "ledger"
    """The FAQ and the ledger; known deviations pass, stale and expired entries fail."""
    NO_REGRESSION = "no-regression"
    """An earlier run, the baseline; whatever is not worse passes."""
    BASELINE = "baseline"
    """For candidates: the release before each; whatever is not worse passes."""


class CheckState(Word):
    """Result of a check."""

    PASS = "pass"
    """Nothing to complain of."""
    KNOWN = "known"
    """A known deviation; pytest shows it as an expected failure."""
    FIXED = "fixed"
    """A known deviation that is no longer observed: its ledger entry is stale."""
    FAIL = "fail"
    """The policy does not accept what was observed."""
    BROKEN = "broken"
    """An image, an engine, a GPU, memory, time or the harness itself failed."""
    SKIP = "skip"
    """No outcome, which the policy accepts or another check complains of."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Policy:
    """What the gate compares a run with, and which evidence it accepts.

    :param baseline: the run to compare with under ``no-regression`` and ``baseline``; None
        under all other policies. Under ``no-regression``, cells without an outcome in it are
        compared with the ledger.
    :param instead: under ``baseline``, the release that each candidate is held against.
    :param evidence: under ``baseline``, where the evidence on those releases is from.
    :param variants: under ``baseline``, the variants that were asked for; None for those of
        the run's cells.
    :param require_lane: the lane, where cells measured in another one fail.
    :param require_live: whether cells with recorded evidence fail.
    :param allow_missing: whether cells that are inconclusive, unavailable or not run are
        skipped. Cells that are ``infra`` still fail, and so does a run without any outcome.
    """

    name: PolicyName = PolicyName.LEDGER
    baseline: Report | None = None
    instead: Mapping[str, str] = dataclasses.field(default_factory=dict)
    evidence: str = ""
    variants: tuple[str, ...] | None = None
    require_lane: str | None = None
    require_live: bool = False
    allow_missing: bool = False


@dataclasses.dataclass(frozen=True)
class Check:
    """The result for one cell, one save, one ledger entry, or one release that is lacking.

    :param id: the cell's id, ``save/SCENARIO/RELEASE``, ``ledger/ENTRY`` or ``release/RELEASE``.
    :param code: the exit code that the gate has for this check alone.
    :param reason: why the check has its state.
    :param cell: the cell, where the check is of one.
    :param answered_by: the id of the check that complains in place of this one, which is skipped.
    """

    id: str
    state: CheckState
    code: ExitCode
    reason: str
    cell: ReportCell | None = None
    answered_by: str = ""


def exit_code(checks: Iterable[Check]) -> ExitCode:
    """Return the exit code of all checks together."""
    return worst(check.code for check in checks)


def order(report: Report, policy: Policy) -> list[str]:
    """Return the names of all releases in the catalogue, the run and the baseline, in order."""
    runs = [report, policy.baseline] if policy.baseline else [report]
    return releases.order(row.name for run in runs for row in run.releases)


def checks(report: Report, policy: Policy, order: Sequence[str]) -> list[Check]:
    """Return the checks of a run: its cells, its saves, and its ledger entries.

    :param order: the names of all releases, oldest first.
    """
    if policy.name == PolicyName.BASELINE:
        return _not_looked_at([_standing(one, policy) for one in compared(report, policy)])
    instead = diff.stand_ins(policy.baseline, report, order) if policy.baseline else {}
    found = [*_cells(report, policy, instead), *_saves(report, policy, instead)]
    if policy.name == PolicyName.LEDGER:
        found += _ledger(report)
    return _not_looked_at(found)


def _not_looked_at(found: list[Check]) -> list[Check]:
    """Return checks with one more that fails if no cell has an outcome."""
    if any(check.state != CheckState.SKIP for check in found if check.cell):
        return found
    nothing = "no cell has an outcome, and a gate that looked at nothing cannot pass"
    return [*found, Check("cells", CheckState.FAIL, ExitCode.INCOMPLETE, nothing)]


def compared(report: Report, policy: Policy) -> list[Compared]:
    """Return how the candidates of a run compare with the baselines of a policy."""
    assert policy.baseline is not None
    return comparison.compare(policy.baseline, report, policy.instead, policy.variants)


def qualified(report: Report, policy: Policy, code: ExitCode) -> Report:
    """Return a report with the comparison that a policy asks for; as it is under all others.

    :param code: the exit code of the gate, which may demand more than the comparison.
    """
    if policy.name != PolicyName.BASELINE:
        return report
    found = compared(report, policy)
    made = standings.with_qualification(report, found, policy.instead, policy.evidence)
    assert made.qualification is not None
    answer = made.qualification.model_copy(update={"exit_code": int(code)})
    return made.model_copy(update={"qualification": answer, "exit_code": int(code)})


def _standing(one: Compared, policy: Policy) -> Check:
    change = qualification.change(one.before, one.after)
    reason = f"{one.standing.value}: {change}" + (f": {one.reason}" if one.reason else "")
    refused = _refused(one.cell, policy) if one.cell else ""
    match one.standing:
        case Standing.WORSE:
            return Check(one.id, CheckState.FAIL, one.code, reason, one.cell)
        case Standing.MISSING if one.code == ExitCode.INFRA:
            return Check(one.id, CheckState.BROKEN, one.code, reason, one.cell)
        case Standing.MISSING if policy.allow_missing:
            return Check(one.id, CheckState.SKIP, ExitCode.OK, reason, one.cell)
        case Standing.MISSING:
            return Check(one.id, CheckState.FAIL, one.code, reason, one.cell)
        case Standing.BETTER | Standing.CHANGED | Standing.SAME:
            if refused:
                return Check(one.id, CheckState.FAIL, ExitCode.INCOMPLETE, refused, one.cell)
            return Check(one.id, CheckState.PASS, ExitCode.OK, reason, one.cell)
    assert_never(one.standing)


def _cells(report: Report, policy: Policy, instead: Mapping[str, str]) -> Iterator[Check]:
    stale = _stale_entries(report)
    names, lacking = _lacking(report, policy)
    yield from lacking
    before = policy.baseline.cells if policy.baseline else ()
    for old, cell in diff.counterparts(before, report.cells, instead):
        if name := names.get(cell.id):
            reason = f"release {cell.lacking} could not take part"
            yield Check(cell.id, CheckState.SKIP, ExitCode.OK, reason, cell, name)
            continue
        if not cell.present:
            yield _absent(cell, policy)
            continue
        check = _judged(cell, policy, old, stale.get(cell.id, ()))
        refused = _refused(cell, policy)
        if refused and check.code == ExitCode.OK:
            check = Check(cell.id, CheckState.FAIL, ExitCode.INCOMPLETE, refused, cell)
        yield check


def _lacking(report: Report, policy: Policy) -> tuple[dict[str, str], list[Check]]:
    """Return a check for each release that could not take part, and each cause that fails.

    :returns: the id of that check for every cell that has no outcome for such a cause, by the
        cell's id, and the checks.
    """
    found: dict[tuple[str, str], list[ReportCell]] = {}
    for cell in report.cells:
        if cell.lacking:
            found.setdefault((cell.lacking, _without_outcome(cell)), []).append(cell)
    numbers: Counter[str] = Counter()
    names: dict[str, str] = {}
    lacking = []
    for (release, reason), cells in found.items():
        first = _absent(cells[0], policy)
        if first.state == CheckState.SKIP:
            continue
        numbers[release] += 1
        name = f"release/{release}" + (f"/{numbers[release]}" if numbers[release] > 1 else "")
        names |= {cell.id: name for cell in cells}
        extent = f"{reason.rstrip('.')}: {counted(len(cells), 'cell')} without outcome"
        lacking.append(dataclasses.replace(first, id=name, reason=extent, cell=None))
    return names, lacking


def _absent(cell: ReportCell, policy: Policy) -> Check:
    reason, code = _without_outcome(cell), cell.verdict.exit_code
    if code == ExitCode.INFRA:
        return Check(cell.id, CheckState.BROKEN, code, reason, cell)
    if policy.allow_missing:
        return Check(cell.id, CheckState.SKIP, ExitCode.OK, reason, cell)
    return Check(cell.id, CheckState.FAIL, code, reason, cell)


def _without_outcome(cell: ReportCell) -> str:
    return ": ".join(filter(None, [cell.verdict.value, cell.note]))


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
        return _compared(cell, old)
    excused = policy.name != PolicyName.DOCUMENTED and cell.verdict == Verdict.KNOWN_DEVIATION
    if cell.verdict.deviating and not excused:
        return _failed(cell, f"documented {cell.documented.value}, {_seen(cell)}")
    if excused:
        reason = f"ledger: {', '.join(cell.ledger)}"
        return Check(cell.id, CheckState.KNOWN, ExitCode.OK, reason, cell)
    if policy.name == PolicyName.LEDGER and stale:
        reason = f"agrees with the FAQ, though the ledger knows it under {', '.join(stale)}"
        return Check(cell.id, CheckState.FIXED, ExitCode.DEVIATES, reason, cell)
    return Check(cell.id, CheckState.PASS, ExitCode.OK, _seen(cell), cell)


def _compared(cell: ReportCell, old: ReportCell) -> Check:
    change = diff.CellChange(old, cell)
    # The ledger has no entries for candidates, so that a known deviation of the release before
    # is a plain deviation of the candidate: that alone is no regression.
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


def _stale_entries(report: Report) -> dict[str, list[str]]:
    """Return the ids of the stale ledger entries that match each conforming cell, by cell id."""
    candidates = {row.name for row in report.releases if row.candidate}
    found: dict[str, list[str]] = {}
    for entry in report.ledger:
        if entry.state != EntryState.STALE or entry.saved_by is None:
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


def _saves(report: Report, policy: Policy, instead: Mapping[str, str]) -> Iterator[Check]:
    before = policy.baseline.saves if policy.baseline else ()
    known = {(row.scenario, row.release): row for row in before}
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
        name = f"ledger/{entry.id}"
        reason = f"{entry.state.value}, {counted(entry.cells, 'cell')} under it"
        if entry.state.fails(report.whole):
            reason = f"ledger entry {entry.id} is {reason}"
            yield Check(name, CheckState.FAIL, ExitCode.DEVIATES, reason)
        else:
            yield Check(name, CheckState.PASS, ExitCode.OK, reason)
