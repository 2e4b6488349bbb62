"""Types of a report, and the reader and writer of ``report.json``."""

from __future__ import annotations

import functools
import json
from collections import Counter
from pathlib import Path
from typing import Any, Literal, Self

from packaging.version import Version
from pydantic import ConfigDict, Field, ValidationError, model_validator

from matrix.catalogue.scenarios import Size, Transport
from matrix.catalogue.state_keys import CORE_ATTENTION
from matrix.catalogue.words import (
    Absence,
    ControlName,
    EntryState,
    Lane,
    Outcome,
    Requirement,
    RunnerName,
    SaveOutcome,
    Verdict,
)
from matrix.errors import StoreError
from matrix.judge.ledger import LedgerEntry
from matrix.report import ways
from matrix.report.cells import CellObject, ReportCell, ReportModel
from matrix.report.packing import Packed
from matrix.report.qualification import Qualification
from matrix.report.ways import Pair, Place, WayRow
from matrix.system.collector import gc_paused

FORMAT = 2
"""Version of the format of ``report.json``; a reader refuses a newer one."""


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
    lacking: str = ""
    """The release, where it could not be obtained or started."""


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


class SizeRow(Size):
    """Dimensions of the module in a scenario."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=False)


class TransportRow(Transport):
    """How a scenario's checkpoint is read and loaded."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=False)


class RecipeRow(ReportModel):
    """A quantization recipe of Transformer Engine."""

    name: str
    """Name of the recipe's class."""
    fields: dict[str, Any]
    """Its fields; of ``DelayedScaling`` beside ``fp8_dpa`` (true) and ``fp8_mha`` (false), where
    the release has them."""


class ScenarioRow(ReportModel):
    """One scenario: how its checkpoints are made and loaded."""

    name: str
    """Name of the scenario."""
    summary: str
    """The scenario in one line, for people."""
    module: str
    """Name of the Transformer Engine module that is saved and loaded."""
    size: SizeRow
    """Dimensions of the module."""
    layers: int
    """Number of modules in the model."""
    weights: str
    """Format of the weights: ``high-precision``, or ``fp8`` under the release's FP8 model init."""
    state: str
    """The parts that take FP8 steps: ``all``, ``attention``, ``linears`` or ``none``."""
    save_recipe: RecipeRow
    """The recipe that it is saved with."""
    load_recipe: RecipeRow
    """The recipe that it is loaded with."""
    device: str = "hopper"
    """The device generation that the cpu lane reports."""
    attention: str = CORE_ATTENTION
    """Name of the submodule that computes attention, in modules that have one."""
    transport: TransportRow
    """How the state dict gets into a file and back into a model."""
    digest: str
    """SHA-256 of what makes the checkpoint, size included; part of the keys of evidence."""


class VariantRow(ReportModel):
    """One variant: how checkpoints are loaded."""

    name: str
    """Name of the variant."""
    summary: str
    """The variant in one line, for people."""


class ReportHead(ReportModel):
    """All of a report but its cells."""

    harness: str
    """Version of te-matrix."""
    date: str
    """The date of the judgement, in ISO 8601."""
    lane: Lane
    """What executed Transformer Engine."""
    runner: RunnerName
    """Where it was executed."""
    binding: Literal["real"] | None = None
    """``real`` where the cpu lane ran on compiled extensions; null for the stand-in."""
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
    scenarios: tuple[ScenarioRow, ...] = ()
    """The scenarios of the plan; none where the report was read from a file of format 1."""
    variants: tuple[VariantRow, ...] = ()
    """The variants of the plan; none where the report was read from a file of format 1."""
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
    ways: tuple[WayRow, ...] = ()
    """The table of ways across: what was seen to make a checkpoint load, for each scenario. Empty
    where no variant but one was planned."""


class Report(ReportHead):
    """The report of a judgement."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

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
        if Counter(cell.verdict for cell in self.cells) != Counter(self.totals):
            raise ValueError("totals are not the numbers of the cells' verdicts")
        places = Counter(cell.place for cell in self.cells)
        if self.cells and places.most_common(1)[0][1] > 1:
            raise ValueError(f"{places.most_common(1)[0][0].id} is listed more than once")
        return self

    @functools.cached_property
    def pairs(self) -> dict[Place, Pair]:
        """What was seen of each pair of releases in each scenario, and the way across."""
        return ways.of_pairs(self.cells)

    @property
    def title(self) -> str:
        """What is held against what; empty where nothing is."""
        return self.qualification.title if self.qualification else ""

    @property
    def farthest(self) -> ReportCell | None:
        """The ``loaded`` cell with the largest ``output_part``; None without any."""
        loaded = [
            cell for cell in self.cells if cell.outcome == Outcome.LOADED and cell.output_largest
        ]
        return max(loaded, key=lambda cell: cell.output_part, default=None)


# One encoder: `json.dumps` would make one for each of hundreds of lines.
_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class FileVersion(ReportModel):
    """What every ``report.json`` has, whatever its format."""

    format: int = Field(default=FORMAT, ge=1)
    """Version of the format."""


class ReportFile(Packed, ReportHead, FileVersion):
    """Contents of ``report.json`` in the format that is written."""

    def report(self) -> Report:
        """Return the report that the file stands for.

        :raises ValueError: numbers and lists do not fit together.
        """
        head = {name: getattr(self, name) for name in ReportHead.model_fields}
        return Report(**head, cells=self.unpacked(_names(self)))


class FirstReportFile(ReportHead):
    """Contents of ``report.json`` in format 1, in which every cell is an object of its own."""

    cells: tuple[CellObject, ...]
    """The planned cells."""

    def report(self) -> Report:
        """Return the report that the file stands for.

        :raises ValueError: totals and cells do not fit together.
        """
        head = {name: getattr(self, name) for name in ReportHead.model_fields}
        return Report(**head, cells=tuple(map(ReportCell.of, self.cells)))


def _names(head: ReportHead) -> dict[str, list[str]]:
    """Return the names that a file's rows refer to, by the name of their list."""
    return {
        "scenarios": [row.name for row in head.scenarios],
        "variants": [row.name for row in head.variants],
        "releases": [row.name for row in head.releases],
    }


def text(report: Report) -> str:
    """Return the text of ``report.json``: one line for each cell and each item of a list.

    :raises StoreError: the report was read from a file of format 1, which lacks descriptions.
    """
    head = {name: getattr(report, name) for name in ReportHead.model_fields}
    packed = Packed.of(report.cells, _names(report))
    file = ReportFile.model_construct(**head, **dict(packed))
    # Only pydantic's own JSON has texts in place of NaN and infinities; rows have neither.
    written = json.loads(file.model_dump_json(exclude={"cells"}))
    members = [f"{_json(name)}: {_lines(value)}" for name, value in written.items()]
    rows = _json(file.cells).replace("],[", "],\n[")
    return "{\n" + ",\n".join([*members, f'"cells": [\n{rows[1:-1]}\n]']) + "\n}\n"


def _lines(value: Any) -> str:
    if not isinstance(value, list) or not value:
        return _json(value)
    return "[\n" + ",\n".join(map(_json, value)) + "\n]"


def read(path: Path) -> Report:
    """Return the report in a file of this or an earlier format.

    :raises StoreError: the file cannot be read, is not a report, or has a newer format.
    """
    try:
        with gc_paused():
            return _parsed(path, path.read_bytes())
    except (OSError, ValueError) as error:
        raise StoreError(
            f"{path} cannot be read as a report",
            why=_why(error),
            do="Name a report.json that `te-matrix report` wrote, or a store",
        ) from error


def _parsed(path: Path, data: bytes) -> Report:
    found = FileVersion.model_validate_json(data).format
    if found > FORMAT:
        raise StoreError(
            f"{path} has format {found}; this program reads up to {FORMAT}",
            do="Use the version of te-matrix that wrote it, or a newer one",
        )
    if found == 1:
        return FirstReportFile.model_validate_json(data).report()
    return ReportFile.model_validate_json(data).report()


def _why(error: Exception) -> str:
    """Return the first mistake in a file, and its place."""
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}".removeprefix(": ")
