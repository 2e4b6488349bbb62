"""Enumerations of the closed vocabularies of reports, records and tables.

At run time every member is a string, so that JSON, TOML, templates and file names have the
text that is written here. To a type checker it is not: comparing a verdict with a text is a
type error, so that misspelt ones are found.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from matrix.errors import ExitCode

if TYPE_CHECKING:
    from enum import Enum

    class Word(Enum):
        """Base of the enumerations: ``StrEnum`` at run time."""

        value: str
else:
    from enum import StrEnum as Word


class Lane(Word):
    """What executes Transformer Engine."""

    CPU = "cpu"
    """The release's Python code with its compiled extension replaced by a stand-in."""
    GPU = "gpu"
    """The release as it was published, on a GPU."""


class DeviceGeneration(Word):
    """A generation of GPUs, which the cpu lane reports in place of a device."""

    HOPPER = "hopper"
    """Compute capability 9.0."""
    BLACKWELL = "blackwell"
    """Compute capability 10.0."""


class RunnerName(Word):
    """Where a release's process runs."""

    LOCAL = "local"
    """A child process of this interpreter."""
    DOCKER = "docker"
    """One container per release."""


class SaveOutcome(Word):
    """What became of a save."""

    SAVED = "saved"
    """The state dict is what the module held."""
    SPOILT = "spoilt"
    """Something in the state dict is not what the module held, or is missing."""
    ERROR = "error"
    """Transformer Engine or PyTorch raised an exception; there is no checkpoint."""


class Stage(Word):
    """The last step of a load, or of the save before it, that was begun."""

    SAVE = "save"
    """``Module.state_dict`` and ``torch.save``, in the saving release."""

    DESERIALIZE = "deserialize"
    """``torch.load``."""
    LOAD_STATE_DICT = "load_state_dict"
    """``Module.load_state_dict``."""
    FIRST_STEP = "first_step"
    """The module's own initialisation of FP8, as before its first FP8 step."""


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
    """Neither ``loaded`` nor ``defaults``: some of it differs from the checkpoint."""


class Weights(Word):
    """Whether the loaded module's parameters and buffers are the checkpoint's."""

    EQUAL = "equal"
    """All of them are bit-equal; quantized ones in their bytes and scales."""
    CHANGED = "changed"
    """At least one differs."""


class Deviation(Word):
    """One way in which a cell differs from the documentation; a cell may have several."""

    LOADED = "loaded"
    DEFAULTS = "defaults"
    NONE = "none"
    ERROR = "error"
    PARTIAL = "partial"
    """This and those above: the outcome, where another is documented."""
    FROZEN = "frozen"
    """The attention's metadata is loaded, and later steps do not change it."""
    REST = "rest"
    """A part other than the attention lost what the checkpoint held for it."""
    REST_FROZEN = "rest-frozen"
    """A part other than the attention is loaded and frozen, while the attention is not frozen."""
    SPOILT = "spoilt"
    """The checkpoint is not what the saving module held."""
    WEIGHTS = "weights"
    """The outcome is ``partial`` because parameters or buffers are not the checkpoint's."""


class Absence(Word):
    """Why a cell has no outcome. The same words are verdicts."""

    INCONCLUSIVE = "inconclusive"
    """The release needs an operation that the lane does not emulate."""
    INFRA = "infra"
    """An image, an engine, a GPU, memory, time or the harness itself failed."""
    UNAVAILABLE = "unavailable"
    """The release's code cannot be obtained here, and no evidence is recorded."""
    NOT_RUN = "not-run"
    """No save or load was attempted, and no evidence is recorded."""

    @property
    def verdict(self) -> Verdict:
        """The verdict on a cell that has no outcome for this reason."""
        return Verdict(self.value)


class AfterLoad(Word):
    """Whether training steps after the load still update the loaded metadata."""

    UPDATES = "updates"
    """A training step rolled every amax history and moved every scale."""
    FROZEN = "frozen"
    """At least one tensor is no longer changed by training steps."""
    UNTESTED = "untested"
    """No training step was run after the load."""


class CellStatus(Word):
    """What becomes of a checkpoint in a load, see ``matrix.judge.endings``."""

    LOADS = "loads"
    """All that it holds, and that the loader has a place for, is loaded and goes on updating."""
    FROZEN = "frozen"
    """It loads, and no later step updates its FP8 metadata."""
    RESETS = "resets"
    """It loads, and FP8 metadata is silently lost that the loader has a place for."""
    CHANGED = "changed"
    """It loads other weights or metadata than were saved."""
    FAILS = "fails"
    """It raises an exception."""
    UNKNOWN = "unknown"
    """There is no outcome, or its metadata was not seen to arrive: the loader lacks the recipe."""


class Undocumented(Word):
    """Stands for the documented outcome of a cell that the FAQ does not mention."""

    UNDOCUMENTED = "undocumented"
    """The FAQ has no rule for the cell."""


class RestState(Word):
    """What became of the parts other than the attention, of which the checkpoint holds something.

    ``none``: there are no such parts, or the load failed.
    """

    NONE = "none"
    KEPT = "kept"
    """All of them are loaded."""
    FROZEN = "frozen"
    """All of them are loaded, and later steps do not change at least one of them."""
    LOST = "lost"
    """At least one of them is not what the checkpoint holds."""

    @classmethod
    def of(cls, rest: Outcome | None, after_load: AfterLoad) -> RestState:
        """Return the word for what became of those parts together."""
        if rest is None:
            return cls.NONE
        if rest != Outcome.LOADED:
            return cls.LOST
        return cls.FROZEN if after_load == AfterLoad.FROZEN else cls.KEPT


def outcome_text(
    outcome: Outcome | Absence,
    after_load: AfterLoad,
    rest: RestState = RestState.NONE,
    *,
    resized: bool = False,
) -> str:
    """Return an outcome as reports show it, e.g. ``loaded`` or ``loaded (frozen)``."""
    marks = {
        "resized": resized,
        "frozen": after_load == AfterLoad.FROZEN,
        "rest lost": rest == RestState.LOST,
        # Where all is frozen, one word says it.
        "rest frozen": rest == RestState.FROZEN and after_load != AfterLoad.FROZEN,
    }
    shown = ", ".join(mark for mark, applies in marks.items() if applies)
    return f"{outcome.value} ({shown})" if shown else outcome.value


class Verdict(Word):
    """Result of comparing a cell's outcome with the FAQ and the ledger.

    The last four are the verdicts on cells without an outcome.
    """

    CONFORMS = "conforms"
    """The outcome is the documented one."""
    KNOWN_DEVIATION = "known-deviation"
    """The outcome is not the documented one, and the ledger has an entry for it."""
    DEVIATES = "deviates"
    """The outcome is not the documented one, and the ledger has no entry for it."""
    UNDOCUMENTED = "undocumented"
    """The FAQ has no rule for the cell."""
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
        """Whether the outcome differs from the documented one, with or without a ledger entry."""
        return self in (Verdict.DEVIATES, Verdict.KNOWN_DEVIATION)

    @property
    def exit_code(self) -> ExitCode:
        """The exit code of a judgement in which only this verdict occurs."""
        match self:
            case Verdict.CONFORMS | Verdict.KNOWN_DEVIATION | Verdict.UNDOCUMENTED:
                return ExitCode.OK
            case Verdict.DEVIATES:
                return ExitCode.DEVIATES
            case Verdict.INFRA:
                return ExitCode.INFRA
            case Verdict.INCONCLUSIVE | Verdict.UNAVAILABLE | Verdict.NOT_RUN:
                return ExitCode.INCOMPLETE
        assert_never(self)


ABSENT = frozenset(absence.verdict for absence in Absence)
"""The verdicts on cells without an outcome."""


class AttemptKind(Word):
    """Why an attempt at a save or a load produced no evidence."""

    GAP = "gap"
    """The release needs an operation that the lane does not emulate."""
    INFRA = "infra"
    """An image, an engine, a GPU, memory, time or the harness itself failed."""
    UNAVAILABLE = "unavailable"
    """The release's code cannot be obtained here."""

    @property
    def absence(self) -> Absence:
        """Why a cell that depends on such an attempt has no outcome."""
        match self:
            case AttemptKind.GAP:
                return Absence.INCONCLUSIVE
            case AttemptKind.INFRA:
                return Absence.INFRA
            case AttemptKind.UNAVAILABLE:
                return Absence.UNAVAILABLE
        assert_never(self)


class Basis(Word):
    """Where evidence was obtained."""

    LIVE = "live"
    """Measured by this run, or by an earlier one into the same store."""
    RECORDED = "recorded"
    """Shipped with the package."""

    @classmethod
    def of(cls, live: bool) -> Basis:
        """Return ``live`` or ``recorded``."""
        return cls.LIVE if live else cls.RECORDED


class EntryState(Word):
    """State of a ledger entry after judging."""

    USED = "used"
    """Planned cells match the entry, and none of them conforms."""
    STALE = "stale"
    """A planned cell that matches the entry conforms to the FAQ."""
    EXPIRED = "expired"
    """Its expiry date has been reached."""
    UNUSED = "unused"
    """A scenario of the entry was planned, and no planned cell matches it."""

    def fails(self, whole: bool) -> bool:
        """Return whether an entry in this state makes the gate fail.

        :param whole: the whole catalogue was planned; only then does an unused entry fail.
        """
        match self:
            case EntryState.USED:
                return False
            case EntryState.STALE | EntryState.EXPIRED:
                return True
            case EntryState.UNUSED:
                return whole
        assert_never(self)


class Standing(Word):
    """How a candidate compares with its baseline in one cell, save or control."""

    WORSE = "worse"
    """Less survives, or less is refused that should be."""
    MISSING = "missing"
    """The candidate or the baseline has no outcome, so that nothing can be compared."""
    BETTER = "better"
    """More survives."""
    CHANGED = "changed"
    """Neither worse nor better, and the error or the outcome is another."""
    SAME = "same"
    """Nothing changed: what was wrong with the baseline is inherited."""


class ControlName(Word):
    """A check of a loading release with its own save, sound or damaged on purpose."""

    OWN = "own"
    """The save as it is."""
    AGAIN = "again"
    """The same, loaded twice in one process; the second load counts."""
    UNKNOWN_KEY = "unknown-key"
    """With a key that no release can know."""
    TRUNCATED = "truncated"
    """With every extra state cut to half its bytes."""
    EMPTY = "empty"
    """With every extra state empty."""


class Requirement(Word):
    """Outcome that a control must have."""

    LOADED = "loaded"
    NONE = "none"
    ERROR = "error"
    NOT_LOADED = "not loaded"
    """Any outcome except ``loaded``."""
    SHOWN_ONLY = "shown only"
    """Any outcome: the control is reported and not required."""
