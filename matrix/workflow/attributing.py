"""Attributes every change of behaviour between neighbouring releases to commits.

Cells of which the outcomes and errors before and after are the same, word for word, count as one
difference, and one of them is followed through the history. At each commit that is judged, all
cells whose outcome there is open are measured at once.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence

from matrix.catalogue import ranges
from matrix.catalogue.changes import Change, Changes, Effect
from matrix.errors import UsageError
from matrix.plan.cells import Cell
from matrix.report import behaviour
from matrix.report.behaviour import NO_CELL, BehaviourChange, Role, Shift
from matrix.report.cells import ReportCell
from matrix.report.document import Report
from matrix.workflow.bisecting import UnjudgedError
from matrix.workflow.commit_cells import CommitJudge, Seen, Walked
from matrix.workflow.history import History
from matrix.workflow.locating import Located, locate

_Pair = tuple[ReportCell, ReportCell]
_Places = Mapping[tuple[str, str, str, str], ReportCell]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Difference:
    """One difference between a release and the one before it: cells alike word for word."""

    release: str
    """The newer release."""
    after: str
    """The release before it."""
    role: Role
    """Whether they differ as loaders or as savers."""
    variant: str
    """Name of the variant."""
    pairs: tuple[_Pair, ...]
    """The cells with the older release, and with the newer one."""

    @property
    def walked(self) -> Walked:
        """The cell that is followed through the history."""
        cell = self.pairs[0][1]
        place = Cell(cell.scenario, cell.variant, cell.saved_by, cell.loaded_by)
        return Walked.of(place, self.role)

    @property
    def ends(self) -> tuple[str, str]:
        """The outcomes with the older and the newer release."""
        before, now = self.pairs[0]
        return before.seen, now.seen


@dataclasses.dataclass(frozen=True)
class Step:
    """A difference, or a part of it, and where it was located."""

    difference: Difference
    located: Located | None
    """Where the outcome changes; None where it could not be followed."""
    why: str = ""
    """Why it could not be followed."""


def differences(made: Report, order: Sequence[str]) -> dict[tuple[str, str], list[Difference]]:
    """Return the differences between neighbouring releases of a report, oldest first.

    Where there is no outcome or no cell on one side, nothing is known to have changed.

    :param order: the names of all known releases, oldest first.
    """
    cells = {(c.scenario, c.variant, c.saved_by, c.loaded_by): c for c in made.cells}
    found: dict[tuple[str, str], dict[tuple[str, ...], list[_Pair]]] = {}
    for bands in behaviour.discover(made, order):
        for change in bands.changes:
            groups = found.setdefault((change.release, change.after), {})
            for shift, pair in _pairs(bands.scenario, change, cells):
                key = (shift.role, shift.variant, *map(_wording, pair))
                groups.setdefault(key, []).append(pair)
    return {
        place: [_difference(place, key, pairs) for key, pairs in found[place].items()]
        for place in sorted(found, key=lambda place: order.index(place[0]))
        if found[place]
    }


def _pairs(scenario: str, change: BehaviourChange, cells: _Places) -> Iterator[tuple[Shift, _Pair]]:
    for shift in change.shifts:
        if NO_CELL in (shift.before, shift.after):
            continue
        for partner in shift.partners:
            pair = tuple(
                cells[
                    (scenario, shift.variant, partner, name)
                    if shift.role == "loader"
                    else (scenario, shift.variant, name, partner)
                ]
                for name in (change.after, change.release)
            )
            if all(cell.present for cell in pair):
                yield shift, (pair[0], pair[1])


def _wording(cell: ReportCell) -> str:
    """Return outcome and error of a cell, without the numbers in its message."""
    return f"{cell.seen} {cell.stage if cell.error_type else ''} {_unnumbered(cell.reason)}"


def _unnumbered(reason: str) -> str:
    return re.sub(r"\d+", "N", reason)


def _difference(place: tuple[str, str], key: tuple[str, ...], pairs: Sequence[_Pair]) -> Difference:
    role: Role = "loader" if key[0] == "loader" else "saver"
    release, after = place
    return Difference(release=release, after=after, role=role, variant=key[1], pairs=tuple(pairs))


class Attribution:
    """Follows the differences between two releases, those of one commit together.

    :param found: all differences between the two releases.
    """

    def __init__(
        self,
        history: History,
        commits: CommitJudge,
        found: Sequence[Difference],
    ) -> None:
        self._history = history
        self._commits = commits
        self._found = found
        self._open = [difference.walked for difference in found]

    def steps(self) -> Iterator[Step]:
        """Yield where each difference was located; several times where it has several steps."""
        first = self._found[0]
        try:
            older, newer = map(self._history.commit, (first.after, first.release))
        except UsageError as error:
            yield from (Step(each, None, str(error)) for each in self._found)
            return
        self._positions = self._ordered(older, newer)
        self._commits.between(older, newer)
        for difference in self._found:
            yield from self._followed(difference, older, newer)
            self._open.remove(difference.walked)

    def _followed(self, difference: Difference, older: str, newer: str) -> Iterator[Step]:
        walked = difference.walked
        try:
            ends = [self._look(commit, walked) for commit in (older, newer)]
            located = locate(
                self._history,
                self._commits,
                older,
                newer,
                walked,
                lambda commit: self._look(commit, walked),
            )
        except UnjudgedError as error:
            yield Step(difference, None, str(error))
            return
        shown = tuple(seen.outcome if seen else "" for seen in ends)
        if shown != difference.ends or not located:
            trees = " and ".join(shown)
            yield Step(difference, None, f"the trees of the two in the repository show {trees}")
            return
        yield from (Step(difference, one) for one in located)

    def _look(self, commit: str, walked: Walked) -> Seen | None:
        """Return what is seen of a cell at a commit, and measure the other open cells with it."""
        known = self._commits.judged.get(commit, {})
        if walked not in known:
            others = [cell for cell in self._open if self._is_open(cell, commit)]
            self._commits.seen(commit, dict.fromkeys([walked, *others]))
        return self._commits.judged[commit][walked]

    def _ordered(self, older: str, newer: str) -> dict[str, int]:
        """Return the place of every commit on the way between two, by which brackets are told."""
        bases = self._history.bases(older, newer)[:1]
        down = self._history.between(bases, older) if bases else []
        up = self._history.between(bases, newer) if bases else []
        way = [*down, *bases, *reversed(up)]
        return {commit: place for place, commit in enumerate(way)}

    def _is_open(self, cell: Walked, commit: str) -> bool:
        """Return whether a cell's outcome at a commit cannot be told from its neighbours.

        Only saves time: an outcome that a search asks for is measured in any case.
        """
        place = self._positions.get(commit)
        if place is None:
            return True
        judged = [
            (self._positions[other], seen[cell])
            for other, seen in self._commits.judged.items()
            if cell in seen and other in self._positions
        ]
        before = max((p for p in judged if p[0] < place), key=lambda p: p[0], default=None)
        after = min((p for p in judged if p[0] > place), key=lambda p: p[0], default=None)
        if before is None or after is None or before[1] is None or after[1] is None:
            return True
        return before[1].outcome != after[1].outcome


def merged(steps: Sequence[Step], made: Report, order: Sequence[str]) -> tuple[Change, ...]:
    """Return steps as rows of the table: one for each commit between two releases.

    :param order: the names of all known releases, oldest first.
    """
    rows: dict[tuple[object, ...], list[Step]] = {}
    for step in steps:
        located, difference = step.located, step.difference
        what = (located.basis, located.way, located.commit.id) if located else (step.why,)
        rows.setdefault((difference.release, difference.after, *what), []).append(step)
    return tuple(_row(members, made, order) for members in rows.values())


def _row(members: Sequence[Step], made: Report, order: Sequence[str]) -> Change:
    first, located = members[0].difference, members[0].located
    # The original on main may be known by some of the cells only.
    known = [step.located for step in members if step.located and step.located.main]
    located = known[0] if known else located
    effects = tuple(_effects(members, made, order))
    if located is None:
        return Change(
            release=first.release,
            after=first.after,
            basis="unknown",
            why=members[0].why,
            effect=effects,
        )
    files = [name for step in members if step.located for name in step.located.files]
    return Change(
        release=first.release,
        after=first.after,
        basis=located.basis,
        way=located.way,
        commit=located.commit.id,
        date=located.commit.date,
        subject=located.commit.subject,
        pulls=located.pulls,
        main=located.main.id if located.main else None,
        alike=located.alike,
        left=located.left,
        files=tuple(dict.fromkeys(files)),
        why=located.why or None,
        effect=effects,
    )


def _effects(members: Sequence[Step], made: Report, order: Sequence[str]) -> Iterator[Effect]:
    groups: dict[tuple[str, ...], list[Step]] = {}
    for step in members:
        difference = step.difference
        before, now = (
            (step.located.before.outcome, step.located.after.outcome)
            if step.located
            else difference.ends
        )
        groups.setdefault((difference.role, difference.variant, before, now), []).append(step)
    for (_role, variant, before, now), steps in sorted(groups.items()):
        yield _effect(steps, variant, (before, now), made, order)


def _effect(
    steps: Sequence[Step],
    variant: str,
    ends: tuple[str, str],
    made: Report,
    order: Sequence[str],
) -> Effect:
    role = steps[0].difference.role
    cells = [now for step in steps for _before, now in step.difference.pairs]
    scenarios = {cell.scenario for cell in cells}
    rows = [row for row in made.scenarios if row.name in scenarios]
    recipes = [one.name for row in rows for one in (row.save_recipe, row.load_recipe)]
    partners = {cell.saved_by if role == "loader" else cell.loaded_by for cell in cells}
    return Effect(
        role=role,
        variant=variant,
        before=ends[0],
        now=ends[1],
        modules=tuple(dict.fromkeys(row.module for row in rows)),
        recipes=tuple(dict.fromkeys(recipes)),
        partners=ranges.text(partners, order),
        cells=len(cells),
        errors=tuple(dict.fromkeys(_errors(steps))),
        tested=tuple(
            dict.fromkeys(step.difference.walked.cell(step.difference.release).id for step in steps)
        ),
    )


def _errors(steps: Sequence[Step]) -> Iterator[str]:
    """Yield the errors before and after, each in one line of at most 160 characters."""
    for step in steps:
        for seen in (step.located.before, step.located.after) if step.located else ():
            if seen.kind:
                yield seen.reason[:160]


def joined(table: Changes, new: Sequence[Change], order: Sequence[str]) -> Changes:
    """Return a table with the rows of some releases replaced by new ones.

    :param order: the names of all known releases, oldest first.
    """
    places = {(row.release, row.after) for row in new}
    kept = [row for row in table.change if (row.release, row.after) not in places]
    rows = sorted([*kept, *new], key=lambda row: (order.index(row.release), row.date or "~"))
    return table.model_copy(update={"change": tuple(rows)})
