"""``report.json``: its types, how it is built from a judgement, and how it is read back."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from packaging.version import Version
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from matrix.catalogue.scenarios import REWRITE
from matrix.catalogue.words import (
    Absence,
    AfterLoad,
    Basis,
    EntryState,
    Lane,
    Outcome,
    Requirement,
    RunnerName,
    Stage,
    Undocumented,
    Verdict,
    outcome_text,
)
from matrix.errors import StoreError
from matrix.judge.ledger import LedgerEntry
from matrix.store.records import Number

FORMAT = 1


class ReportModel(BaseModel):
    """Base of all parts. Fields may be added under one format, so unknown ones are passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore", ser_json_inf_nan="strings")


class ReportCell(ReportModel):
    """One judged cell.

    ``outcome`` is an outcome, or the word for having none. ``measured_with`` names the
    release whose checkpoint was loaded: the cell's saver, or another that wrote the very
    same state. ``provenance`` is live where both checkpoint and load are. The images are
    the ids of the containers' images, where the runner is docker. ``output_difference`` is
    the largest between the loaded module's output and the saving module's, of which
    ``output_largest`` is the largest magnitude; both from the gpu lane only.
    """

    id: str
    scenario: str
    variant: str
    saved_by: str
    loaded_by: str
    lane: Lane
    runner: RunnerName
    outcome: Outcome | Absence
    after_load: AfterLoad
    measured_with: str | None
    stage: Stage | None
    error_type: str | None
    error_message: str | None
    missing_keys: tuple[str, ...]
    unexpected_keys: tuple[str, ...]
    documented: Outcome | Undocumented
    documented_reason: str | None
    documented_sentence: str | None
    same_reason: bool | None
    verdict: Verdict
    ledger: tuple[str, ...]
    note: str | None
    provenance: Basis | None
    save_provenance: Basis | None
    load_provenance: Basis | None
    save_image: str | None = None
    load_image: str | None = None
    output_difference: Number | None = None
    output_largest: Number | None = None

    @property
    def seen(self) -> str:
        """The outcome, with ``(frozen)`` where the metadata is dead."""
        return outcome_text(self.outcome, self.after_load)

    @property
    def rewritten(self) -> bool:
        """Whether the file was rewritten first: that says nothing of the releases' own ways."""
        return self.variant.startswith(REWRITE)

    @property
    def output_part(self) -> float:
        """The output's largest difference, as a part of the largest magnitude."""
        return (self.output_difference or 0.0) / (self.output_largest or 1.0)

    @property
    def present(self) -> bool:
        """Whether the cell has an outcome."""
        return self.verdict.present

    @property
    def reason(self) -> str:
        """Why the outcome is what it is, on one line: the error, or why there is none."""
        if not self.error_type:
            return self.note or ""
        message = " ".join((self.error_message or "").split())
        return f"{self.error_type} at {self.stage.value if self.stage else None}: {message}"


class ReleaseRow(ReportModel):
    """One release of the plan."""

    name: str
    band: str
    source: str
    candidate: bool = False


class BandRow(ReportModel):
    """One cell of the FAQ's band table: what is documented, and what was seen how often."""

    loaded_by: str
    saved_by: str
    documented: str
    observed: dict[str, int]
    deviating: int


class Bands(ReportModel):
    """The FAQ's band table for one scenario and variant."""

    scenario: str
    variant: str
    bands: tuple[str, ...]
    rows: tuple[BandRow, ...]


class SaveRow(ReportModel):
    """Where a release saved the attention's metadata, beside where the FAQ documented."""

    scenario: str
    release: str
    documented: str
    observed: str
    conforms: bool


class ControlRow(ReportModel):
    """What a loader did with its own save, damaged or not; of one that is not good, why."""

    scenario: str
    release: str
    control: str
    required: Requirement
    observed: Outcome | Absence
    good: bool
    note: str = ""


class LedgerRow(LedgerEntry):
    """A ledger entry, its state and how many planned cells fall under it."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=False)

    state: EntryState
    cells: int


class Counts(ReportModel):
    """Cells by what their evidence rests on."""

    live: int
    recorded: int
    without: int


class Report(ReportModel):
    """A whole report.

    ``exit_code`` is what the gate says under its default policy; ``whole`` tells that the
    whole catalogue was planned, in every scenario and variant.
    """

    format: int = FORMAT
    harness: str
    date: str
    lane: Lane
    runner: RunnerName
    exit_code: int
    planned: int
    whole: bool = False
    totals: dict[Verdict, int]
    evidence: Counts
    releases: tuple[ReleaseRow, ...]
    bands: tuple[Bands, ...]
    saves: tuple[SaveRow, ...]
    controls: tuple[ControlRow, ...]
    ledger: tuple[LedgerRow, ...]
    cells: tuple[ReportCell, ...]

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        known = {row.name for row in self.releases}
        for name in known:
            Version(name.partition("@")[0])
        if named := {n for c in self.cells for n in (c.saved_by, c.loaded_by)} - known:
            raise ValueError(f"a cell is of {min(named)}, which is not among the releases")
        if not self.planned == len(self.cells) == sum(self.totals.values()):
            raise ValueError("planned, totals and the number of cells differ")
        return self

    @property
    def farthest(self) -> ReportCell | None:
        """The ``loaded`` cell whose output differs most, as a part of the largest magnitude."""
        loaded = [
            cell for cell in self.cells if cell.outcome == Outcome.LOADED and cell.output_largest
        ]
        return max(loaded, key=lambda cell: cell.output_part, default=None)


def text(report: Report) -> str:
    """Return a report as the text of ``report.json``."""
    return report.model_dump_json(indent=1) + "\n"


def read(path: Path) -> Report:
    """Read ``report.json`` back.

    :raises StoreError: it cannot be read, is none, or is of a newer format.
    """
    try:
        report = Report.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        first = error.errors()[0] if isinstance(error, ValidationError) else None
        why = f"{'.'.join(map(str, first['loc']))}: {first['msg']}" if first else str(error)
        why = why.removeprefix(": ")
        raise StoreError(
            f"{path} cannot be read as a report",
            why=why,
            do="Name a report.json that `te-matrix report` wrote, or a store",
        ) from error
    if report.format > FORMAT:
        raise StoreError(
            f"{path} has format {report.format}; this program reads up to {FORMAT}",
            do="Use the version of te-matrix that wrote it, or a newer one",
        )
    return report
