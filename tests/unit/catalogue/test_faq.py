"""Rule: the FAQ's table, and nothing but the FAQ's table, says what is documented."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from matrix.catalogue import faq, releases
from matrix.catalogue.faq import UNDOCUMENTED, Documentation
from matrix.catalogue.releases import Catalogue
from matrix.errors import TableError

FAQ = {  # (loaded by, saved by), read off the FAQ's list
    ("<=1.5", "<=1.5"): "none",
    ("<=1.5", "1.6-1.7"): "error",
    ("<=1.5", "1.8-1.11"): "error",
    ("<=1.5", ">=1.12"): "error",
    ("1.6-1.7", "<=1.5"): "defaults",
    ("1.6-1.7", "1.6-1.7"): "loaded",
    ("1.6-1.7", "1.8-1.11"): "error",
    ("1.6-1.7", ">=1.12"): "error",
    ("1.8-1.11", "<=1.5"): "defaults",
    ("1.8-1.11", "1.6-1.7"): "defaults",
    ("1.8-1.11", "1.8-1.11"): "loaded",
    ("1.8-1.11", ">=1.12"): "loaded",
    (">=1.12", "<=1.5"): "defaults",
    (">=1.12", "1.6-1.7"): "loaded",
    (">=1.12", "1.8-1.11"): "loaded",
    (">=1.12", ">=1.12"): "loaded",
}
VERSIONS = releases.load().names()


@given(st.sampled_from(VERSIONS), st.sampled_from(VERSIONS), st.sampled_from(["plain", "trusted"]))
def test_every_pair_agrees_with_the_table(saver: str, loader: str, variant: str) -> None:
    known, documentation = releases.load(), faq.load()
    pair = documentation.band(known[loader]).name, documentation.band(known[saver]).name
    said = documentation.documented(variant, known[saver], known[loader])
    assert said.outcome == FAQ[pair]
    assert said.sentence


@pytest.mark.parametrize("loader", VERSIONS)
def test_the_mapping_is_documented_for_1_8_to_1_11_only(
    known: Catalogue, documentation: Documentation, loader: str
) -> None:
    said = documentation.documented("remapped", known["1.7"], known[loader])
    within = documentation.band(known[loader]).name == "1.8-1.11"
    assert said.outcome == ("loaded" if within else "undocumented")


def test_another_rewrite_is_undocumented(known: Catalogue, documentation: Documentation) -> None:
    assert documentation.documented("rewrite:x", known["1.7"], known["1.8"]) is UNDOCUMENTED


def test_a_release_belongs_to_a_band_by_major_and_minor(
    known: Catalogue, documentation: Documentation
) -> None:
    assert documentation.band(known["1.9"]).name == "1.8-1.11"
    assert documentation.band(known["1.2.1"]).name == "<=1.5"


def test_a_release_that_no_band_holds_is_named(
    known: Catalogue, documentation: Documentation
) -> None:
    with pytest.raises(TableError, match="no band for release 1.8"):
        dataclasses.replace(documentation, bands=()).band(known["1.8"])


def test_errors_are_documented_with_their_reason(
    known: Catalogue, documentation: Documentation
) -> None:
    assert documentation.documented("plain", known["1.8"], known["1.5"]).reason == "unexpected key"
