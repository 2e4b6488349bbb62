"""The patch of the FAQ, from a request."""

from __future__ import annotations

import datetime

from matrix import report
from matrix.errors import UsageError
from matrix.report import faq_patch
from matrix.store.store import Store
from matrix.workflow.selecting import Request, select

_CHOICES = ("releases", "saved_by", "loaded_by", "scenario", "variant")


def patch(request: Request, store: Store | None, today: datetime.date) -> str:
    """Return a patch of the FAQ's file, after which it agrees with every observed load.

    :param request: the lane, the candidates and the like; what is loaded is settled.
    :param today: see :func:`matrix.judge.judge.judge`.
    :raises UsageError: the request selects releases, scenarios or variants.
    :raises UnobservedError: a load that the FAQ speaks of has no outcome.
    """
    given = [name for name in _CHOICES if _differs(request, name)]
    if given:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise UsageError(
            f"a patch of the FAQ cannot be made with {options}",
            why="its list is about all releases and about the FAQ's own scenarios, no others",
            do=f"Leave out {options}; without --faq, `te-matrix bands` is about any selection",
        )
    selected = select(request.replace(**faq_patch.SELECTION), store)
    made = report.build(selected.judge(today), selected.documentation)
    return faq_patch.patch(made, selected.documentation, selected.plan.releases)


def _differs(request: Request, name: str) -> bool:
    return getattr(request.selection, name) not in (None, faq_patch.SELECTION.get(name))
