"""What the FAQ's list says of one pair of releases, from the observed loads."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from matrix.catalogue.words import AfterLoad, Outcome, RestState, Stage, Weights
from matrix.report.cells import ReportCell, one_line

PLAIN, REMAPPED, TRUSTED = "plain", "remapped", "trusted"
"""The variants that the list is about."""
_LONGEST = 60


@dataclasses.dataclass(frozen=True)
class Seen:
    """What became of one load, as far as the list says it."""

    outcome: Outcome
    """What became of the attention's FP8 metadata."""
    frozen: bool = False
    """Whether later steps do not update it."""
    resized: bool = False
    """Whether its amax histories were cut or extended."""
    rest: RestState = RestState.NONE
    """What became of the other modules' FP8 metadata."""
    changed: bool = False
    """Whether the weights are not the checkpoint's."""
    before: Stage | None = None
    """The stage of an error, where it comes before ``load_state_dict``."""

    @property
    def failed(self) -> bool:
        """Whether an exception was raised."""
        return self.outcome == Outcome.ERROR


@dataclasses.dataclass(frozen=True)
class Claim:
    """What is said of one kind of checkpoint, of one saver in one loader."""

    plain: Seen
    """Of a load without any measure."""
    mapped: Seen | None = None
    """Of a load after the FAQ's mapping of the key, where that helps."""
    trusted: Seen | None = None
    """Of a load with the loader's opt-in set, where that makes a difference."""
    opt_in: str | None = None
    """The environment variable that is the opt-in, where it makes a difference."""


def seen(cell: ReportCell) -> Seen:
    """Return what became of a load.

    :param cell: a cell that has an outcome.
    """
    assert isinstance(cell.outcome, Outcome)
    early = cell.stage in (Stage.SAVE, Stage.DESERIALIZE) and cell.outcome == Outcome.ERROR
    rest = RestState.NONE if cell.rest_state == RestState.KEPT else cell.rest_state
    frozen = cell.after_load == AfterLoad.FROZEN
    return Seen(
        outcome=cell.outcome,
        frozen=frozen,
        resized=cell.resized,
        # Where all is frozen, one sentence says it.
        rest=RestState.NONE if frozen and rest == RestState.FROZEN else rest,
        changed=cell.weights == Weights.CHANGED,
        before=cell.stage if early else None,
    )


def claim(variants: Mapping[str, ReportCell], opt_in: str | None) -> Claim:
    """Return what is to be said of a pair of releases.

    :param variants: the cells of the pair in one scenario, by variant.
    :param opt_in: the loader's environment variable for pickled extra state.
    """
    plain = seen(variants[PLAIN])
    mapped, trusted = (
        seen(variants[name]) if name in variants else None for name in (REMAPPED, TRUSTED)
    )
    helps = mapped is not None and mapped != plain and not mapped.failed
    matters = trusted is not None and trusted != plain and not (trusted.failed and plain.failed)
    return Claim(
        plain,
        mapped if helps else None,
        trusted if matters else None,
        opt_in if matters else None,
    )


def reason(cell: ReportCell) -> str:
    """Return why a load failed, as the FAQ would: by the key, or by the exception."""
    if cell.unexpected_keys:
        return "unexpected key"
    if cell.missing_keys:
        return "missing key"
    message = one_line(cell.error_message or "").replace("`", "'").replace("\\", "/")
    first = message.split(". ")[0][:_LONGEST].strip()
    return f"`{cell.error_type}: {first}`" if first else f"`{cell.error_type}`"
