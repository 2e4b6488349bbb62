"""Types of a judgement: judged cells, checks of saves, controls and ledger entries."""

from __future__ import annotations

import dataclasses
import datetime
import functools
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from matrix.catalogue.faq import Documented
from matrix.catalogue.words import (
    Absence,
    AfterLoad,
    ControlName,
    EntryState,
    Outcome,
    Requirement,
    RestState,
    SaveOutcome,
    Stage,
    Verdict,
    outcome_text,
)
from matrix.errors import ExitCode, worst
from matrix.judge.ledger import LedgerEntry
from matrix.judge.outcomes import LoadResult
from matrix.plan.cells import Cell, Plan
from matrix.store.records import Failure, Load, Save
from matrix.system.sharing import read_through


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ruling:
    """The verdict on cells that differ in nothing but the saver, and the evidence for it."""

    documented: Documented
    """The documented outcome."""
    verdict: Verdict
    """The verdict."""
    outcome: Outcome | Absence
    """The outcome, or why there is none."""
    after_load: AfterLoad = AfterLoad.UNTESTED
    """Whether training steps still update the metadata."""
    result: LoadResult | None = None
    """What became of the load, part by part; None where none was made."""
    note: str = ""
    """Why there is no outcome, or what is flawed in the save or the load; else empty."""
    controls: tuple[ControlName, ...] = ()
    """Controls of the loader that came out wrong."""
    detail: str = ""
    """The end of a failed attempt's output, or its traceback."""
    lacking: str = ""
    """The release that could not be obtained or started, where that is why there is no outcome."""
    entries: tuple[str, ...] = ()
    """Ids of the ledger entries that explain a known deviation."""
    load: Load | None = None
    """The record of the load; None where there is no outcome, or no checkpoint to load."""
    save_live: bool = False
    """Whether the evidence on the save is live."""
    load_live: bool = False
    """Whether the evidence on the load is live."""

    @property
    def unexpected(self) -> tuple[str, ...]:
        """Keys that the checkpoint has and the loading model lacks."""
        return self.load.unexpected_keys if self.load else ()

    @functools.cached_property
    def seen(self) -> str:
        """The outcome as it is shown, e.g. ``loaded (frozen)``."""
        rest, resized = RestState.NONE, False
        if self.result:
            rest, resized = self.result.rest_state, self.result.resized
        return outcome_text(self.outcome, self.after_load, rest, resized=resized)

    @property
    def live(self) -> bool:
        """Whether the evidence on both save and load is live."""
        return self.save_live and self.load_live

    @property
    def same_reason(self) -> bool | None:
        """Whether an error has the documented reason; None without an error or such a reason."""
        if self.outcome != Outcome.ERROR or not self.documented.reason:
            return None
        return bool(self.unexpected)


# The type checker is told that a cell has the fields of its ruling; read_through() below gives
# them to it. Inheriting them when running would give every cell a copy of each.
if TYPE_CHECKING:
    _OfRuling = Ruling
else:
    _OfRuling = object


class JudgedCell(_OfRuling):
    """One cell with its verdict and the evidence for it; it has all that its ruling has.

    :param cell: the cell.
    :param save: the record of the save; None where there is no outcome.
    :param ruling: the verdict, which cells may share.
    """

    __slots__ = ("cell", "ruling", "save")

    def __init__(self, cell: Cell, save: Save | None, ruling: Ruling) -> None:
        self.cell = cell
        self.save = save
        self.ruling = ruling

    def __eq__(self, other: object) -> bool:
        return isinstance(other, JudgedCell) and all(
            getattr(self, name) == getattr(other, name) for name in JudgedCell.__slots__
        )

    def __hash__(self) -> int:
        return hash(self.cell)

    @property
    def error(self) -> Failure | None:
        """The exception that the load, or the save, raised; None where they raised none."""
        record = self.load or self.save
        return record.error if record else None

    @property
    def stage(self) -> Stage | None:
        """The last stage that was begun; None where there is no outcome."""
        if self.load:
            return self.load.stage
        return Stage.SAVE if self.save else None


read_through(
    JudgedCell,
    "ruling",
    [
        *(field.name for field in dataclasses.fields(Ruling)),
        *("unexpected", "seen", "live", "same_reason"),
    ],
)


@dataclasses.dataclass(frozen=True)
class SaveCheck:
    """A save, and where it has the attention's metadata beside where the FAQ says."""

    scenario: str
    """Name of the scenario."""
    release: str
    """Name of the release that saved."""
    documented: str
    """The documented end of the key, or ``none``."""
    observed: str
    """The keys found, joined by commas, or ``none``."""
    conforms: bool
    """Whether the keys are the documented ones, or there is no checkpoint to look at."""
    outcome: SaveOutcome = SaveOutcome.SAVED
    """Whether the state dict is what the module held."""
    note: str = ""
    """The exception, or what of the state dict is not what the module held."""


@dataclasses.dataclass(frozen=True)
class ControlCheck:
    """Result of one control of a loading release."""

    scenario: str
    """Name of the scenario."""
    release: str
    """Name of the release that loaded its own save."""
    control: ControlName
    """Name of the control."""
    required: Requirement
    """The outcome that it must have."""
    observed: Outcome | Absence
    """The outcome that it had, or why it had none."""
    verdict: Verdict
    """``conforms`` where the requirement is met."""
    note: str = ""
    """The error, or what is not as required; empty where the requirement is met."""
    entries: tuple[str, ...] = ()
    """Ids of the ledger entries that explain a known deviation."""
    lacking: str = ""
    """The release, where it could not be obtained or started."""

    @property
    def good(self) -> bool:
        """Whether the requirement is met."""
        return self.verdict == Verdict.CONFORMS

    @property
    def sentence(self) -> str:
        """The observed and the required outcome as one line of text."""
        why = f" ({self.note.rstrip('.')})" if self.note else ""
        return (
            f"control {self.control.value} of {self.release}: {self.observed.value}{why} "
            f"where {self.required.value} was required"
        )


@dataclasses.dataclass(frozen=True)
class EntryCheck:
    """One ledger entry and the planned cells that match it."""

    entry: LedgerEntry
    """The entry."""
    state: EntryState
    """Whether it is used, stale, expired or unused."""
    cells: int
    """Number of planned cells that match it."""


@dataclasses.dataclass(frozen=True)
class Judgement:
    """The verdicts on all cells of a plan, and the checks beside them."""

    plan: Plan
    """The plan."""
    verdicts: tuple[JudgedCell, ...]
    """Its cells with their verdicts, in the plan's order."""
    saves: tuple[SaveCheck, ...]
    """Checks of the keys that releases save to."""
    controls: tuple[ControlCheck, ...]
    """Results of the controls."""
    entries: tuple[EntryCheck, ...]
    """The ledger entries and their states."""
    today: datetime.date
    """The date of the judgement."""

    @property
    def totals(self) -> dict[Verdict, int]:
        """Number of cells by verdict. The sum is the number of planned cells."""
        return _totals(self.verdicts, self.plan)

    @property
    def exit_code(self) -> ExitCode:
        """The exit code of a gate with its default policy."""
        return worst(
            [
                *(verdict.exit_code for verdict, count in self.totals.items() if count),
                *(ExitCode.DEVIATES for save in self.saves if not save.conforms),
                *(control.verdict.exit_code for control in self.controls),
                *(ExitCode.DEVIATES for _entry in self.failing_entries),
            ]
        )

    @property
    def failing_entries(self) -> list[EntryCheck]:
        """The ledger entries that make the gate fail."""
        return [check for check in self.entries if check.state.fails(self.plan.whole)]


def _totals(verdicts: Sequence[JudgedCell], plan: Plan) -> dict[Verdict, int]:
    counted = Counter(verdict.verdict for verdict in verdicts)
    totals = {verdict: counted[verdict] for verdict in Verdict}
    if sum(totals.values()) != len(plan.cells):
        raise AssertionError(f"verdicts: {sum(totals.values())}, cells: {len(plan.cells)}")
    return totals
