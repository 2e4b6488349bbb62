"""Rule: what has one cause is told once, with all releases and scenarios that it concerns."""

from __future__ import annotations

from typing import Any

from matrix.report import causes
from matrix.report.document import ControlRow


def control(release: str, **more: Any) -> ControlRow:
    fields: dict[str, Any] = {
        "scenario": "linear",
        "control": "own",
        "required": "loaded",
        "observed": "error",
        "good": False,
        "note": "KeyError: 'x'",
    }
    return ControlRow(release=release, **(fields | more))


def test_controls_that_came_out_wrong_alike_are_one_group() -> None:
    rows = [
        control("1.8"),
        control("1.9", control="again"),
        control("1.8", scenario="layernorm-linear", note="KeyError: \x1b[1m'x'"),
        control("1.9", note="another"),
        control("1.9", scenario="linear.no-state", required="none"),
        control("1.10", good=True),
    ]
    found = causes.failing_controls(rows)
    assert [(g.releases, g.scenarios, g.controls, g.required, g.note) for g in found] == [
        (
            ("1.8", "1.9"),
            ("linear", "layernorm-linear"),
            ("own", "again"),
            ("loaded",),
            "KeyError: 'x'",
        ),
        (("1.9",), ("linear",), ("own",), ("loaded",), "another"),
        (("1.9",), ("linear.no-state",), ("own",), ("none",), "KeyError: 'x'"),
    ]


def test_controls_of_a_release_that_could_not_run_are_one_group() -> None:
    rows = [
        control(name, scenario=scenario, required=required, observed="infra", lacking=name)
        for name in ("1.8", "1.9")
        for scenario, required in (("linear", "loaded"), ("linear.no-state", "none"))
    ]
    found = causes.failing_controls(rows)
    assert [(group.releases, group.required) for group in found] == [
        (("1.8",), ("loaded", "none")),
        (("1.9",), ("loaded", "none")),
    ]
