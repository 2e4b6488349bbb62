"""Cells as ``report.json`` has them: rows of numbers that are indices into lists.

Thousands of cells share a few dozen observations and judgements, so each of those is written
once. What the numbers of a row mean is said by the file itself, in ``columns``.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field

from matrix.errors import StoreError
from matrix.plan.cells import Cell
from matrix.report.cells import (
    GROUPS,
    CellCheckpoint,
    CellJudgement,
    CellRun,
    Observation,
    OutputComparison,
    ReportCell,
    ReportModel,
)
from matrix.system.counting import counted


class Column(ReportModel):
    """One of the numbers of every row."""

    name: str
    """What of the cell the number tells, e.g. ``saved_by`` or ``observation``."""
    into: str
    """Name of the list of this file that the number is an index into, from 0."""


_NAMES = {
    "scenario": "scenarios",
    "variant": "variants",
    "saved_by": "releases",
    "loaded_by": "releases",
}
"""Columns that stand for a name, and the lists that have it."""

_LISTS = {
    "observation": "observations",
    "output": "outputs",
    "judgement": "judgements",
    "checkpoint": "checkpoints",
    "run": "runs",
}
"""Columns that stand for the groups of values that cells share, and their lists."""

COLUMNS = (
    *(Column(name=name, into=into) for name, into in _NAMES.items()),
    *(Column(name=name, into=into) for name, into in _LISTS.items()),
)
"""The columns, in the order in which they are written."""

Index = Annotated[int, Field(ge=0, strict=True)]
"""The number of an item of a list, from 0."""

Names = Mapping[str, Sequence[str]]
"""The names of a report's scenarios, variants and releases, each under the list's name."""


class Packed(ReportModel):
    """The cells of a report as rows of numbers, and the lists that these are indices into."""

    observations: tuple[Observation, ...]
    """The distinct observations."""
    outputs: tuple[OutputComparison, ...]
    """The distinct comparisons of outputs; one of nulls where the lane makes none."""
    judgements: tuple[CellJudgement, ...]
    """The distinct judgements, each with what the FAQ documents."""
    checkpoints: tuple[CellCheckpoint, ...]
    """The distinct origins of the checkpoints that were loaded."""
    runs: tuple[CellRun, ...]
    """The distinct ways in which loads were run."""
    columns: tuple[Column, ...]
    """What the numbers of each row are, in their order.

    At least ``scenario``, ``variant``, ``saved_by``, ``loaded_by``, ``observation``,
    ``output``, ``judgement``, ``checkpoint`` and ``run``. Find a number by the name of its
    column: columns may be added under one format.
    """
    cells: tuple[tuple[Index, ...], ...]
    """The planned cells, one row of numbers each, in the order of ``columns``."""

    @classmethod
    def of(cls, cells: Sequence[ReportCell], names: Names) -> Packed:
        """Return cells as rows.

        :raises StoreError: a cell is of a scenario, variant or release that ``names`` lacks.
        """
        columns = [_numbers(cells, name, names[into]) for name, into in _NAMES.items()]
        lists: dict[str, Any] = {}
        for name, into in _LISTS.items():
            lists[into], numbers = _distinct(cells, name)
            columns.append(numbers)
        rows = tuple(zip(*columns, strict=True))
        return cls.model_construct(columns=COLUMNS, cells=rows, **lists)

    def unpacked(self, names: Names) -> tuple[ReportCell, ...]:
        """Return the cells that the rows stand for.

        :raises ValueError: a column is missing, a row is too short or too long, or a number
            is beyond the end of its list.
        """
        places = [_position(column, self.columns) for column in COLUMNS]
        lists: list[Sequence[Any]] = [names[into] for into in _NAMES.values()]
        lists += [getattr(self, into) for into in _LISTS.values()]
        found = []
        for number, row in enumerate(self.cells):
            if len(row) != len(self.columns):
                numbers = f"{len(row)} numbers where there are {len(self.columns)} columns"
                raise ValueError(f"cells.{number} has {numbers}")
            try:
                values = [items[row[place]] for items, place in zip(lists, places, strict=True)]
            except IndexError:
                raise ValueError(_beyond(number, row, places, lists)) from None
            found.append(ReportCell(Cell(*values[:4]), *values[4:]))
        return tuple(found)


def _numbers(cells: Sequence[ReportCell], name: str, listed: Sequence[str]) -> list[int]:
    """Return where one of every cell's names stands in its list."""
    numbers = {known: number for number, known in enumerate(listed)}
    try:
        return [numbers[named] for named in map(operator.attrgetter(name), cells)]
    except KeyError as unlisted:
        raise _unlisted(name, unlisted.args[0]) from None


def _distinct(cells: Sequence[ReportCell], name: str) -> tuple[tuple[ReportModel, ...], list[int]]:
    """Return the distinct values of a group, and the number of every cell's."""
    values_of = operator.attrgetter(*GROUPS[name].model_fields)
    found: dict[tuple[Any, ...], int] = {}
    made: list[ReportModel] = []
    known: dict[int, int] = {}
    numbers = []
    for group in map(operator.attrgetter(name), cells):
        number = known.get(id(group))
        if number is None:
            number = known[id(group)] = found.setdefault(values_of(group), len(found))
            if number == len(made):
                made.append(group)
        numbers.append(number)
    return tuple(made), numbers


def _unlisted(name: str, unlisted: str) -> StoreError:
    return StoreError(
        f"a cell has {name} {unlisted}, which the report does not have among its {_NAMES[name]}",
        why="a report.json of format 1 lists neither scenarios nor variants",
        do="Judge the store anew with `te-matrix report`",
    )


def _position(wanted: Column, columns: Sequence[Column]) -> int:
    """Return where a column stands in every row."""
    for number, column in enumerate(columns):
        if column == wanted:
            return number
    raise ValueError(f"columns: none is {wanted.name}, an index into {wanted.into}")


def _beyond(
    number: int, row: Sequence[int], places: Sequence[int], lists: Sequence[Sequence[Any]]
) -> str:
    """Return which number of a row is beyond the end of its list."""
    column, at, count = next(
        (column, row[place], len(items))
        for column, place, items in zip(COLUMNS, places, lists, strict=True)
        if row[place] >= len(items)
    )
    entries = counted(count, "entry")
    return f"cells.{number}: {column.name} is {at}, and {column.into} has {entries}"
