"""The closed words of reports, records and tables, each kind an enumeration.

At run time every word is a string, so that JSON, TOML, templates and file names have it as
it is written here. To a type checker it is not: comparing a verdict with a text is an error,
a misspelt one with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from enum import Enum

    class Word(Enum):
        """Base of the closed words."""

        value: str
else:
    from enum import StrEnum as Word


class Lane(Word):
    """What executes Transformer Engine."""

    CPU = "cpu"
    """The release's Python code, its compiled extension replaced by a stand-in."""
    GPU = "gpu"
    """The release as it was shipped, on a device."""


class RunnerName(Word):
    """Where a lane runs."""

    LOCAL = "local"
    """This machine's interpreter, or a child of it."""
    DOCKER = "docker"
    """One container per release."""


class Stage(Word):
    """How far a load came."""

    DESERIALIZE = "deserialize"
    """``torch.load``."""
    LOAD_STATE_DICT = "load_state_dict"
    FIRST_STEP = "first_step"
    """The metadata as the first FP8 step would see it."""


class Outcome(Word):
    """What became of the attention's FP8 metadata in a load."""

    LOADED = "loaded"
    """Every tensor is bit-equal to the checkpoint's."""
    DEFAULTS = "defaults"
    """Scales are 1, amaxes are 0."""
    NONE = "none"
    """The loader has no FP8 attention metadata at all."""
    ERROR = "error"
    """Transformer Engine or PyTorch raised an exception."""
    PARTIAL = "partial"
    """Anything between ``loaded`` and ``defaults``."""


class Absence(Word):
    """Why a cell has no outcome. The same words are verdicts."""

    INCONCLUSIVE = "inconclusive"
    """The lane could not tell: an operation that it does not emulate."""
    INFRA = "infra"
    """An image, an engine, a GPU, memory, time or the harness itself failed."""
    UNAVAILABLE = "unavailable"
    """The release's code cannot be had here, and nothing is recorded."""
    NOT_RUN = "not-run"

    @property
    def verdict(self) -> Verdict:
        """The verdict of a cell that has no outcome for this reason."""
        return Verdict(self.value)


class AfterLoad(Word):
    """Whether loaded metadata lives on in training."""

    UPDATES = "updates"
    FROZEN = "frozen"
    """The metadata is loaded, and no later step changes it."""
    UNTESTED = "untested"


class Undocumented(Word):
    """What the FAQ says of a cell where it says nothing."""

    UNDOCUMENTED = "undocumented"


class Verdict(Word):
    """What a cell's outcome is beside the documentation and the ledger."""

    CONFORMS = "conforms"
    KNOWN_DEVIATION = "known-deviation"
    """Not what the FAQ says; the ledger has an entry for it."""
    DEVIATES = "deviates"
    UNDOCUMENTED = "undocumented"
    """The FAQ says nothing of it."""
    INCONCLUSIVE = "inconclusive"
    INFRA = "infra"
    UNAVAILABLE = "unavailable"
    NOT_RUN = "not-run"

    @property
    def present(self) -> bool:
        """Whether the cell has an outcome."""
        return self not in ABSENT

    @property
    def deviating(self) -> bool:
        """Whether the outcome is not the documented one, excused by the ledger or not."""
        return self in (Verdict.DEVIATES, Verdict.KNOWN_DEVIATION)


ABSENT = frozenset(absence.verdict for absence in Absence)
"""The verdicts of cells that have no outcome."""


class AttemptKind(Word):
    """Why an attempt at a save or a load gave no evidence."""

    GAP = "gap"
    """The lane does not emulate an operation that the release asked for."""
    INFRA = "infra"
    UNAVAILABLE = "unavailable"

    @property
    def absence(self) -> Absence:
        """What a cell behind such an attempt has in place of an outcome."""
        return Absence.INCONCLUSIVE if self == AttemptKind.GAP else Absence(self.value)


class Basis(Word):
    """Where evidence comes from."""

    LIVE = "live"
    """Measured by this run, or by an earlier one into the same store."""
    RECORDED = "recorded"
    """It ships with the package."""


class EntryState(Word):
    """What judging found of a ledger entry."""

    USED = "used"
    STALE = "stale"
    """A cell that falls under it conforms."""
    EXPIRED = "expired"
    UNUSED = "unused"
    """No planned cell falls under it."""

    def fails(self, *, whole: bool) -> bool:
        """Tell whether the gate fails for it: an unused one only where everything was planned."""
        return self in (EntryState.STALE, EntryState.EXPIRED) or (
            whole and self == EntryState.UNUSED
        )


class Requirement(Word):
    """What a control must come to."""

    LOADED = "loaded"
    NONE = "none"
    ERROR = "error"
    NOT_LOADED = "not loaded"
    SHOWN_ONLY = "shown only"
