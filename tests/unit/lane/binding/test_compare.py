"""Rule: a fact that differs between an extension and the stand-in is a difference by its name."""

from __future__ import annotations

from typing import Any

import pytest

from matrix.errors import TableError
from matrix.lane.binding import compare
from matrix.lane.binding.compare import Difference, Explained
from matrix.lane.binding.observation import Facts


def facts(**changes: Any) -> Facts:
    fields: dict[str, Any] = {
        "functions": {"cast": ["input, otype"]},
        "enumerations": {"DType": {"members": {"kByte": 0}, "equals": {"None": "False"}}},
        "classes": ["FP8TensorMeta"],
        "constants": {"streams": 4},
        "submodules": ["more"],
        "star": ["DType", "FP8TensorMeta", "cast"],
        "pickles": {"2": {"kByte": "80"}},
        "reads": {"2": {"kByte": "kByte"}},
        "tensor_meta": {"is copied": "TypeError"},
    }
    return Facts(**fields | changes)


def differences(*asked: str, **changes: Any) -> list[tuple[str, str, str, str]]:
    found = compare.compare("2.4", facts(), facts(**changes), asked).differences
    return [(one.aspect, one.what, one.compiled, one.standin) for one in found]


def test_the_same_facts_are_no_difference() -> None:
    assert differences("cast", "gone") == []


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        (
            {"functions": {"cast": ["arg0, arg1"]}},
            ("signatures", "cast", "['input, otype']", "['arg0, arg1']"),
        ),
        ({"classes": []}, ("names", "FP8TensorMeta", "class", "absent")),
        ({"submodules": ["more", "wrong"]}, ("names", "wrong", "absent", "submodule")),
        ({"constants": {"streams": 3}}, ("names", "value of streams", "4", "3")),
        ({"star": ["DType", "cast"]}, ("names", "FP8TensorMeta by import *", "brought", "absent")),
        (
            {"enumerations": {"DType": {"members": {"kByte": 1}, "equals": {"None": "False"}}}},
            ("enumerations", "DType members", "{'kByte': 0}", "{'kByte': 1}"),
        ),
        (
            {"pickles": {"2": {"kByte": "81"}}},
            ("pickles", "pickle of kByte, protocol 2", "80", "81"),
        ),
        (
            {"reads": {"2": {"kByte": "TypeError"}}},
            ("pickles", "reads the other's kByte, protocol 2", "kByte", "TypeError"),
        ),
        (
            {"tensor_meta": {"is copied": "None"}},
            ("FP8TensorMeta", "is copied", "TypeError", "None"),
        ),
    ],
)
def test_every_kind_of_fact_is_compared(
    changes: dict[str, Any], found: tuple[str, str, str, str]
) -> None:
    assert found in differences(**changes)


def test_a_name_that_is_asked_for_and_lacking_is_compared() -> None:
    assert (
        compare.compare("2.4", facts(), facts(), ["gone"]).compared["names"]
        > (compare.compare("2.4", facts(), facts(), []).compared["names"])
    )


def test_an_explanation_holds_for_its_releases_and_its_fact() -> None:
    table = [Explained(releases="2.4-2.6", aspect="names", what="cast", reason="because")]
    difference = Difference("names", "cast", "function", "absent")
    assert compare.explanation("2.5", difference, table) is table[0]
    assert compare.explanation("2.7", difference, table) is None
    other = Difference("names", "quantize", "function", "absent")
    assert compare.explanation("2.5", other, table) is None


def test_the_table_of_explanations_is_well_formed() -> None:
    try:
        assert all(entry.aspect in compare.ASPECTS for entry in compare.explained())
    except TableError as error:
        pytest.fail(str(error))
