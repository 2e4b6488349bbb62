"""Rule: a release with more than its share of the work is done in parts, whole scenarios each."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from matrix.lane.threads import divided


def scenario_of(item: str) -> str:
    return item[0]


def test_parts_are_whole_scenarios() -> None:
    work = ["a1", "a2", "b1", "b2", "c1"]
    assert list(divided(work, 3, scenario_of)) == [["a1", "a2"], ["b1", "b2", "c1"]]
    assert list(divided(work, 5, scenario_of)) == [work]
    assert list(divided(["a1", "a2", "a3"], 1, scenario_of)) == [["a1", "a2", "a3"]]


@given(st.lists(st.sampled_from(["a1", "a2", "b1", "c1", "c2"])).map(sorted), st.integers(1, 9))
def test_nothing_is_lost_or_done_twice(work: list[str], share: int) -> None:
    parts = list(divided(work, share, scenario_of))
    assert [item for part in parts for item in part] == work
    ends = [(one[-1][0], other[0][0]) for one, other in itertools.pairwise(parts)]
    assert all(before != after for before, after in ends)
