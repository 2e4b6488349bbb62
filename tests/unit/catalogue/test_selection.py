"""Rule: a selection means what it says, and one that means nothing is an error."""

import pytest

from matrix.catalogue import ranges, scenarios, selection
from matrix.catalogue.faq import Documentation
from matrix.catalogue.releases import Catalogue, Release
from matrix.errors import UsageError


def chosen(known: Catalogue, documentation: Documentation, text: str) -> list[str]:
    return [release.name for release in selection.releases(known, documentation, text)]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("1.7", ["1.7"]),
        ("1.11,1.7", ["1.7", "1.11"]),
        ("2.16-2.17.1", ["2.16", "2.16.1", "2.17", "2.17.1"]),
        ("latest:2", ["2.19", "2.20.2"]),
        ("1.6-1.7, 1.7", ["1.6", "1.7"]),
        ("bands", ["1.0", "1.5", "1.6", "1.7", "1.8", "1.11", "1.12", "2.20.2"]),
    ],
)
def test_the_grammar(
    known: Catalogue, documentation: Documentation, text: str, names: list[str]
) -> None:
    assert chosen(known, documentation, text) == names


def test_all(known: Catalogue, documentation: Documentation) -> None:
    assert chosen(known, documentation, "all") == known.names()


@pytest.mark.parametrize("text", ["2.99", "1.7-2.99", "latest:0", "", " , ", "everything"])
def test_what_selects_nothing_is_an_error(
    known: Catalogue, documentation: Documentation, text: str
) -> None:
    with pytest.raises(UsageError):
        chosen(known, documentation, text)


def test_a_candidate_is_always_in(known: Catalogue, documentation: Documentation) -> None:
    candidate = Release(version="2.18.0", digest="cd" * 32, path="/somewhere")
    names = chosen(known.with_candidate(candidate), documentation, "1.7")
    assert names == ["1.7", "2.18.0@cdcdcdcd"]


def test_names_keep_their_order() -> None:
    known = scenarios.load()
    assert selection.names("scenario", known, "fp8-weights,autocast") == ["autocast", "fp8-weights"]
    assert selection.names("scenario", known, "all") == list(known)


def test_an_unknown_scenario_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="no scenario autocst.*Did you mean autocast"):
        selection.names("scenario", scenarios.load(), "autocst")


def test_an_unknown_variant_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="no variant remaped.*Did you mean remapped"):
        selection.names("variant", scenarios.variants(), "remaped")


def test_ranges_are_closed_and_know_patch_releases() -> None:
    within = ranges.covers("1.6-1.7, 2.4-2.16, 2.17")
    assert [within(v) for v in ("1.7", "2.14.1", "2.16", "2.16.1", "2.17", "2.18")] == [
        True,
        True,
        True,
        False,
        True,
        False,
    ]


def test_a_group_selects_its_names_in_the_order_of_all() -> None:
    known, groups = ["autocast", "linear", "fp8-weights"], {"faq": ["fp8-weights", "autocast"]}
    assert selection.names("scenario", known, "faq", groups) == ["autocast", "fp8-weights"]
    assert selection.names("scenario", known, "linear,faq", groups) == known
    with pytest.raises(UsageError, match="no scenario fap.*faq"):
        selection.names("scenario", known, "fap", groups)
