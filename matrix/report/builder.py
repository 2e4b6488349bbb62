"""Build a report from a judgement."""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar

from matrix import __version__
from matrix.catalogue import releases
from matrix.catalogue.faq import Documentation
from matrix.catalogue.scenarios import SizedScenario, class_of, fields_of
from matrix.catalogue.words import AfterLoad, Basis
from matrix.judge import endings
from matrix.judge.judgement import ControlCheck, JudgedCell, Judgement
from matrix.judge.outcomes import LoadResult, PartResult
from matrix.judge.summary import BandTable, band_tables, live_counts
from matrix.plan.cells import Plan
from matrix.report import ways
from matrix.report.cells import (
    CellCheckpoint,
    CellJudgement,
    CellRun,
    Observation,
    OutputComparison,
    PartRow,
    ReportCell,
    ReportModel,
)
from matrix.report.document import (
    BandRow,
    Bands,
    ControlRow,
    Counts,
    LedgerRow,
    RecipeRow,
    ReleaseRow,
    Report,
    SaveRow,
    ScenarioRow,
    SizeRow,
    TransportRow,
    VariantRow,
)
from matrix.report.ways import WayRow
from matrix.store.records import Load, Save
from matrix.system.collector import gc_paused


def cell_of(judged: JudgedCell, judgement: Judgement) -> ReportCell:
    """Return the part of a report on one cell."""
    return _Cells(judgement.plan).of(judged)


_Group = TypeVar("_Group", bound=ReportModel)
_Shared = tuple[Observation, OutputComparison, CellJudgement, CellCheckpoint, CellRun]


class _Cells:
    """Makes the cells of a report, and what they share once.

    :param plan: the plan of the judgement.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._made: dict[tuple[object, ...], Any] = {}
        self._shared: dict[tuple[int, str | None], _Shared] = {}
        self._held: dict[int, tuple[str, ...]] = {}
        self._parts: dict[int, tuple[PartRow, ...]] = {}

    def of(self, judged: JudgedCell) -> ReportCell:
        """Return the part of a report on one cell."""
        image = judged.save.provenance.image if judged.save else None
        # Saves that share a ruling are alike but for their environment.
        alike = id(judged.ruling), image
        groups = self._shared.get(alike)
        if groups is None:
            groups = self._shared[alike] = (
                self._once(Observation, self._observation(judged)),
                self._once(OutputComparison, _output(judged.load)),
                self._once(CellJudgement, _judgement(judged)),
                self._once(CellCheckpoint, self._checkpoint(judged)),
                self._once(CellRun, _run(judged, self._plan)),
            )
        return ReportCell(judged.cell, *groups)

    def _once(self, kind: type[_Group], values: dict[str, Any]) -> _Group:
        """Return a group of values; the same object for the same values."""
        key = kind, *values.values()
        found: _Group | None = self._made.get(key)
        if found is None:
            found = self._made[key] = kind.model_construct(**values)
        return found

    def _observation(self, judged: JudgedCell) -> dict[str, Any]:
        load, error, result = judged.load, judged.error, judged.result
        return {
            "outcome": judged.outcome,
            "after_load": judged.after_load,
            "stage": judged.stage,
            "error_type": error.type if error else None,
            "error_message": error.message if error else None,
            "missing_keys": load.missing_keys if load else (),
            "unexpected_keys": judged.unexpected,
            "note": judged.note or None,
            "lacking": judged.lacking,
            "save": judged.save.outcome if judged.save else None,
            "rest": result.rest if result else None,
            "rest_after_load": result.rest_after_load if result else AfterLoad.UNTESTED,
            "resized": bool(result and result.resized),
            "weights": result.weights if result else None,
            "parts": self._parts_of(result),
            "held": self._held_by(judged.save),
        }

    def _checkpoint(self, judged: JudgedCell) -> dict[str, Any]:
        save, load = judged.save, judged.load
        return {
            "measured_with": load.saved_by if load else None,
            "save_provenance": Basis.of(judged.save_live) if save else None,
            "save_image": save.provenance.image if save else None,
            "held": self._held_by(save),
        }

    def _held_by(self, save: Save | None) -> tuple[str, ...]:
        if save is None:
            return ()
        if id(save) not in self._held:
            self._held[id(save)] = endings.held_in(save)
        return self._held[id(save)]

    def _parts_of(self, result: LoadResult | None) -> tuple[PartRow, ...]:
        if result is None:
            return ()
        if id(result) not in self._parts:
            rows = (self._once(PartRow, _part(part)) for part in result.parts)
            self._parts[id(result)] = tuple(rows)
        return self._parts[id(result)]


def _output(load: Load | None) -> dict[str, Any]:
    seen = load.output if load else None
    return {
        "output_difference": seen.largest_difference if seen else None,
        "output_largest": seen.largest if seen else None,
    }


def _judgement(judged: JudgedCell) -> dict[str, Any]:
    documented = judged.documented
    return {
        "documented": documented.outcome,
        "documented_reason": documented.reason or None,
        "documented_sentence": documented.sentence or None,
        "same_reason": judged.same_reason,
        "verdict": judged.verdict,
        "ledger": judged.entries,
        "controls": judged.controls,
    }


def _run(judged: JudgedCell, plan: Plan) -> dict[str, Any]:
    load = judged.load
    return {
        "lane": plan.lane,
        "runner": plan.runner,
        "provenance": Basis.of(judged.live) if load else None,
        "load_provenance": Basis.of(judged.load_live) if load else None,
        "load_image": load.provenance.image if load else None,
    }


def _part(part: PartResult) -> dict[str, Any]:
    names = "name", "attention", "outcome", "resized", "after_load"
    return {name: getattr(part, name) for name in names}


@gc_paused()
def build(judgement: Judgement, documentation: Documentation) -> Report:
    """Return the report of a judgement."""
    plan = judgement.plan
    cells = tuple(map(_Cells(plan).of, judgement.verdicts))
    made = Report.model_construct(
        harness=__version__,
        date=judgement.today.isoformat(),
        lane=plan.lane,
        runner=plan.runner,
        binding="real" if plan.real_binding else None,
        exit_code=int(judgement.exit_code),
        planned=len(plan.cells),
        whole=plan.whole,
        totals=judgement.totals,
        evidence=Counts(**live_counts(judgement)),
        torch=tuple(sorted({v.load.provenance.torch for v in judgement.verdicts if v.load})),
        scenarios=tuple(map(scenario_row, plan.scenarios.values())),
        variants=tuple(
            VariantRow(name=variant.name, summary=variant.summary)
            for variant in plan.variants.values()
        ),
        releases=tuple(
            ReleaseRow(
                name=r.name,
                band=documentation.band(r).name,
                source=r.source,
                candidate=r.candidate,
                digest=r.digest,
            )
            for r in plan.releases.values()
        ),
        bands=tuple(_bands(table) for table in band_tables(judgement, documentation)),
        saves=tuple(SaveRow(**dataclasses.asdict(check)) for check in judgement.saves),
        controls=tuple(_control(check) for check in judgement.controls),
        ledger=tuple(
            LedgerRow.model_validate(
                {**check.entry.model_dump(), "state": check.state, "cells": check.cells}
            )
            for check in judgement.entries
        ),
        ways=(),
        cells=cells,
    )
    return made.model_copy(update={"ways": _ways(made, plan)})


def _ways(report: Report, plan: Plan) -> tuple[WayRow, ...]:
    """Return the table of ways; candidates, which no rewrite is tried for, are not in it."""
    if len(plan.variants) < 2:
        return ()
    opt_ins = {r.name: r.opt_in for r in plan.releases.values() if not r.candidate}
    return ways.table(report.pairs, list(plan.scenarios), opt_ins, releases.order(plan.releases))


def scenario_row(sized: SizedScenario) -> ScenarioRow:
    """Return the part of a report on one scenario."""
    scenario = sized.scenario
    return ScenarioRow(
        name=scenario.name,
        summary=scenario.summary,
        module=scenario.module,
        size=SizeRow(**sized.size.model_dump()),
        layers=scenario.layers,
        weights=scenario.weights,
        state=scenario.state,
        save_recipe=_recipe_row(scenario.save_recipe),
        load_recipe=_recipe_row(scenario.load_recipe),
        device=scenario.device.value,
        attention=scenario.attention,
        transport=TransportRow(**scenario.transport.model_dump()),
        digest=sized.digest,
    )


def _recipe_row(recipe: dict[str, Any]) -> RecipeRow:
    return RecipeRow(name=class_of(recipe), fields=fields_of(recipe))


def _control(check: ControlCheck) -> ControlRow:
    return ControlRow(
        scenario=check.scenario,
        release=check.release,
        control=check.control,
        required=check.required,
        observed=check.observed,
        good=check.good,
        note=check.note,
        verdict=check.verdict,
        ledger=check.entries,
        lacking=check.lacking,
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
