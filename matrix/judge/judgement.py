"""What judging makes: verdicts, checks beside them, and the whole with its exit code."""

from __future__ import annotations

import dataclasses
import datetime
from collections import Counter
from collections.abc import Sequence

from matrix.catalogue.faq import Documented
from matrix.catalogue.words import (
    Absence,
    AfterLoad,
    EntryState,
    Outcome,
    Requirement,
    Verdict,
    outcome_text,
)
from matrix.errors import ExitCode, worst
from matrix.judge.ledger import LedgerEntry
from matrix.plan.cells import Cell, Plan
from matrix.store.records import Failure, Load, Save


@dataclasses.dataclass(frozen=True, kw_only=True)
class JudgedCell:
    """One cell, judged.

    ``outcome`` is an outcome, or the word for having none; ``note`` then says why, and
    ``detail`` is what the failed attempt left: the end of its output, or a traceback. Of a
    ``partial`` outcome, ``note`` says what is not whole.
    """

    cell: Cell
    documented: Documented
    verdict: Verdict
    outcome: Outcome | Absence
    after_load: AfterLoad = AfterLoad.UNTESTED
    note: str = ""
    detail: str = ""
    entries: tuple[str, ...] = ()
    save: Save | None = None
    load: Load | None = None
    save_live: bool = False
    load_live: bool = False

    @property
    def error(self) -> Failure | None:
        """The exception that the load raised, if it raised one."""
        return self.load.error if self.load else None

    @property
    def unexpected(self) -> tuple[str, ...]:
        """The keys of the checkpoint that the loader did not know."""
        return self.load.unexpected_keys if self.load else ()

    @property
    def seen(self) -> str:
        """The outcome as it is shown, e.g. ``loaded (frozen)``."""
        return outcome_text(self.outcome, self.after_load)

    @property
    def live(self) -> bool:
        """Whether both checkpoint and load were obtained here."""
        return self.save_live and self.load_live

    @property
    def same_reason(self) -> bool | None:
        """Whether an error has the FAQ's reason; None where it names none or is none."""
        if self.outcome != Outcome.ERROR or not self.documented.reason:
            return None
        return bool(self.unexpected)


@dataclasses.dataclass(frozen=True)
class SaveCheck:
    """Where a release's attention metadata was saved, beside where the FAQ says."""

    scenario: str
    release: str
    documented: str
    observed: str
    conforms: bool


@dataclasses.dataclass(frozen=True)
class ControlCheck:
    """What a loader did with its own save, damaged or not, and, where there is more, why."""

    scenario: str
    release: str
    control: str
    required: Requirement
    observed: Outcome | Absence
    good: bool
    note: str = ""

    @property
    def sentence(self) -> str:
        """What was seen beside what was required."""
        why = f" ({self.note.rstrip('.')})" if self.note else ""
        return (
            f"control {self.control} of {self.release}: {self.observed.value}{why} "
            f"where {self.required.value} was required"
        )


@dataclasses.dataclass(frozen=True)
class EntryCheck:
    """The state of one ledger entry: used, stale, expired or unused."""

    entry: LedgerEntry
    state: EntryState
    cells: int


@dataclasses.dataclass(frozen=True)
class Judgement:
    """A whole plan, judged."""

    plan: Plan
    verdicts: tuple[JudgedCell, ...]
    saves: tuple[SaveCheck, ...]
    controls: tuple[ControlCheck, ...]
    entries: tuple[EntryCheck, ...]
    today: datetime.date

    @property
    def totals(self) -> dict[Verdict, int]:
        """Cells by verdict; they add up to the planned cells."""
        return _totals(self.verdicts, self.plan)

    @property
    def exit_code(self) -> ExitCode:
        """What a gate makes of it."""
        return worst(
            [
                *(verdict.exit_code for verdict, count in self.totals.items() if count),
                *(ExitCode.DEVIATES for save in self.saves if not save.conforms),
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
        raise AssertionError(f"{sum(totals.values())} verdicts on {len(plan.cells)} cells")
    return totals
