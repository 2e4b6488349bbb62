"""What was compared, as text: outcomes, changes of parts, and flaws."""

from __future__ import annotations

from collections.abc import Sequence

from matrix.catalogue.words import AfterLoad, Outcome, SaveOutcome, Weights
from matrix.report.cells import PartRow, ReportCell
from matrix.report.document import ControlRow, SaveRow

_CHECKPOINTS = " is not the checkpoint's"


def seen(cell: ReportCell) -> str:
    """Return what a cell came to, with all that is wrong beside its outcome."""
    marks = {
        "weights changed": cell.weights == Weights.CHANGED,
        "checkpoint spoilt": cell.save == SaveOutcome.SPOILT,
    }
    shown = [mark for mark, applies in marks.items() if applies]
    return ", ".join([cell.seen, *shown])


def reason(old: ReportCell, new: ReportCell) -> str:
    """Return the error, or which parts changed in what, and what is flawed."""
    if new.error_type:
        return new.reason
    before = {part.name: _part_text(part) for part in old.parts}
    changes: dict[str, list[str]] = {}
    for part in new.parts:
        was, is_now = before.get(part.name, Outcome.NONE.value), _part_text(part)
        if was != is_now and before:
            changes.setdefault(f"{was}, now {is_now}", []).append(part.name)
    found = [f"{', '.join(names)}: {change}" for change, names in changes.items()]
    return "; ".join([*found, *([shortened(new.note)] if new.note else [])])


def shortened(note: str) -> str:
    """Return flaws, joined by semicolons, with what is the same of several parts said once."""
    of: dict[str, list[str]] = {}
    for flaw in note.split("; "):
        name, colon, text = flaw.partition(": ")
        of.setdefault(text if colon else flaw, []).append(name if colon else "")
    by_parts: dict[str, list[str]] = {}
    for text, names in of.items():
        by_parts.setdefault(", ".join(filter(None, names)), []).append(text)
    return "; ".join(
        f"{names}: {_listed(texts)}" if names else _listed(texts)
        for names, texts in by_parts.items()
    )


def _listed(texts: Sequence[str]) -> str:
    """Return texts as one, where all say of something that it is not the checkpoint's."""
    if len(texts) < 2 or not all(text.endswith(_CHECKPOINTS) for text in texts):
        return ", ".join(texts)
    return (
        f"{', '.join(text.removesuffix(_CHECKPOINTS) for text in texts)} are not the checkpoint's"
    )


def _part_text(part: PartRow) -> str:
    marks = {"resized": part.resized, "frozen": part.after_load == AfterLoad.FROZEN}
    shown = ", ".join(mark for mark, applies in marks.items() if applies)
    return f"{part.outcome.value} ({shown})" if shown else part.outcome.value


def save(row: SaveRow, *, keys: bool) -> str:
    """Return what a save came to.

    :param keys: whether to say where the attention's metadata is.
    """
    if row.outcome == SaveOutcome.ERROR or not keys:
        return row.outcome.value
    return f"{row.outcome.value}, the attention's metadata under {row.observed}"


def control(row: ControlRow) -> str:
    """Return what a control came to, and what is required where it is not met."""
    wanted = "" if row.good else f", {row.required.value} is required"
    return f"{row.observed.value}{wanted}"
