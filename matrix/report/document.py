"""``report.json``: its types, how it is built from a judgement, and how it is read back."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Self

from packaging.version import Version
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from matrix import __version__
from matrix.catalogue.faq import Documentation
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
)
from matrix.errors import StoreError
from matrix.judge.judgement import JudgedCell, Judgement
from matrix.judge.ledger import LedgerEntry
from matrix.judge.summary import BandTable, band_tables, live_counts
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
        return self.outcome.value + (" (frozen)" if self.after_load == AfterLoad.FROZEN else "")

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
    """Where a release saved the attention's metadata, beside where the FAQ says."""

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


def cell_object(verdict: JudgedCell, judgement: Judgement) -> ReportCell:
    """Return one cell as ``report.json`` has it."""
    plan, load, error, says = judgement.plan, verdict.load, verdict.error, verdict.documented
    return ReportCell.model_construct(
        id=verdict.cell.id,
        scenario=verdict.cell.scenario,
        variant=verdict.cell.variant,
        saved_by=verdict.cell.saved_by,
        loaded_by=verdict.cell.loaded_by,
        lane=plan.lane,
        runner=plan.runner,
        outcome=verdict.outcome,
        after_load=verdict.after_load,
        measured_with=load.saved_by if load else None,
        stage=load.stage if load else None,
        error_type=error.type if error else None,
        error_message=error.message if error else None,
        missing_keys=load.missing_keys if load else (),
        unexpected_keys=verdict.unexpected,
        documented=says.outcome,
        documented_reason=says.reason or None,
        documented_sentence=says.sentence or None,
        same_reason=verdict.same_reason,
        verdict=verdict.verdict,
        ledger=verdict.entries,
        note=verdict.note or None,
        provenance=_basis(verdict.live) if load else None,
        save_provenance=_basis(verdict.save_live) if verdict.save else None,
        load_provenance=_basis(verdict.load_live) if load else None,
        save_image=verdict.save.provenance.image if verdict.save else None,
        load_image=load.provenance.image if load else None,
        output_difference=load.output.largest_difference if load and load.output else None,
        output_largest=load.output.largest if load and load.output else None,
    )


def _basis(live: bool) -> Basis:
    return Basis.LIVE if live else Basis.RECORDED


def build(judgement: Judgement, documentation: Documentation) -> Report:
    """Return the whole report."""
    plan = judgement.plan
    return Report.model_construct(
        harness=__version__,
        date=judgement.today.isoformat(),
        lane=plan.lane,
        runner=plan.runner,
        exit_code=int(judgement.exit_code),
        planned=len(plan.cells),
        whole=plan.whole,
        totals=judgement.totals,
        evidence=Counts(**live_counts(judgement)),
        releases=tuple(
            ReleaseRow(
                name=r.name,
                band=documentation.band(r).name,
                source=r.source,
                candidate=r.candidate,
            )
            for r in plan.releases.values()
        ),
        bands=tuple(_bands(table) for table in band_tables(judgement, documentation)),
        saves=tuple(SaveRow(**dataclasses.asdict(check)) for check in judgement.saves),
        controls=tuple(ControlRow(**dataclasses.asdict(check)) for check in judgement.controls),
        ledger=tuple(
            LedgerRow.model_validate(
                {**check.entry.model_dump(), "state": check.state, "cells": check.cells}
            )
            for check in judgement.entries
        ),
        cells=tuple(cell_object(verdict, judgement) for verdict in judgement.verdicts),
    )


def _bands(table: BandTable) -> Bands:
    rows = [
        BandRow(
            loaded_by=loader,
            saved_by=saver,
            documented=cell.documented,
            observed=dict(cell.observed),
            deviating=cell.deviating,
        )
        for (loader, saver), cell in table.cells.items()
    ]
    return Bands(
        scenario=table.scenario, variant=table.variant, bands=table.bands, rows=tuple(rows)
    )


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
