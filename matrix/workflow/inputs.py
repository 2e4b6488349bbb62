"""What a report is made from, as one digest."""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Iterator

from matrix.store import recorded
from matrix.system import digests, shipped
from matrix.workflow.selecting import Request, Selected


def digest(request: Request, selected: Selected, live: str, today: datetime.date) -> str:
    """Return the SHA-256 of everything that decides what a run of a selection reports.

    That is this program with its tables, the selection and what it means, the date, and all
    evidence. Two runs with the same digest write the same report, unless the first one left
    something to be measured.

    :param request: what was asked for.
    :param selected: what that means.
    :param live: the content of the store, see :meth:`matrix.store.store.Store.content`.
    """
    lines = "\n".join(_lines(request, selected, live, today))
    return hashlib.sha256(lines.encode()).hexdigest()


def _lines(request: Request, selected: Selected, live: str, today: datetime.date) -> Iterator[str]:
    plan = selected.plan
    yield digests.of_tree(shipped.PACKAGE)
    yield digests.of_tree(recorded.evidence_folder(plan.lane))
    yield f"{today} {request.candidate_as}"
    yield selected.selection.model_dump_json()
    for known in (*plan.releases.values(), *selected.entries):
        yield known.model_dump_json()
    for sized in plan.scenarios.values():
        yield sized.scenario.model_dump_json() + sized.size.model_dump_json()
    yield live
