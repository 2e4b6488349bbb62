"""Records built by hand, as the worker would report them."""

from __future__ import annotations

import datetime
from collections import Counter
from pathlib import Path
from typing import Any

from matrix.catalogue import faq, releases, scenarios
from matrix.catalogue.words import Deviation, Lane, Stage
from matrix.plan.cells import Plan, plan_cells
from matrix.report.builder import scenario_row
from matrix.report.cells import CellObject, ReportCell
from matrix.report.document import Counts, ReleaseRow, Report, ScenarioRow, VariantRow
from matrix.store import keys, recorded
from matrix.store.recorded import Recorded, write_evidence
from matrix.store.records import (
    Attempt,
    Failure,
    Load,
    Moved,
    Part,
    Provenance,
    Save,
    StateEntry,
    Tensor,
)

FAQ_SCENARIOS = "autocast,attention-only,fp8-weights"
"""The FAQ's scenarios, of which every cell is recorded."""
TODAY = datetime.date(2026, 11, 24)
REPORT_FORMAT_1 = Path(__file__).parent / "report-format-1.json"
"""1.7 and 2.0 in the scenario autocast, as a version before format 2 wrote it; shortened."""


def provenance() -> Provenance:
    return Provenance(
        release="1.8",
        source="git v1.8",
        worker="0" * 64,
        torch="2.13.0",
        python="3.11",
        machine="x86_64",
        harness="0.1.0",
        runner="local",
        recorded_at="2026-11-24T00:00:00+00:00",
        seconds=0.1,
    )


def a_plan(savers: list[str], loaders: list[str], variants: tuple[str, ...] = ("plain",)) -> Plan:
    """A plan of catalogued releases in the scenario autocast."""
    known = releases.load()
    return plan_cells(
        faq.load(),
        {"autocast": scenarios.load()["autocast"]},
        {name: scenarios.variants()[name] for name in variants},
        [known[name] for name in savers],
        [known[name] for name in loaders],
    )


def some_records() -> list[Any]:
    """Records of each kind on 1.7 and 1.8 in 1.11, its controls among them."""
    made = a_plan(["1.7", "1.8"], ["1.11"])
    old, new, own = (a_save(made, release) for release in ("1.7", "1.8", "1.11"))
    failure = Failure(type="KeyError", message="'recipe'", frames=("a.py:1",), traceback="t")
    key = keys.attempt_key(
        old.source_digest, own.source_digest, old.scenario_digest, "plain", "cpu"
    )
    return [
        old,
        new,
        own,
        a_load(made, old, "1.11", error=failure, missing_keys=("a",), unexpected_keys=("b",)),
        a_load(made, new, "1.11"),
        a_load(made, own, "1.11"),
        a_load(made, own, "1.11", "control:unknown-key", error=failure),
        a_load(made, own, "1.11", "control:truncated", error=failure),
        a_load(made, own, "1.11", "control:empty", digest="d", default=True),
        Attempt(key=key, kind="infra", message="m", detail="d", at="1"),
    ]


def tensor(digest: str, *, default: bool = False) -> Tensor:
    return Tensor(dtype="float32", shape=(9,), digest=digest, first=(2.0,), default=default)


def part(digest: str, *, default: bool = False, name: str = "core_attention") -> Part:
    tensors = {"forward.scale": tensor(digest, default=default)}
    return Part(path=name, name=name, attention=True, tensors=tensors)


def a_save(plan_: Plan, release: str, *, digest: str = "canary", path: str | None = None) -> Save:
    """A save as the worker would report it; without attention up to 1.5."""
    row, recipe = plan_.releases[release], plan_.scenarios["autocast"]
    supports = row.minor >= (1, 6)
    saved = part(digest)
    if path:
        saved = saved.model_copy(update={"path": path})
    elif row.minor < (1, 8):
        saved = saved.model_copy(update={"path": "core_attention.fused_attention"})
    return Save(
        key=keys.save_key(row.digest, recipe.digest, plan_.lane),
        release=release,
        source_digest=row.digest,
        scenario="autocast",
        scenario_digest=recipe.digest,
        lane=plan_.lane,
        state_digest=f"state-{release}",
        keys={
            "qkv.weight": StateEntry(kind="Tensor", dtype="bfloat16", shape=(2, 2)),
            f"{saved.path}._extra_state": StateEntry(kind="BytesIO"),
        },
        parts=(saved,) if supports else (),
        file_digest="0" * 64,
        provenance=provenance(),
    )


def a_load(
    plan_: Plan,
    save: Save,
    loader: str,
    variant: str = "plain",
    *,
    digest: str = "canary",
    default: bool = False,
    error: Failure | None = None,
    frozen: bool = False,
    **more: Any,
) -> Load:
    """A load as the worker would report it: intact unless said otherwise."""
    row, recipe = plan_.releases[loader], plan_.scenarios["autocast"]
    supports = row.minor >= (1, 6) and error is None
    moved = Moved(path="core_attention", name="core_attention", moved={"forward.scale": not frozen})
    return Load(
        **{
            "key": keys.load_key(row.digest, save.state_digest, recipe.digest, variant, plan_.lane),
            "release": loader,
            "source_digest": row.digest,
            "saved_by": save.release,
            "state_digest": save.state_digest,
            "scenario": "autocast",
            "scenario_digest": recipe.digest,
            "variant": variant,
            "lane": plan_.lane,
            "stage": "load_state_dict" if error else "first_step",
            "error": error,
            "parts": (part(digest, default=default),) if supports else (),
            "after_load": (moved,) if supports else None,
            "provenance": provenance(),
            **more,
        }
    )


def with_message(folder: Path, message: str) -> Recorded:
    """The recorded evidence, with one message in place of every error's own."""
    kept = recorded.evidence(Lane.CPU)
    assert kept is not None
    changed: list[Any] = []
    for record in kept.records():
        if isinstance(record, Load) and record.error:
            error = record.error.model_copy(update={"message": message, "traceback": message})
            record = record.model_copy(update={"error": error})
        changed.append(record)
    write_evidence(folder, changed, "2026-11-24")
    return Recorded(folder)


def recorded_bytes(release: str, scenario: str = "autocast") -> bytes:
    """The bytes of what a release saved, from the recorded evidence."""
    kept = recorded.evidence(Lane.CPU)
    assert kept is not None
    row, recipe = releases.load()[release], scenarios.load()[scenario]
    (save, *_) = kept.saves(scenario, keys.save_key(row.digest, recipe.digest, "cpu"))
    data = recorded.checkpoint(Lane.CPU, save.file_digest)
    assert data is not None, f"no checkpoint of {release} is recorded"
    return data


def a_cell(saver: str, loader: str, outcome: str = "loaded", **more: Any) -> ReportCell:
    """A cell as ``report.json`` has it: loaded where that is documented, unless said otherwise."""
    scenario, variant = more.get("scenario", "autocast"), more.get("variant", "plain")
    fields: dict[str, Any] = {
        "id": f"{scenario}/{variant}/{saver}->{loader}",
        "scenario": scenario,
        "variant": variant,
        "saved_by": saver,
        "loaded_by": loader,
        "lane": "cpu",
        "runner": "local",
        "outcome": outcome,
        "after_load": "updates" if outcome == "loaded" else "untested",
        "measured_with": saver,
        "stage": "load_state_dict" if outcome == "error" else "first_step",
        "error_type": "KeyError" if outcome == "error" else None,
        "error_message": "'recipe'" if outcome == "error" else None,
        "missing_keys": (),
        "unexpected_keys": (),
        "documented": "loaded",
        "documented_reason": None,
        "documented_sentence": "Loads",
        "same_reason": None,
        "verdict": "conforms" if outcome == "loaded" else "deviates",
        "ledger": (),
        "note": None,
        "provenance": "live",
        "save_provenance": "live",
        "load_provenance": "live",
    }
    return ReportCell.of(CellObject(**(fields | more)))


def a_scenario(name: str) -> ScenarioRow:
    """The description of a scenario that is like autocast but for its name."""
    return scenario_row(scenarios.load()["autocast"]).model_copy(update={"name": name})


def a_report(*cells: ReportCell, **more: Any) -> Report:
    """A report of these cells and nothing else."""
    names = dict.fromkeys(name for cell in cells for name in (cell.saved_by, cell.loaded_by))
    fields: dict[str, Any] = {
        "harness": "0.1.0",
        "date": TODAY.isoformat(),
        "lane": "cpu",
        "runner": "local",
        "exit_code": 0,
        "planned": len(cells),
        "totals": Counter(cell.verdict for cell in cells),
        "evidence": Counts(live=len(cells), recorded=0, without=0),
        "scenarios": tuple(a_scenario(name) for name in dict.fromkeys(c.scenario for c in cells)),
        "variants": tuple(
            VariantRow(name=name, summary="s") for name in dict.fromkeys(c.variant for c in cells)
        ),
        "releases": tuple(ReleaseRow(name=name, band=">=1.12", source="s") for name in names),
        "bands": (),
        "saves": (),
        "controls": (),
        "ledger": (),
        "cells": cells,
    }
    return Report(**(fields | more))


def entry_fields(saved_by: str, loaded_by: str, /, **more: Any) -> dict[str, Any]:
    """The fields of a ledger entry that knows a frozen load, changed by ``more``."""
    fields = {
        "id": "known",
        "saved_by": saved_by,
        "loaded_by": loaded_by,
        "scenarios": ("autocast",),
        "variants": ("plain",),
        "observed": "frozen",
        "cause": "c",
        "reference": "r",
        "advice": "a",
        "accepted_by": "us",
        "expires": datetime.date(2027, 1, 1),
        **more,
    }
    fields["observed"] = Deviation(fields["observed"])
    if fields.get("stage"):
        fields["stage"] = Stage(fields["stage"])
    return fields
