"""What was compared, grouped by cause, as the part of a report on a qualification."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from matrix.catalogue import releases
from matrix.catalogue.words import Basis, Standing
from matrix.report import comparison
from matrix.report.comparison import CELLS, CONTROLS, SAVES, Compared
from matrix.report.document import Report
from matrix.report.places import places
from matrix.report.qualification import Match, Qualification, StandingGroup

_KINDS = (CONTROLS, SAVES, CELLS)
_REASON = 200


def with_qualification(
    report: Report,
    found: Sequence[Compared],
    instead: Mapping[str, str],
    evidence: str,
) -> Report:
    """Return a report on candidates with how they compare with their baselines.

    :param found: what was compared.
    :param instead: the baseline of each candidate.
    :param evidence: where the evidence on the baselines is from.
    """
    code = int(comparison.exit_code(found))
    order = releases.order([*(row.name for row in report.releases), *instead.values()])
    mine = [c.provenance for c in report.cells if {c.saved_by, c.loaded_by} & instead.keys()]
    made = Qualification(
        matches=tuple(
            Match(
                name=row.name,
                digest=row.digest,
                source=row.source,
                baseline=instead[row.name],
            )
            for row in report.releases
            if row.name in instead
        ),
        evidence=evidence,
        exit_code=code,
        counts={kind: _counts(found, kind) for kind in _KINDS},
        groups=tuple(_groups(found, order)),
        lane=report.lane,
        torch=report.torch,
        live=mine.count(Basis.LIVE),
        recorded=mine.count(Basis.RECORDED),
    )
    return report.model_copy(update={"qualification": made, "exit_code": code})


def _counts(found: Iterable[Compared], kind: str) -> dict[Standing, int]:
    counted = Counter(one.standing for one in found if one.kind == kind)
    return {standing: counted[standing] for standing in Standing}


def _groups(found: Iterable[Compared], order: Sequence[str]) -> Iterator[StandingGroup]:
    """Yield everything that was compared: the worst first, then controls, then by number."""
    grouped: dict[tuple[Standing, str, str, str, str, str], list[Compared]] = {}
    for one in found:
        reason = " ".join(one.reason.split())[:_REASON]
        key = one.standing, one.kind, one.control, one.before, one.after, reason
        grouped.setdefault(key, []).append(one)
    places_of = list(Standing), list(_KINDS)
    for (standing, kind, control, before, after, reason), members in sorted(
        grouped.items(),
        key=lambda item: (
            places_of[0].index(item[0][0]),
            places_of[1].index(item[0][1]),
            -len(item[1]),
        ),
    ):
        yield StandingGroup(
            standing=standing,
            kind=kind,
            control=control,
            before=before,
            after=after,
            reason=reason,
            ids=tuple(one.id for one in members),
            where=tuple(_where(members, order)),
        )


def _where(members: Sequence[Compared], order: Sequence[str]) -> list[str]:
    cells = [one.cell for one in members if one.cell]
    return places(cells, order) or [", ".join(dict.fromkeys(one.scenario for one in members))]


def lines(qualification: Qualification, standing: Standing, most: int) -> Iterator[str]:
    """Yield what has a standing as lines of text: one cause after the other.

    :param most: the most causes that are listed.
    """
    groups = qualification.of(standing)
    for group in groups[:most]:
        yield f"{standing.value}, {group.title}: {group.change}"
        if group.reason:
            yield f"    {group.reason}"
        yield from (f"    {line}" for line in group.where)
    if len(groups) > most:
        yield f"... and {len(groups) - most} more causes; the report has them all"
