"""Rule: what is recorded of an extension is read back as it was seen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from matrix.errors import UsageError
from matrix.lane.binding import record
from matrix.lane.binding.observation import Facts, Observed
from matrix.worker.standin.exports import spelled_out

RELEASES = ["1.0", "1.1", "1.2", "2.0"]

STATE = "80025d7101284b00622e"
NUMBER = "80024b008571015271022e"


def told(pickle: str = STATE, number: str = "False", none: str = "False") -> dict[str, Any]:
    return {"members": {"a": 0}, "equals": {"its number": number, "None": none}, "pickle": pickle}


def seen(release: str, *functions: str, **enumeration: str) -> Observed:
    facts = Facts(
        functions={name: ["arg0"] for name in functions},
        enumerations={"Kind": told(**enumeration)},
        classes=["Holder"],
        constants={"streams": 4},
        submodules=[],
        star=["Kind", *functions],
        pickles={"2": {"a": STATE}},
        reads={},
        tensor_meta={"is copied": "TypeError"},
    )
    return Observed(release, facts, frozenset({"gone", *functions}))


@pytest.mark.parametrize(
    ("which", "text"),
    [
        (["1.0"], "1.0"),
        (["1.0", "1.1", "1.2"], "1.0-1.2"),
        (["1.0", "1.2"], "1.0,1.2"),
        (["1.0", "1.1", "2.0"], "1.0-1.1,2.0"),
        (["2.0"], "2.0"),
    ],
)
def test_spans_spell_out_what_they_are_of(which: list[str], text: str) -> None:
    assert record.spans(which, RELEASES) == text
    assert spelled_out(text, RELEASES) == which


def test_it_is_read_back(tmp_path: Path) -> None:
    wrote = [seen("1.0", "cast"), seen("1.1", "cast", "quantize"), seen("2.0", "quantize")]
    record.write(wrote, {"torch": "2.14.1"}, tmp_path / "table.json")
    assert record.read(tmp_path / "table.json") == wrote


def test_exports_say_what_is_asked_for_and_lacking(tmp_path: Path) -> None:
    record.write_exports([seen("1.0", "cast"), seen("2.0")], tmp_path / "exports.json")
    text = (tmp_path / "exports.json").read_text()
    assert '"gone": {"1.0-2.0": true}' in text
    assert '"cast": {"1.0": ["arg0"]}' in text


@pytest.mark.parametrize(
    ("behaviour", "fact"),
    [
        ({}, ("members", "state")),
        ({"number": "True"}, ("numbers", "state")),
        ({"number": "True", "none": "RuntimeError", "pickle": NUMBER}, ("cast", "number")),
    ],
)
def test_enumerations_are_told_apart(
    tmp_path: Path, behaviour: dict[str, str], fact: tuple[str, str]
) -> None:
    record.write_exports([seen("1.0", **behaviour)], tmp_path / "exports.json")
    equality, pickle = fact
    assert (
        f'"equality": "{equality}", "pickle": "{pickle}"' in (tmp_path / "exports.json").read_text()
    )


def test_an_enumeration_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"Kind of 1\.0 behaves as no enumeration"):
        record.write_exports([seen("1.0", number="True", none="True")], tmp_path / "exports.json")
