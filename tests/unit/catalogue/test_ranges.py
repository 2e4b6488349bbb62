"""Rule: a range holds exactly the releases it names, none that lies between them left out."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from matrix.catalogue import ranges

ORDER = ["1.0", "1.1", "1.2", "1.3", "1.4", "1.5", "1.6"]
NAMES = st.sets(st.sampled_from(ORDER))


def members(text: str) -> set[str]:
    found: set[str] = set()
    for part in filter(None, text.split(", ")):
        first, _, last = part.partition("-")
        found.update(ORDER[ORDER.index(first) : ORDER.index(last or first) + 1])
    return found


def test_what_is_left_out_is_never_bridged() -> None:
    assert ranges.text({"1.0", "1.1", "1.3"}, ORDER) == "1.0-1.1, 1.3"


@given(NAMES)
def test_a_range_reads_back_as_what_it_was_made_of(names: set[str]) -> None:
    assert members(ranges.text(names, ORDER)) == names


@given(st.sets(st.tuples(st.sampled_from(ORDER), st.sampled_from(ORDER))))
def test_rectangles_cover_the_pairs_exactly_once(pairs: set[tuple[str, str]]) -> None:
    covered = [
        (saver, loader)
        for savers, loaders in ranges.rectangles(pairs, ORDER)
        for saver in savers
        for loader in loaders
    ]
    assert len(covered) == len(set(covered))
    assert set(covered) == pairs
