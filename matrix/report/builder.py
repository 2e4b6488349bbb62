"""Build a report from a judgement."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

from matrix import __version__
from matrix.catalogue.faq import Documentation
from matrix.catalogue.scenarios import SizedScenario, class_of, fields_of
from matrix.catalogue.words import AfterLoad, Basis
from matrix.judge.judgement import ControlCheck, JudgedCell, Judgement
from matrix.judge.outcomes import PartResult
from matrix.judge.summary import BandTable, band_tables, live_counts
from matrix.report.cells import PartRow, ReportCell
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
from matrix.store.records import Save
from matrix.system.collector import gc_paused


def cell_object(verdict: JudgedCell, judgement: Judgement) -> ReportCell:
    """Return the part of a report on one cell."""
    return _cell_objects([verdict], judgement)[0]


def _cell_objects(verdicts: Iterable[JudgedCell], judgement: Judgement) -> list[ReportCell]:
    # A save and a result are those of many cells.
    held: dict[int, tuple[str, ...]] = {}
    parts: dict[int, tuple[PartRow, ...]] = {}
    cells = []
    for verdict in verdicts:
        save, result = verdict.save, verdict.result
        if save and id(save) not in held:
            held[id(save)] = _held(save)
        if result and id(result) not in parts:
            parts[id(result)] = tuple(map(_part, result.parts))
        cells.append(
            _cell_object(verdict, judgement, held.get(id(save), ()), parts.get(id(result), ()))
        )
    return cells


def _cell_object(
    verdict: JudgedCell,
    judgement: Judgement,
    held: tuple[str, ...],
    parts: tuple[PartRow, ...],
) -> ReportCell:
    plan, load, error = judgement.plan, verdict.load, verdict.error
    documented, result = verdict.documented, verdict.result
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
        stage=verdict.stage,
        error_type=error.type if error else None,
        error_message=error.message if error else None,
        missing_keys=load.missing_keys if load else (),
        unexpected_keys=verdict.unexpected,
        documented=documented.outcome,
        documented_reason=documented.reason or None,
        documented_sentence=documented.sentence or None,
        same_reason=verdict.same_reason,
        verdict=verdict.verdict,
        ledger=verdict.entries,
        note=verdict.note or None,
        lacking=verdict.lacking,
        save=verdict.save.outcome if verdict.save else None,
        rest=result.rest if result else None,
        rest_after_load=result.rest_after_load if result else AfterLoad.UNTESTED,
        resized=bool(result and result.resized),
        weights=result.weights if result else None,
        parts=parts,
        held=held,
        controls=verdict.controls,
        provenance=Basis.of(verdict.live) if load else None,
        save_provenance=Basis.of(verdict.save_live) if verdict.save else None,
        load_provenance=Basis.of(verdict.load_live) if load else None,
        save_image=verdict.save.provenance.image if verdict.save else None,
        load_image=load.provenance.image if load else None,
        output_difference=load.output.largest_difference if load and load.output else None,
        output_largest=load.output.largest if load and load.output else None,
    )


def _held(save: Save) -> tuple[str, ...]:
    """Return the names of the parts for which a saving module held more than defaults."""
    return tuple(
        part.name
        for part in save.parts
        if any(not tensor.default for tensor in part.tensors.values())
    )


def _part(part: PartResult) -> PartRow:
    return PartRow.model_construct(
        name=part.name,
        attention=part.attention,
        outcome=part.outcome,
        resized=part.resized,
        after_load=part.after_load,
    )


@gc_paused()
def build(judgement: Judgement, documentation: Documentation) -> Report:
    """Return the report of a judgement."""
    plan = judgement.plan
    return Report.model_construct(
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
        cells=tuple(_cell_objects(judgement.verdicts, judgement)),
    )


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
