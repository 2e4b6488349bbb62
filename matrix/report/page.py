"""Render ``index.html``: one file with all evidence embedded, which makes no requests.

The data that the page shows on demand is embedded as compressed JSON, in which cells are indices
into lists of distinct records. That keeps a page of a hundred thousand cells small: most of their
numbers repeat those of the cells beside them.
"""

from __future__ import annotations

import base64
import dataclasses
import functools
import gzip
import hashlib
import json
import operator
import shlex
from collections.abc import Callable
from typing import Any

from markupsafe import Markup

from matrix.catalogue import ranges, releases
from matrix.catalogue.selection import Selection
from matrix.doctor import symptoms
from matrix.judge.judgement import JudgedCell, Judgement
from matrix.plan.cells import Plan
from matrix.report import (
    behaviour,
    causes,
    commits,
    commonality,
    overview,
    rendering,
    traits,
    ways,
    ways_page,
)
from matrix.report.cells import ReportCell
from matrix.report.document import Report, ScenarioRow
from matrix.report.explain import meaning
from matrix.store.records import Failure, Load, Moved, Part, Provenance, Record, Save

_NO_CELL = -1
_CHANGING = {"recorded_at", "seconds"}
_place = operator.attrgetter(*(name for name in Provenance.model_fields if name not in _CHANGING))
_SCRIPTS = ("evidence.js", "symptoms.js", "traceback.js", "question.js", "page.js")
"""The files of the page's script, each after those that it uses."""


class Pool:
    """A list of distinct values, found by key."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self._numbers: dict[Any, int] = {}

    def add(self, key: Any, make: Callable[[], Any]) -> int:
        """Return the index of a value, which is made when its key is new.

        :param make: makes the value.
        """
        if key not in self._numbers:
            value = make()
            self._numbers[key] = len(self.values)
            self.values.append(value)
        return self._numbers[key]


class EmbeddedEvidence:
    """The evidence of a judgement as the page embeds it.

    :param report: the judgement's report.
    :param selection: see :func:`render`.
    """

    def __init__(self, judgement: Judgement, report: Report, selection: Selection) -> None:
        self._judgement = judgement
        self._report = report
        self._selection = selection
        self._kinds, self._saves, self._loads = Pool(), Pool(), Pool()
        self._parts, self._tensors, self._moved = Pool(), Pool(), Pool()
        self._errors, self._places, self._ways = Pool(), Pool(), Pool()
        self._of_rulings: dict[int, int] = {}

    def data(self) -> dict[str, Any]:
        """Return the data that the page's script reads, as plain data for JSON."""
        plan = self._judgement.plan
        grids, helps = self._grids(), self._what_helps()
        return {
            "savers": [release.name for release in plan.savers],
            "loaders": [release.name for release in plan.loaders],
            "scenarios": [_scenario(row) for row in self._report.scenarios],
            "bands": next((table.bands for table in self._report.bands), ()),
            "bandOf": {row.name: row.band for row in self._report.releases},
            "qualifies": self._report.qualification is not None,
            "grids": grids,
            "helps": helps,
            "ways": self._ways.values,
            "kinds": self._kinds.values,
            "saves": self._saves.values,
            "loads": self._loads.values,
            "parts": self._parts.values,
            "moved": self._moved.values,
            "tensors": self._tensors.values,
            "errors": self._errors.values,
            "places": self._places.values,
            "ledger": {
                check.entry.id: {**check.entry.model_dump(mode="json"), "state": check.state}
                for check in self._judgement.entries
            },
            "repeat": repeat(plan, self._selection),
            "optIns": {one.name: one.opt_in for one in plan.loaders if one.opt_in},
            "changes": commits.rows(
                [one.name for one in plan.releases.values() if not one.candidate]
            ),
            "symptoms": symptoms.plain_rules(),
        }

    def _grids(self) -> list[dict[str, Any]]:
        plan = self._judgement.plan
        columns = {release.name: number for number, release in enumerate(plan.savers)}
        rows = {release.name: number for number, release in enumerate(plan.loaders)}
        size = len(columns) * len(rows)
        grids: dict[tuple[str, str], dict[str, Any]] = {}
        for verdict, row in zip(self._judgement.verdicts, self._report.cells, strict=True):
            cell = verdict.cell
            of = cell.scenario, cell.variant
            if of not in grids:
                grids[of] = {
                    "scenario": cell.scenario,
                    "variant": cell.variant,
                    "kinds": [_NO_CELL] * size,
                    "loads": [_NO_CELL] * size,
                    "saves": [_NO_CELL] * len(columns),
                }
            grid = grids[of]
            column = columns[cell.saved_by]
            place = rows[cell.loaded_by] * len(columns) + column
            grid["kinds"][place] = self._kind(verdict, row)
            if verdict.save and grid["saves"][column] == _NO_CELL:
                grid["saves"][column] = self._save(verdict.save)
            if verdict.load:
                grid["loads"][place] = self._load(verdict.load)
        return list(grids.values())

    def _what_helps(self) -> dict[str, list[int]]:
        """Return the number of what helps for each pair, by scenario; as grids have them."""
        plan = self._judgement.plan
        columns = {release.name: number for number, release in enumerate(plan.savers)}
        rows = {release.name: number for number, release in enumerate(plan.loaders)}
        opt_ins = {release.name: release.opt_in for release in plan.loaders}
        found: dict[str, list[int]] = {}
        for (scenario, saver, loader), pair in self._report.pairs.items():
            by_place = found.setdefault(scenario, [_NO_CELL] * (len(columns) * len(rows)))
            text = ways.what_helps(pair, loader, opt_ins[loader])
            place = rows[loader] * len(columns) + columns[saver]
            by_place[place] = self._ways.add(text, functools.partial(str, text))
        return found

    def _kind(self, verdict: JudgedCell, row: ReportCell) -> int:
        number = self._of_rulings.get(id(verdict.ruling))
        if number is None:
            number = self._of_rulings[id(verdict.ruling)] = self._new_kind(verdict, row)
        return number

    def _new_kind(self, verdict: JudgedCell, row: ReportCell) -> int:
        documented, live = verdict.documented, (verdict.save_live, verdict.load_live)
        pair = self._report.pairs[row.scenario, row.saved_by, row.loaded_by]
        status = pair.endings[row.variant].status
        looks = verdict.seen, verdict.outcome, verdict.verdict, status
        attends = self._judgement.plan.scenarios[verdict.cell.scenario].attends
        plainly = meaning(verdict, attends=attends)
        reasons = verdict.same_reason, verdict.entries, verdict.note, verdict.detail

        def make() -> dict[str, Any]:
            return {
                **dict(zip(("seen", "outcome", "verdict", "status"), looks, strict=True)),
                "documented": documented.outcome,
                "reason": documented.reason,
                "sentence": documented.sentence,
                **dict(zip(("same_reason", "entries", "note", "detail"), reasons, strict=True)),
                "live": live,
                "plainly": plainly,
            }

        return self._kinds.add((documented, live, looks, reasons, plainly), make)

    def _save(self, save: Save) -> int:
        def make() -> dict[str, Any]:
            return {
                "release": save.release,
                "parts": [self._part(part) for part in save.parts],
                **({"error": self._failure(save.error)} if save.error else {}),
                **self._provenance(save.provenance),
            }

        return self._saves.add(id(save), make)

    def _load(self, load: Load) -> int:
        def make() -> dict[str, Any]:
            error = load.error
            whole = {
                "stage": load.stage,
                "saved_by": load.saved_by,
                "error": self._failure(error) if error else None,
                "missing": load.missing_keys,
                "unexpected": load.unexpected_keys,
                "parts": [self._part(part) for part in load.parts],
                "moved": [self._moves(moved) for moved in load.after_load or ()],
                "output": _plain(load.output) if load.output else None,
                **self._provenance(load.provenance),
            }
            return {name: value for name, value in whole.items() if value not in (None, (), [])}

        return self._loads.add(id(load), make)

    def _failure(self, error: Failure) -> int:
        return self._errors.add(_values(error), error.model_dump)

    def _moves(self, moved: Moved) -> int:
        return self._moved.add((moved.path, tuple(moved.moved.items())), moved.model_dump)

    def _part(self, part: Part) -> int:
        tensors = {
            name: self._tensors.add(_values(tensor), functools.partial(_plain, tensor))
            for name, tensor in part.tensors.items()
        }

        def make() -> dict[str, Any]:
            return {**part.model_dump(exclude={"tensors"}), "tensors": tensors}

        return self._parts.add((part.path, part.name, tuple(tensors.items())), make)

    def _provenance(self, provenance: Provenance) -> dict[str, Any]:
        def make() -> dict[str, Any]:
            return provenance.model_dump(mode="json", exclude_none=True, exclude=_CHANGING)

        return {
            "place": self._places.add(_place(provenance), make),
            **{name: getattr(provenance, name) for name in sorted(_CHANGING)},
        }


def _scenario(row: ScenarioRow) -> dict[str, str]:
    """Return what the page tells scenarios apart by, and the class of the recipe that saves."""
    return {**dataclasses.asdict(traits.of(row)), "saved_with": row.save_recipe.name}


def _values(record: Record) -> tuple[Any, ...]:
    """Return what tells a record from others, which is faster to look up than the record."""
    return tuple(vars(record).values())


def _plain(record: Record) -> Any:
    """Return a record as plain data, NaN and infinities as text."""
    return json.loads(record.model_dump_json())


def repeat(plan: Plan, selection: Selection) -> dict[str, Any]:
    """Return the command that repeats a cell, as a template for the page's script.

    ``command`` has the placeholders ``{saved_by}``, ``{loaded_by}``, ``{scenario}``,
    ``{variant}`` and ``{candidates}``. ``words`` holds the names of releases quoted for a
    shell, ``candidates`` the options that a candidate needs. The command uses a new store,
    so that the cell is measured again.
    """
    names = [release.name for release in plan.releases.values()]
    options = ["--lane", plan.lane.value, "--runner", plan.runner.value]
    if selection.size:
        options += ["--size", selection.size]
    if selection.scenario_file:
        options += ["--scenarios", str(selection.scenario_file)]
    if selection.images_lock:
        options += ["--images-lock", str(selection.images_lock)]
    if selection.base:
        options += ["--base", selection.base]
    if selection.binding:
        options += ["--binding", selection.binding]
    return {
        "command": "te-matrix run --saved-by {saved_by} --loaded-by {loaded_by}"
        " --scenario {scenario} --variant {variant}{candidates} "
        + shlex.join([*options, "--report", "te-matrix-repeat"])
        + ' --store "$(mktemp -d)"',
        "words": {name: shlex.quote(name) for name in names},
        "candidates": {
            release.name: " " + shlex.join(["--candidate", str(release.path)])
            for release in plan.releases.values()
            if release.candidate
        },
    }


def _embedded(data: dict[str, Any]) -> str:
    """Return data as JSON, compressed by gzip and written in base64."""
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=False)
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()


def render(judgement: Judgement, report: Report, selection: Selection) -> str:
    """Return the page as HTML.

    :param selection: the run's selection, for the commands that repeat a cell.
    """
    order = releases.order(judgement.plan.releases)
    found = list(behaviour.discover(report, order))
    script = "".join(map(rendering.source, _SCRIPTS))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return rendering.render(
        "index.html.j2",
        report=report,
        answer=rendering.verdict_words(report.exit_code),
        order=order,
        overview=overview.of(report),
        alike=commonality.alike(found),
        changes=commonality.by_reach(commonality.shared(report, found), order),
        ranges=ranges.text,
        deviations=causes.by_cause(c for c in report.cells if c.verdict.deviating),
        absent=causes.by_cause(cell for cell in report.cells if not cell.present),
        failing_controls=causes.failing_controls(report.controls),
        **ways_page.values(report.ways),
        style=Markup(rendering.source("page.css")),
        script=Markup(script),
        script_digest=digest,
        data=_embedded(EmbeddedEvidence(judgement, report, selection).data()),
    )
