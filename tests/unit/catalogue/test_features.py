"""Rule: a release has what the table says from its first release to its last."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from matrix.catalogue import features
from matrix.catalogue.features import Feature, Module, Recipe
from matrix.catalogue.releases import Catalogue, Release
from matrix.errors import UsageError
from matrix.lane import asking
from matrix.lane.protocol import Hello


def candidate(version: str) -> Release:
    return Release(version=version, digest="0" * 64, path="/somewhere")


def test_what_has_no_last_release_is_in_every_later_one(known: Catalogue) -> None:
    grouped = features.load().module("GroupedLinear")
    assert [r.name for r in known.releases if not grouped.is_in(r)][-1] == "1.8"
    assert grouped.is_in(candidate("9.0"))


def test_a_patch_release_has_what_its_minor_release_has(known: Catalogue) -> None:
    assert Feature(name="X", since="2.2", until="2.2.1").is_in(known["2.2.1"])
    assert not Feature(name="X", since="2.2", until="2.2").is_in(known["2.2.1"])


@pytest.mark.parametrize("version", ["2.21.0.dev0", "2.21.0+abc", "2.21rc1"])
def test_a_candidate_has_what_the_release_of_its_version_will_have(version: str) -> None:
    assert Feature(name="X", since="2.21").is_in(candidate(version))
    assert not Feature(name="X", since="2.22").is_in(candidate(version))


def test_a_module_without_a_release_of_its_own_always_had_a_state(known: Catalogue) -> None:
    assert Module(name="X", since="1.0").has_state(known["1.0"])
    late = Module(name="X", since="1.0", state="1.13")
    assert [late.has_state(known[name]) for name in ("1.12", "1.13")] == [False, True]


def test_a_recipe_may_quantize_no_weights(known: Catalogue) -> None:
    assert not Recipe(name="X", since="1.0").quantizes_weights(known["2.20.2"])
    late = Recipe(name="X", since="1.0", weights="2.3")
    assert [late.quantizes_weights(known[name]) for name in ("2.2.1", "2.3")] == [False, True]


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ({"since": "old"}, "'old' is no version"),
        ({"since": "2.0", "until": "1.0"}, "from 2.0 until 1.0: backwards"),
    ],
)
def test_a_wrong_row_is_refused(row: dict[str, str], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        Feature(name="X", **row)


def test_an_unknown_name_is_told_with_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"no module Linaer.*Linear"):
        features.load().module("Linaer")
    with pytest.raises(UsageError, match=r"no recipe MXFP8.*MXFP8BlockScaling"):
        features.load().recipe("MXFP8")


def hello(modules: list[str], recipes: list[str]) -> Hello:
    return Hello(
        release="2.21",
        te_file="",
        te_version="",
        torch="",
        python="",
        machine="",
        opt_in=None,
        modules=tuple(modules),
        recipes=tuple(recipes),
    )


def test_a_new_release_is_described() -> None:
    known = features.load()
    has = [*known.modules, *known.other], list(known.recipes)
    new = candidate("2.21")
    assert asking.describe(new, hello(*has)) == "2.21: it has what features.toml says"
    more = asking.describe(new, hello([*has[0], "Conv"], [*has[1], "Float2Scaling"]))
    assert more == "2.21: Conv, Float2Scaling: neither known nor listed under other"
    less = asking.describe(new, hello(has[0][1:], has[1]))
    assert less == "2.21: it lacks MultiheadAttention, which is there since 1.0"
