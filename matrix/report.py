"""The report: ``report.json``, and ``report.md`` and ``index.html`` made from the same."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import jinja2

from matrix import __version__
from matrix.errors import StoreError
from matrix.expectations import Documentation
from matrix.judge import Judgement, Verdict
from matrix.summary import band_tables, live_counts, seen

FORMAT = 1


def cell_object(verdict: Verdict, judgement: Judgement) -> dict[str, Any]:
    """Return one cell as ``report.json`` has it.

    ``measured_with`` names the release whose checkpoint was loaded: the cell's saver,
    or another that wrote the very same state.
    """
    plan, load, error = judgement.plan, verdict.load, verdict.error
    return {
        "id": verdict.cell.id,
        **dataclasses.asdict(verdict.cell),
        "lane": plan.lane,
        "runner": plan.runner,
        "outcome": verdict.outcome,
        "after_load": verdict.after_load,
        "measured_with": load.saved_by if load else None,
        "stage": load.stage if load else None,
        "error_type": error.type if error else None,
        "error_message": error.message if error else None,
        "missing_keys": list(load.missing_keys) if load else [],
        "unexpected_keys": list(load.unexpected_keys) if load else [],
        "documented": verdict.documented.outcome,
        "documented_reason": verdict.documented.reason or None,
        "documented_sentence": verdict.documented.sentence or None,
        "same_reason": verdict.same_reason,
        "verdict": verdict.verdict,
        "ledger": list(verdict.entries),
        "note": verdict.note or None,
        "provenance": _provenance(verdict),
        "save_image": verdict.save.provenance.image if verdict.save else None,
        "load_image": load.provenance.image if load else None,
        "save_provenance": _words(verdict.save_live) if verdict.save else None,
        "load_provenance": _words(verdict.load_live) if verdict.load else None,
    }


def _provenance(verdict: Verdict) -> str | None:
    return _words(verdict.live) if verdict.load else None


def _words(live: bool) -> str:
    return "live" if live else "recorded"


def build(judgement: Judgement, documentation: Documentation) -> dict[str, Any]:
    """Return the whole report as plain data."""
    plan = judgement.plan
    return {
        "format": FORMAT,
        "harness": __version__,
        "date": judgement.today.isoformat(),
        "lane": plan.lane,
        "runner": plan.runner,
        "exit_code": int(judgement.exit_code),
        "planned": len(plan.cells),
        "totals": judgement.totals,
        "evidence": live_counts(judgement),
        "releases": [
            {"name": r.name, "band": documentation.band(r).name, "source": r.source}
            for r in plan.releases.values()
        ],
        "bands": [_table_object(table) for table in band_tables(judgement, documentation)],
        "saves": [dataclasses.asdict(check) for check in judgement.saves],
        "controls": [dataclasses.asdict(check) for check in judgement.controls],
        "ledger": [
            {
                **check.entry.model_dump(mode="json"),
                "state": check.state,
                "cells": check.cells,
            }
            for check in judgement.entries
        ],
        "cells": [cell_object(verdict, judgement) for verdict in judgement.verdicts],
    }


def _table_object(table: Any) -> dict[str, Any]:
    return {
        "scenario": table.scenario,
        "variant": table.variant,
        "bands": list(table.bands),
        "rows": [
            {
                "loaded_by": loader,
                "saved_by": saver,
                "documented": cell.documented,
                "observed": dict(cell.observed),
                "deviating": cell.deviating,
            }
            for (loader, saver), cell in table.cells.items()
        ],
    }


def write(judgement: Judgement, documentation: Documentation, folder: Path) -> Path:
    """Write the three files and return the path of ``index.html``.

    :raises StoreError: the folder cannot be written.
    """
    data = build(judgement, documentation)
    tables = list(band_tables(judgement, documentation))
    grid = {dataclasses.astuple(verdict.cell): verdict for verdict in judgement.verdicts}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "report.json").write_text(json.dumps(data, indent=1) + "\n")
        for name, template in (("report.md", "report.md.j2"), ("index.html", "index.html.j2")):
            text = _render(template, data=data, tables=tables, judgement=judgement, grid=grid)
            (folder / name).write_text(text)
    except OSError as error:
        raise StoreError(
            f"the report cannot be written to {folder}",
            why=str(error),
            do="Name a writable folder with --report; the evidence itself is kept",
        ) from error
    return folder / "index.html"


def _render(template: str, **values: Any) -> str:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("matrix", "templates"),
        autoescape=template.endswith(".html.j2"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["seen"] = seen
    environment.filters["one_line"] = lambda text: " ".join(str(text or "").split())[:160]
    environment.filters["cell"] = lambda text: str(text).replace("|", "\\|")
    return environment.get_template(template).render(**values)
