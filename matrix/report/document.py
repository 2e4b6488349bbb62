"""Types of ``report.json``, and its reader."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from packaging.version import Version
from pydantic import ConfigDict, ValidationError, model_validator

from matrix.catalogue.scenarios import REWRITE
from matrix.catalogue.words import (
    Absence,
    AfterLoad,
    Basis,
    ControlName,
    Deviation,
    EntryState,
    Lane,
    Outcome,
    Requirement,
    RestState,
    RunnerName,
    SaveOutcome,
    Stage,
    Undocumented,
    Verdict,
    Weights,
    outcome_text,
)
from matrix.errors import StoreError
from matrix.judge.ledger import LedgerEntry
from matrix.judge.outcomes import deviations
from matrix.report.qualification import Qualification, ReportModel
from matrix.store.records import Number

FORMAT = 1
"""Version of the format of ``report.json``; a reader refuses a newer one."""


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


class ReportCell(ReportModel):
    """One judged cell."""

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
    lane: Lane
    """What executed Transformer Engine."""
    runner: RunnerName
    """Where it was executed."""
    outcome: Outcome | Absence
    """The outcome, or why there is none."""
    after_load: AfterLoad
    """Whether training steps still update the loaded metadata."""
    measured_with: str | None
    """The release whose checkpoint was loaded: the saver, or one that wrote the same state."""
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
    note: str | None
    """Why there is no outcome, or what is flawed in the save or the load."""
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
    controls: tuple[ControlName, ...] = ()
    """Controls of the loader that came out wrong."""
    provenance: Basis | None
    """``live`` if both save and load are; null where there is no outcome."""
    save_provenance: Basis | None
    """Where the evidence on the save was obtained."""
    load_provenance: Basis | None
    """Where the evidence on the load was obtained."""
    save_image: str | None = None
    """Id of the container image that saved, where the runner is ``docker``."""
    load_image: str | None = None
    """Id of the container image that loaded, where the runner is ``docker``."""
    output_difference: Number | None = None
    """Largest difference of the loaded and the saving module's output; gpu lane only."""
    output_largest: Number | None = None
    """Largest magnitude in the saving module's output; gpu lane only."""

    @property
    def seen(self) -> str:
        """The outcome as it is shown, e.g. ``loaded (frozen)``."""
        return outcome_text(self.outcome, self.after_load, self.rest_state, resized=self.resized)

    @property
    def rest_state(self) -> RestState:
        """What became of the parts other than the attention, in one word."""
        return RestState.of(self.rest, self.rest_after_load)

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

    @property
    def reason(self) -> str:
        """The error, why there is no outcome, or why it is ``partial``, as one line."""
        if not self.error_type:
            return self.note or ""
        message = " ".join((self.error_message or "").split())
        return f"{self.error_type} at {self.stage.value if self.stage else None}: {message}"


class ReleaseRow(ReportModel):
    """One release of the plan."""

    name: str
    """The version; of a candidate the version, ``@`` and the first 8 digits of its digest."""
    band: str
    """Name of the FAQ's band that it belongs to."""
    source: str
    """Where its code was obtained."""
    candidate: bool = False
    """Whether it is a source tree, wheel or image under test."""
    digest: str = ""
    """SHA-256 over its Python files, or the digest of its image."""


class BandRow(ReportModel):
    """One field of the FAQ's table: all cells with a saver of one band, a loader of another."""

    loaded_by: str
    """Name of the loaders' band."""
    saved_by: str
    """Name of the savers' band."""
    documented: str
    """The documented outcome; several are joined by `` / ``."""
    observed: dict[str, int]
    """Number of cells by outcome, most frequent first."""
    deviating: int
    """Number of cells that deviate from the FAQ, with or without a ledger entry."""


class Bands(ReportModel):
    """The FAQ's table of bands for one scenario and variant."""

    scenario: str
    """Name of the scenario."""
    variant: str
    """Name of the variant."""
    bands: tuple[str, ...]
    """Names of the bands, oldest first."""
    rows: tuple[BandRow, ...]
    """The fields of the table."""


class SaveRow(ReportModel):
    """Comparison of the keys under which a release saves attention metadata with the FAQ."""

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


class ControlRow(ReportModel):
    """Result of one control: a loading release's own save, sound or damaged on purpose."""

    scenario: str
    """Name of the scenario."""
    release: str
    """Name of the release."""
    control: ControlName
    """Name of the control."""
    required: Requirement
    """The outcome that it must have."""
    observed: Outcome | Absence
    """The outcome that it had, or why it had none."""
    good: bool
    """Whether the requirement is met."""
    note: str = ""
    """The error, or what is not as required; empty where the requirement is met."""
    verdict: Verdict = Verdict.CONFORMS
    """``conforms`` where the requirement is met; else whether the ledger knows it."""
    ledger: tuple[str, ...] = ()
    """Ids of the ledger entries that explain a known deviation."""


class LedgerRow(LedgerEntry):
    """One ledger entry and the planned cells that match it."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=False)

    state: EntryState
    """Whether the entry is used, stale, expired or unused."""
    cells: int
    """Number of planned cells that match it."""


class Counts(ReportModel):
    """Number of cells by where their evidence was obtained."""

    live: int
    """Cells whose save and load have live evidence."""
    recorded: int
    """Cells whose save or load has recorded evidence."""
    without: int
    """Cells without evidence."""


class Report(ReportModel):
    """The report of a judgement."""

    format: int = FORMAT
    """Version of the format."""
    harness: str
    """Version of te-matrix."""
    date: str
    """The date of the judgement, in ISO 8601."""
    lane: Lane
    """What executed Transformer Engine."""
    runner: RunnerName
    """Where it was executed."""
    exit_code: int
    """The exit code of the comparison with a baseline, else of the policy ``ledger``."""
    planned: int
    """Number of planned cells."""
    whole: bool = False
    """Whether the whole catalogue was planned, in all scenarios and variants."""
    totals: dict[Verdict, int]
    """Number of cells by verdict."""
    evidence: Counts
    """Number of cells by where their evidence was obtained."""
    torch: tuple[str, ...] = ()
    """Versions of PyTorch that the loads were made with."""
    qualification: Qualification | None = None
    """How the candidates compare with their baselines; null unless that was asked for."""
    releases: tuple[ReleaseRow, ...]
    """The releases of the plan, oldest first."""
    bands: tuple[Bands, ...]
    """The FAQ's table of bands, for each scenario and variant."""
    saves: tuple[SaveRow, ...]
    """Checks of the keys that releases save to."""
    controls: tuple[ControlRow, ...]
    """Results of the controls."""
    ledger: tuple[LedgerRow, ...]
    """The ledger entries."""
    cells: tuple[ReportCell, ...]
    """The planned cells."""

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
    def title(self) -> str:
        """What is held against what; empty where nothing is."""
        return self.qualification.title if self.qualification else ""

    @property
    def farthest(self) -> ReportCell | None:
        """The ``loaded`` cell with the largest :attr:`ReportCell.output_part`; None without any."""
        loaded = [
            cell for cell in self.cells if cell.outcome == Outcome.LOADED and cell.output_largest
        ]
        return max(loaded, key=lambda cell: cell.output_part, default=None)


def text(report: Report) -> str:
    """Return the text of ``report.json``."""
    return report.model_dump_json(indent=1) + "\n"


def read(path: Path) -> Report:
    """Return the report in a file.

    :raises StoreError: the file cannot be read, is not a report, or has a newer format.
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
