"""Compare candidates with their baselines: every cell, save and control.

How far a load of metadata goes, the best first: loaded; loaded with resized histories; error;
defaults; partly loaded, or frozen; changed weights. An error is better than defaults, because
a loud failure is better than a silent loss. Where the checkpoint held no metadata, or the
loader of the baseline knows none, going through is better than an error.

What is worse in one respect is worse, whatever else is better: metadata that was loaded and
frozen, and is at its defaults now, has lost its values.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Iterator, Mapping

from matrix.catalogue.words import (
    Absence,
    AfterLoad,
    ControlName,
    Outcome,
    SaveOutcome,
    Standing,
    Weights,
)
from matrix.errors import ExitCode, worst
from matrix.report import comparison_texts as texts
from matrix.report import diff
from matrix.report.cells import PartRow, ReportCell
from matrix.report.document import ControlRow, Report, SaveRow

CELLS, SAVES, CONTROLS = "cells", "saves", "controls"
"""What is compared."""
PLAIN = "plain"
"""The variant that stands in for one that applies to the candidate or the baseline alone."""

_Row = ReportCell | SaveRow | ControlRow
_NOTHING = "nothing"
_LACKS = "the baseline has no evidence for it"
_ERROR, _LOST, _SPOILT, _WEIGHTS = 2, 3, 4, 5
_CHANGING = re.compile(r"0x[0-9a-f]+|\d+(?:\.\w+)*(?:@[0-9a-f]{8})?")
"""What differs between the messages of one error: addresses, versions, line numbers."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Compared:
    """A cell, save or control of a candidate, and what its baseline came to."""

    kind: str
    """What is compared: ``cells``, ``saves`` or ``controls``."""
    id: str
    """The cell's id, ``save/SCENARIO/RELEASE`` or ``control/SCENARIO/RELEASE/CONTROL``."""
    scenario: str
    """Name of the scenario."""
    control: str
    """Name of the control; empty for cells and saves."""
    standing: Standing
    """How the candidate compares with the baseline."""
    before: str
    """What the baseline came to."""
    after: str
    """What the candidate comes to."""
    reason: str
    """The error of the candidate, what is flawed, or why there is no outcome; else empty."""
    code: ExitCode
    """The exit code of this comparison alone."""
    cell: ReportCell | None = None
    """The candidate's cell, where a cell is compared."""


def exit_code(found: Collection[Compared]) -> ExitCode:
    """Return the exit code of a comparison: 3 where no cell was compared."""
    codes = [one.code for one in found]
    looked = any(one.kind == CELLS for one in found)
    return worst(codes if looked else [*codes, ExitCode.INCOMPLETE])


def compare(
    before: Report,
    after: Report,
    instead: Mapping[str, str],
    variants: Collection[str] | None = None,
) -> list[Compared]:
    """Return how candidates compare with their baselines.

    As loader a candidate is held to what its baseline loads; as saver to what loads the saves
    of its baseline. Cells of other releases alone are not compared.

    :param before: a report that has the baselines.
    :param after: a report that has the candidates.
    :param instead: the baseline of each candidate.
    :param variants: the variants that the candidates were to be measured in; by default those
        that their cells have.
    """
    mine = [cell for cell in after.cells if {cell.saved_by, cell.loaded_by} & instead.keys()]
    asked = {cell.variant for cell in mine} if variants is None else set(variants)
    return [
        *(_controls(before, after, instead)),
        *(_saves(before, after, instead)),
        *(_cell(old, new) for old, new in _cells(before.cells, mine, instead)),
        *(_cell(old, new) for old, new in _dropped(before.cells, mine, instead, asked)),
    ]


# Cells.


def _cells(
    before: Collection[ReportCell], mine: Collection[ReportCell], instead: Mapping[str, str]
) -> Iterator[tuple[ReportCell | None, ReportCell]]:
    """Yield each cell of a candidate with that of its baseline.

    A variant that the baseline lacks, such as an opt-in that is new, is held to a plain load.
    """
    plain = [cell for cell in before if cell.variant == PLAIN]
    for old, new in diff.counterparts(tuple(before), tuple(mine), instead):
        if old is None and new.variant != PLAIN:
            as_plain = new.at(new.place._replace(variant=PLAIN))
            ((old, _plain),) = diff.counterparts(plain, (as_plain,), instead)
        yield old, new


def _dropped(
    before: Collection[ReportCell],
    mine: Collection[ReportCell],
    instead: Mapping[str, str],
    asked: Collection[str],
) -> Iterator[tuple[ReportCell, ReportCell]]:
    """Yield what a baseline loads in a variant that the candidate lacks, beside a plain load."""
    known = {(c.scenario, c.variant, c.saved_by, c.loaded_by): c for c in mine}
    for candidate, baseline in instead.items():
        for old in before:
            if old.loaded_by != baseline or old.variant == PLAIN or old.variant not in asked:
                continue
            saver = candidate if old.saved_by == baseline else old.saved_by
            if (old.scenario, old.variant, saver, candidate) not in known:
                plain = known.get((old.scenario, PLAIN, saver, candidate))
                if plain is not None:
                    yield old, plain.at(plain.place._replace(variant=old.variant))


def _cell(old: ReportCell | None, new: ReportCell) -> Compared:
    if not new.present:
        before = texts.seen(old) if old else _NOTHING
        return _missing(new, before, new.verdict.value, new.reason, new.verdict.exit_code)
    if old is None or not old.present:
        why = f"{_LACKS}: {old.reason}" if old else _LACKS
        return _missing(new, old.verdict.value if old else _NOTHING, texts.seen(new), why)
    return _found(
        new, _standing(old, new), texts.seen(old), texts.seen(new), texts.reason(old, new)
    )


def _found(row: _Row, standing: Standing, before: str, after: str, reason: str) -> Compared:
    code = ExitCode.DEVIATES if standing == Standing.WORSE else ExitCode.OK
    cell = row if isinstance(row, ReportCell) else None
    return Compared(
        kind=_kind(row),
        id=_id(row),
        scenario=row.scenario,
        control=row.control.value if isinstance(row, ControlRow) else "",
        standing=standing,
        before=before,
        after=after,
        reason=reason,
        code=code,
        cell=cell,
    )


def _missing(
    row: _Row, before: str, after: str, reason: str, code: ExitCode = ExitCode.INCOMPLETE
) -> Compared:
    found = _found(row, Standing.MISSING, before, after, reason)
    return dataclasses.replace(found, code=code)


def _kind(row: _Row) -> str:
    if isinstance(row, ReportCell):
        return CELLS
    return SAVES if isinstance(row, SaveRow) else CONTROLS


def _id(row: _Row) -> str:
    if isinstance(row, ReportCell):
        return row.id
    place = f"{row.scenario}/{row.release}"
    return f"save/{place}" if isinstance(row, SaveRow) else f"control/{place}/{row.control.value}"


def _standing(old: ReportCell, new: ReportCell) -> Standing:
    failed = old.outcome == Outcome.ERROR, new.outcome == Outcome.ERROR
    if all(failed):
        return Standing.SAME if _error(old) == _error(new) else Standing.CHANGED
    before, after = _ranks(old, old, new), _ranks(new, old, new)
    if any(failed):
        before, after = ({"": max(ranks.values())} for ranks in (before, after))
    changes = {after.get(name, 0) - before.get(name, 0) for name in {**before, **after}}
    if max(changes) > 0:
        return Standing.WORSE
    if min(changes) < 0:
        return Standing.BETTER
    return _by_flaws(old.note or "", new.note or "", _looks(old) == _looks(new))


def _by_flaws(before: str, after: str, alike: bool) -> Standing:
    """Return the standing of what is wrong in the same respects on both sides."""
    flaws = set(before.split("; ")) - {""}, set(after.split("; ")) - {""}
    if flaws[1] > flaws[0]:
        return Standing.WORSE
    return Standing.SAME if alike and flaws[0] == flaws[1] else Standing.CHANGED


def _error(cell: ReportCell) -> tuple[object, ...]:
    message = _CHANGING.sub("0", cell.error_message or "")
    return cell.stage, cell.error_type, message, cell.missing_keys, cell.unexpected_keys


def _looks(cell: ReportCell) -> tuple[object, ...]:
    parts = {(p.name, p.outcome, p.resized, p.after_load) for p in cell.parts}
    return cell.outcome, cell.after_load, cell.rest_state, parts


def _ranks(cell: ReportCell, old: ReportCell, new: ReportCell) -> dict[str, int]:
    """Return how bad a load is in each respect; a respect that is not mentioned is good.

    :param cell: ``old`` or ``new``.
    """
    if cell.outcome == Outcome.ERROR:
        return {"": _ERROR}
    mine = {part.name: part for part in cell.parts or _whole(cell)}
    # The parts that either saving module held something for, unless the baseline knows none
    # and the candidate does not either.
    gained = {part.name for part in new.parts if part.outcome == Outcome.LOADED}
    unknown = {part.name for part in old.parts if part.outcome == Outcome.NONE} - gained
    known = {*old.held, *new.held} - unknown
    known |= {part.name for side in (old, new) if not side.parts for part in _whole(side)}
    ranks = {name: _part(mine.get(name), name in known) for name in {*mine, *known}}
    whole = cell.outcome == Outcome.PARTIAL and _SPOILT not in ranks.values()
    frozen = [name for name, part in mine.items() if part.after_load == AfterLoad.FROZEN]
    return {
        **ranks,
        **{f"{name}, after the load": _SPOILT for name in frozen},
        "": _SPOILT if whole and cell.weights != Weights.CHANGED else 0,
        "checkpoint": _SPOILT if cell.save == SaveOutcome.SPOILT else 0,
        "weights": _WEIGHTS if cell.weights == Weights.CHANGED else 0,
    }


def _whole(cell: ReportCell) -> list[PartRow]:
    """Return a part that stands for a load of which the parts are not known."""
    if cell.outcome not in (Outcome.LOADED, Outcome.DEFAULTS, Outcome.PARTIAL):
        return []
    return [
        PartRow(
            name="attention",
            attention=True,
            outcome=cell.outcome,
            resized=cell.resized,
            after_load=cell.after_load,
        )
    ]


def _part(part: PartRow | None, known: bool) -> int:
    """Return how bad it is what became of a part, whether or not it is frozen.

    :param known: whether the checkpoint held something for it.
    """
    if part and part.outcome == Outcome.PARTIAL:
        return _SPOILT
    if not known:
        return 0
    if part is None or part.outcome != Outcome.LOADED:
        return _LOST
    return int(part.resized)


# Saves.

_SAVES = {SaveOutcome.SAVED: 0, SaveOutcome.ERROR: 1, SaveOutcome.SPOILT: 2}
"""How bad a save is: a checkpoint that is wrong and looks right is worse than none."""


def _saves(before: Report, after: Report, instead: Mapping[str, str]) -> Iterator[Compared]:
    known = {(row.scenario, row.release): row for row in before.saves}
    for row in after.saves:
        if row.release not in instead:
            continue
        old = known.get((row.scenario, instead[row.release]))
        if old is None:
            yield _missing(row, _NOTHING, texts.save(row, keys=True), _LACKS)
        else:
            standing = _save_standing(old, row)
            moved = old.observed != row.observed
            was, is_now = (texts.save(one, keys=moved) for one in (old, row))
            why = row.note if row.outcome == SaveOutcome.ERROR else texts.shortened(row.note)
            yield _found(row, standing, was, is_now, why)


def _save_standing(old: SaveRow, new: SaveRow) -> Standing:
    ranks = [
        (_SAVES[row.outcome], not row.conforms or row.observed == "none") for row in (old, new)
    ]
    if new.outcome == SaveOutcome.ERROR == old.outcome:
        return Standing.SAME if old.note == new.note else Standing.CHANGED
    if ranks[0] != ranks[1]:
        return Standing.WORSE if ranks[1] > ranks[0] else Standing.BETTER
    return _by_flaws(old.note, new.note, old.observed == new.observed)


# Controls.

_REFUSAL: dict[Outcome | Absence, int] = {
    Outcome.ERROR: 0,
    Outcome.NONE: 1,
    Outcome.DEFAULTS: 1,
    Outcome.PARTIAL: 2,
}
"""How bad it is what becomes of a payload that was damaged on purpose."""


def _controls(before: Report, after: Report, instead: Mapping[str, str]) -> Iterator[Compared]:
    known = {(row.scenario, row.release, row.control): row for row in before.controls}
    for row in after.controls:
        if row.release not in instead:
            continue
        old = known.get((row.scenario, instead[row.release], row.control))
        if isinstance(row.observed, Absence):
            was = texts.control(old) if old else _NOTHING
            yield _missing(row, was, row.observed.value, row.note, row.observed.verdict.exit_code)
        elif old is None or isinstance(old.observed, Absence):
            yield _missing(row, _NOTHING, texts.control(row), _LACKS)
        else:
            standing = _control_standing(old, row)
            why = row.note if row.observed == Outcome.ERROR else texts.shortened(row.note)
            yield _found(row, standing, texts.control(old), texts.control(row), why)


def _control_standing(old: ControlRow, new: ControlRow) -> Standing:
    if old.good != new.good:
        return Standing.WORSE if old.good else Standing.BETTER
    if old.observed == Outcome.ERROR == new.observed:
        notes = {_CHANGING.sub("0", row.note) for row in (old, new)}
        return Standing.SAME if len(notes) == 1 else Standing.CHANGED
    if old.observed == new.observed:
        return _by_flaws(old.note, new.note, alike=True)
    if new.control == ControlName.TRUNCATED and new.good:
        ranks = [_REFUSAL.get(row.observed, 0) for row in (old, new)]
        if ranks[0] != ranks[1]:
            return Standing.WORSE if ranks[1] > ranks[0] else Standing.BETTER
    return Standing.CHANGED
