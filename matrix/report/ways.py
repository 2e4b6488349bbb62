"""The table of ways across: what makes a checkpoint load, for every pair of releases.

Rows are condensed: pairs of one scenario with the same way, and with the same given up, are one.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from matrix.catalogue import ranges
from matrix.catalogue import ways as catalogued
from matrix.catalogue.words import ControlName, SaveOutcome
from matrix.judge import endings, ways
from matrix.judge.endings import Ending
from matrix.judge.ways import Across
from matrix.report.cells import ReportCell, ReportModel

NO_WAY = "none seen"
"""Stands for the way of pairs in which nothing was seen to go well."""
_PLAIN = "plain"
_MESSAGE = 200

Place = tuple[str, str, str]
"""Names of a scenario, of the release that saves and of the one that loads."""


class WayPairs(ReportModel):
    """All pairs of some releases that save and some that load."""

    saved_by: str
    """Closed ranges of releases."""
    loaded_by: str
    """Closed ranges of releases."""


class WayRow(ReportModel):
    """Pairs of releases with the same way across, in one scenario."""

    scenario: str
    """Name of the scenario."""
    way: str
    """Name of the way, see ``ways.toml``; ``none seen`` where nothing was seen to go well."""
    variant: str = ""
    """Name of the variant in which it was seen."""
    step: str = ""
    """What has to be done, as a clause in which ``RELEASE`` stands for the loader."""
    gives_up: tuple[str, ...] = ()
    """What is given up, a clause each."""
    untested: bool = False
    """Whether metadata was loaded, and whether steps go on updating it was not tested."""
    reason: str = ""
    """Why there is no way, with the error of one of the pairs."""
    pairs: int
    """Number of pairs."""
    where: tuple[WayPairs, ...]
    """The pairs."""


@dataclasses.dataclass(frozen=True, slots=True)
class Pair:
    """What was seen of one kind of checkpoint of one release in another."""

    across: Across | None
    """The way; None where none was seen."""
    cells: Mapping[str, ReportCell]
    """The cells by variant."""
    endings: Mapping[str, Ending]
    """What became of the checkpoint in them."""


def of_pairs(cells: Iterable[ReportCell]) -> dict[Place, Pair]:
    """Return the way of each pair of releases in each scenario."""
    found: dict[Place, dict[str, ReportCell]] = {}
    for cell in cells:
        place = cell.scenario, cell.saved_by, cell.loaded_by
        found.setdefault(place, {})[cell.variant] = cell
    ending = _Endings().of
    made = {}
    for place, by_variant in found.items():
        found_of = {variant: ending(cell) for variant, cell in by_variant.items()}
        made[place] = Pair(ways.across(found_of), by_variant, found_of)
    return {place: _under_own_recipe(place, pair, made) for place, pair in made.items()}


def _under_own_recipe(place: Place, pair: Pair, found: Mapping[Place, Pair]) -> Pair:
    """Return a pair with the way of the same checkpoint under its own recipe, if it has none."""
    scenario, saver, loader = place
    instead = catalogued.own_recipe().instead.get(scenario)
    if pair.across is not None or instead is None:
        return pair
    other = found.get((instead, saver, loader))
    if other is None or other.across is None:
        return pair
    return dataclasses.replace(pair, across=dataclasses.replace(other.across, own_recipe=True))


class _Endings:
    """Endings of cells, of which thousands share an observation."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, str], Ending] = {}

    def of(self, cell: ReportCell) -> Ending:
        key = id(cell.observation), cell.variant
        if key not in self._known:
            self._known[key] = endings.of(cell)
        return self._known[key]


def table(
    pairs: Mapping[Place, Pair],
    scenarios: Sequence[str],
    opt_ins: Mapping[str, str | None],
    order: Sequence[str],
) -> tuple[WayRow, ...]:
    """Return the table of ways.

    :param pairs: the pairs, see :func:`of_pairs`; those of other releases are left out.
    :param scenarios: the names of all scenarios, in the order of the rows.
    :param opt_ins: the opt-in for pickled extra state of each release, by name.
    :param order: the names of all known releases, oldest first.
    """
    rows: dict[str, dict[tuple[object, ...], list[tuple[Pair, tuple[str, str]]]]] = {}
    for (scenario, saver, loader), pair in pairs.items():
        if saver not in opt_ins or loader not in opt_ins:
            continue
        key = _key(pair, opt_ins[loader])
        rows.setdefault(scenario, {}).setdefault(key, []).append((pair, (saver, loader)))
    return tuple(
        _row(scenario, members, opt_ins, order)
        for scenario in filter(rows.__contains__, scenarios)
        for members in sorted(rows[scenario].values(), key=_rank)
    )


def _key(pair: Pair, opt_in: str | None) -> tuple[object, ...]:
    """Return what pairs of one row have in common."""
    across = pair.across
    if across is None:
        kind, example = _reason(pair)
        return NO_WAY, kind, example.partition(":")[0]
    step = across.step(ways.ANY, opt_in)
    return across.name, across.variant.name, step, across.gives_up, across.ending.untested


def _row(
    scenario: str,
    members: Sequence[tuple[Pair, tuple[str, str]]],
    opt_ins: Mapping[str, str | None],
    order: Sequence[str],
) -> WayRow:
    """Return the row of pairs that have the same in common."""
    pair, (_saver, loader) = members[0]
    across = pair.across
    pairs = [names for _pair, names in members]
    where = tuple(
        WayPairs(saved_by=ranges.text(savers, order), loaded_by=ranges.text(loaders, order))
        for savers, loaders in ranges.rectangles(pairs, order)
    )
    if across is None:
        reason = ": ".join(filter(None, _reason(pair)))
        return WayRow(scenario=scenario, way=NO_WAY, reason=reason, pairs=len(pairs), where=where)
    return WayRow(
        scenario=scenario,
        way=across.name,
        variant=across.variant.name,
        step=across.step(ways.ANY, opt_ins[loader]),
        gives_up=across.gives_up,
        untested=across.ending.untested,
        pairs=len(pairs),
        where=where,
    )


_NAMES = (*(way.name for way in catalogued.load()), catalogued.own_recipe().name, NO_WAY)


def _rank(members: Sequence[tuple[Pair, tuple[str, str]]]) -> tuple[int, int]:
    across = members[0][0].across
    return _NAMES.index(across.name if across else NO_WAY), -len(members)


def _reason(pair: Pair) -> tuple[str, str]:
    """Return why a pair has no way: the kind of reason, and the error where there is one."""
    for kind, applies, cell in _reasons(pair):
        if applies:
            return kind, _error(cell) if cell else ""
    raise AssertionError("the last reason always applies")


def _reasons(pair: Pair) -> Iterator[tuple[str, bool, ReportCell | None]]:
    """Yield reasons, whether they apply, and the cell of which the error tells more."""
    plain = pair.cells.get(_PLAIN) or next(iter(pair.cells.values()))
    others = [cell for name, cell in pair.cells.items() if name != _PLAIN]
    absent = [cell.variant for cell in others if not cell.present]
    unstepped = any(ending.lacks_recipe for ending in pair.endings.values())
    yield "the saver cannot save it", plain.save == SaveOutcome.ERROR, plain
    yield f"there is no outcome ({plain.verdict.value})", not plain.present, None
    yield f"not measured: {', '.join(absent)}", bool(absent), None
    yield "the loader lacks the recipe to load with, which uses the metadata", unstepped, None
    yield "the loader does not load its own save either", ControlName.OWN in plain.controls, plain
    yield "nothing that was tried goes well", bool(others), others[-1] if others else None
    yield "nothing else was tried", True, plain


def _error(cell: ReportCell) -> str:
    return cell.reason[:_MESSAGE] if cell.error_type else cell.seen


# What the table comes to.


@dataclasses.dataclass(frozen=True)
class Line:
    """The ways in one scenario, counted."""

    scenario: str
    """Name of the scenario."""
    counts: Mapping[str, int]
    """Number of pairs by the name of the way; and by :data:`NO_WAY`."""
    rows: tuple[WayRow, ...]
    """The rows of the table."""

    @property
    def pairs(self) -> int:
        """Number of pairs."""
        return sum(self.counts.values())

    @property
    def across(self) -> int:
        """Number of pairs that have a way."""
        return self.pairs - self.counts.get(NO_WAY, 0)


def lines(rows: Iterable[WayRow]) -> list[Line]:
    """Return a line for each scenario of the table."""
    by_scenario: dict[str, list[WayRow]] = {}
    for row in rows:
        by_scenario.setdefault(row.scenario, []).append(row)
    return [Line(name, _counted(of), tuple(of)) for name, of in by_scenario.items()]


def _counted(rows: Iterable[WayRow]) -> Counter[str]:
    counts = Counter[str]()
    for row in rows:
        counts[row.way] += row.pairs
    return counts


def named(found: Iterable[Line]) -> list[str]:
    """Return the names of the ways that occur, in order; :data:`NO_WAY` is the last."""
    met = {name for line in found for name in line.counts}
    return [name for name in _NAMES if name in met]


def what_helps(pair: Pair, loader: str, opt_in: str | None) -> str:
    """Return what to do and what is given up by it, as text; empty where nothing is needed.

    :param loader: name of the release that loads.
    :param opt_in: its opt-in for pickled extra state.
    """
    if pair.across is None:
        return "nothing that was tried" if len(pair.cells) > 1 else ""
    return told(pair.across.step(loader, opt_in), pair.across.gives_up)


def told(step: str, gives_up: Sequence[str]) -> str:
    """Return a step and what is given up by it as text; empty where there is neither."""
    if not gives_up:
        return step
    return f"{step or 'nothing is needed'}; given up: {'; '.join(gives_up)}"


def _but_scenario(row: WayRow) -> tuple[object, ...]:
    return tuple(value for name, value in vars(row).items() if name != "scenario")


def alike(found: Sequence[Line]) -> Iterator[tuple[list[str], tuple[WayRow, ...]]]:
    """Yield names of scenarios with the same rows, and these rows."""
    same: dict[tuple[object, ...], list[Line]] = {}
    for line in found:
        same.setdefault(tuple(map(_but_scenario, line.rows)), []).append(line)
    for group in same.values():
        yield [line.scenario for line in group], group[0].rows
