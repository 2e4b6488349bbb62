"""Types of a report's cells."""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from matrix.catalogue.scenarios import REWRITE
from matrix.catalogue.words import (
    Absence,
    AfterLoad,
    Basis,
    ControlName,
    Deviation,
    Lane,
    Outcome,
    RestState,
    RunnerName,
    SaveOutcome,
    Stage,
    Undocumented,
    Verdict,
    Weights,
    outcome_text,
)
from matrix.judge.outcomes import deviations
from matrix.plan.cells import Cell
from matrix.store.records import Number
from matrix.system.sharing import read_through

_CONTROL = re.compile(r"\x1b\[[0-9;]*[A-Za-z]|[\x00-\x08\x0e-\x1f\x7f-\x9f]")


def one_line(text: str) -> str:
    """Return text on one line, without characters that a terminal would obey.

    PyTorch's messages have words in bold, and others may come from a checkpoint.
    """
    return " ".join(_CONTROL.sub("", text).split())


class ReportModel(BaseModel):
    """Base of all parts. Unknown fields are ignored, as fields may be added under one format."""

    model_config = ConfigDict(frozen=True, extra="ignore", ser_json_inf_nan="strings")


class PartRow(ReportModel):
    """What became of one part: a submodule that holds, or would hold, FP8 state."""

    name: str
    """Name of the part that is the same in all releases, e.g. ``core_attention``."""
    attention: bool
    """Whether it computes attention."""
    outcome: Outcome
    """What became of its metadata."""
    resized: bool
    """Whether its amax histories were cut or extended, and agree otherwise."""
    after_load: AfterLoad
    """Whether training steps still update it."""


class CellPlace(ReportModel):
    """Which cell of the matrix it is."""

    id: str
    """Name of the cell, e.g. ``autocast/plain/1.7->2.4``."""
    scenario: str
    """Name of the scenario."""
    variant: str
    """Name of the variant."""
    saved_by: str
    """Name of the release that saved."""
    loaded_by: str
    """Name of the release that loaded."""


class Observation(ReportModel):
    """What was seen in a cell."""

    outcome: Outcome | Absence
    """The outcome, or why there is none."""
    after_load: AfterLoad
    """Whether training steps still update the loaded metadata."""
    stage: Stage | None
    """The last step of the load that was begun."""
    error_type: str | None
    """Name of the exception's class."""
    error_message: str | None
    """Message of the exception."""
    missing_keys: tuple[str, ...]
    """Keys that the loading model has and the checkpoint lacks."""
    unexpected_keys: tuple[str, ...]
    """Keys that the checkpoint has and the loading model lacks."""
    note: str | None
    """Why there is no outcome, or what is flawed in the save or the load."""
    lacking: str = ""
    """The release that could not be obtained or started, where that is why there is no outcome."""
    save: SaveOutcome | None = None
    """What became of the save; null where there is no outcome."""
    rest: Outcome | None = None
    """What became of the parts other than the attention that the checkpoint holds state for."""
    rest_after_load: AfterLoad = AfterLoad.UNTESTED
    """Whether training steps still update those parts."""
    resized: bool = False
    """Whether the attention's amax histories were cut or extended, and agree otherwise."""
    weights: Weights | None = None
    """Whether parameters and buffers are the checkpoint's; null where the load failed."""
    parts: tuple[PartRow, ...] = ()
    """Every part that holds, or would hold, FP8 state; none where the load failed."""
    held: tuple[str, ...] = ()
    """Names of the parts for which the saving module held metadata other than the default."""

    @functools.cached_property
    def seen(self) -> str:
        """The outcome as it is shown, e.g. ``loaded (frozen)``."""
        return outcome_text(self.outcome, self.after_load, self.rest_state, resized=self.resized)

    @property
    def rest_state(self) -> RestState:
        """What became of the parts other than the attention, in one word."""
        return RestState.of(self.rest, self.rest_after_load)

    @property
    def reason(self) -> str:
        """The error, why there is no outcome, or why it is ``partial``, as one line."""
        if not self.error_type:
            return one_line(self.note or "")
        message = one_line(self.error_message or "")
        return f"{self.error_type} at {self.stage.value if self.stage else None}: {message}"


class OutputComparison(ReportModel):
    """The loaded and the saving module's output for the same input; gpu lane only."""

    output_difference: Number | None = None
    """Largest difference of the loaded and the saving module's output; gpu lane only."""
    output_largest: Number | None = None
    """Largest magnitude in the saving module's output; gpu lane only."""


class CellJudgement(ReportModel):
    """What the FAQ and the ledger say of a cell."""

    documented: Outcome | Undocumented
    """The documented outcome, or ``undocumented``."""
    documented_reason: str | None
    """The reason that the FAQ gives for it."""
    documented_sentence: str | None
    """The sentence of the FAQ that says so."""
    same_reason: bool | None
    """Whether an error has the documented reason; null without an error or such a reason."""
    verdict: Verdict
    """Result of comparing the outcome with the FAQ and the ledger."""
    ledger: tuple[str, ...]
    """Ids of the ledger entries that explain a known deviation."""
    controls: tuple[ControlName, ...] = ()
    """Controls of the loader that came out wrong."""


class CellCheckpoint(ReportModel):
    """The checkpoint that a cell loads, and where the evidence on it was obtained."""

    measured_with: str | None
    """The release whose checkpoint was loaded: the saver, or one that wrote the same state."""
    save_provenance: Basis | None
    """Where the evidence on the save was obtained."""
    save_image: str | None = None
    """Id of the container image that saved, where the runner is ``docker``."""
    held: tuple[str, ...] = ()
    """Names of the parts for which the saving module held metadata other than the default."""


class CellRun(ReportModel):
    """How the load was run, and where the evidence on it was obtained."""

    lane: Lane
    """What executed Transformer Engine."""
    runner: RunnerName
    """Where it was executed."""
    provenance: Basis | None
    """``live`` if both save and load are; null where there is no outcome."""
    load_provenance: Basis | None
    """Where the evidence on the load was obtained."""
    load_image: str | None = None
    """Id of the container image that loaded, where the runner is ``docker``."""


# Fields are in the order of the bases from the last to the first.
class CellObject(CellRun, CellCheckpoint, CellJudgement, OutputComparison, Observation, CellPlace):
    """One judged cell by itself, as commands print it and files of format 1 list it."""


GROUPS: dict[str, type[ReportModel]] = {
    "observation": Observation,
    "output": OutputComparison,
    "judgement": CellJudgement,
    "checkpoint": CellCheckpoint,
    "run": CellRun,
}
"""The groups of values that cells share, by the name of the attribute that holds each."""

# The type checker is told that a cell has the fields of its groups; read_through() below gives
# them to it. Inheriting them when running would give every cell a copy of each.
if TYPE_CHECKING:

    class _OfOthers(
        CellRun, CellCheckpoint, CellJudgement, OutputComparison, Observation, CellPlace
    ):
        pass
else:
    _OfOthers = object


class ReportCell(_OfOthers):
    """One judged cell: its place, and groups of values that it shares with other cells.

    It has all fields of :class:`CellObject`; it reads them through what it consists of.

    :param place: the cell.
    :param observation: what was seen.
    :param output: the comparison of outputs.
    :param judgement: what the FAQ and the ledger say.
    :param checkpoint: what is loaded.
    :param run: how the load was run.
    """

    __slots__ = ("place", *GROUPS)

    def __init__(
        self,
        place: Cell,
        observation: Observation,
        output: OutputComparison,
        judgement: CellJudgement,
        checkpoint: CellCheckpoint,
        run: CellRun,
    ) -> None:
        self.place = place
        self.observation = observation
        self.output = output
        self.judgement = judgement
        self.checkpoint = checkpoint
        self.run = run

    @classmethod
    def of(cls, cell: CellObject) -> ReportCell:
        """Return a cell that shares nothing.

        :param cell: all values of it, which have been validated.
        """
        groups: Any = {
            name: kind.model_construct(
                **{field: getattr(cell, field) for field in kind.model_fields}
            )
            for name, kind in GROUPS.items()
        }
        place = Cell(cell.scenario, cell.variant, cell.saved_by, cell.loaded_by)
        return cls(place, **groups)

    def model_dump(self, mode: str = "python") -> dict[str, Any]:  # type: ignore[override]
        """Return all values by name, as :class:`CellObject` has them.

        :param mode: ``json`` for values that JSON has.
        """
        values = {name: getattr(self, name) for name in CellObject.model_fields}
        return CellObject.model_construct(**values).model_dump(mode=mode)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ReportCell) and all(
            getattr(self, name) == getattr(other, name) for name in ReportCell.__slots__
        )

    def __hash__(self) -> int:
        return hash(self.place)

    def __repr__(self) -> str:
        return f"ReportCell({self.model_dump()})"

    def at(self, place: Cell) -> ReportCell:
        """Return what is known of this cell as that of another place."""
        return ReportCell(place, *(getattr(self, name) for name in GROUPS))

    @property
    def deviations(self) -> list[Deviation]:
        """In what the cell differs from the documentation; nothing without an outcome."""
        if not isinstance(self.outcome, Outcome):
            return []
        spoilt = self.save == SaveOutcome.SPOILT
        return deviations(
            self.documented, self.outcome, self.after_load, self.rest_state, self.weights, spoilt
        )

    @property
    def rewritten(self) -> bool:
        """Whether the file was rewritten before the load."""
        return self.variant.startswith(REWRITE)

    @property
    def output_part(self) -> float:
        """The largest difference of the outputs, as a fraction of the largest magnitude."""
        return (self.output_difference or 0.0) / (self.output_largest or 1.0)

    @property
    def present(self) -> bool:
        """Whether the cell has an outcome."""
        return self.verdict.present


read_through(ReportCell, "place", CellPlace.model_fields)
for _name, _group in GROUPS.items():
    read_through(ReportCell, _name, _group.model_fields)
read_through(ReportCell, "observation", ("seen", "rest_state", "reason"))
