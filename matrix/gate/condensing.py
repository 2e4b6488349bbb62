"""Fewer test cases than checks: what came out alike for one loader is one test case."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from matrix.catalogue import ranges
from matrix.gate.policies import Check, CheckState
from matrix.system.counting import counted

MAX_CASES = 10_000
"""The most checks that get a test case each; services that show test cases cope with no more."""


def condensed(checks: Sequence[Check], order: Sequence[str]) -> list[Check]:
    """Return checks, those on cells put together if there are more than :data:`MAX_CASES`.

    Cells of one scenario, variant and loader whose checks have the same state, exit code and
    reason become one check, which names their savers as ranges. Reasons of checks that pass do
    not count. No check is left out, and the exit code of all together stays the same.

    :param order: the names of all releases, oldest first.
    """
    if len(checks) <= MAX_CASES:
        return list(checks)
    alike: dict[tuple[object, ...], list[Check]] = {}
    for check in checks:
        alike.setdefault(_key(check), []).append(check)
    return [_together(group, order) for group in alike.values()]


def _key(check: Check) -> tuple[object, ...]:
    cell = check.cell
    if cell is None:
        return (check.id,)
    reason = "" if check.state == CheckState.PASS else check.reason
    result = check.state, check.code, reason, check.answered_by
    return cell.scenario, cell.variant, cell.loaded_by, *result


def _together(group: Sequence[Check], order: Sequence[str]) -> Check:
    first = group[0]
    if first.cell is None or len(group) == 1:
        return first
    cell = first.cell
    savers = ranges.text({check.cell.saved_by for check in group if check.cell}, order)
    name = f"{cell.scenario}/{cell.variant}/{savers}->{cell.loaded_by}"
    reason = counted(len(group), "cell") if first.state == CheckState.PASS else first.reason
    return dataclasses.replace(first, id=name, reason=reason, cell=None)
