"""Rule: the document that is signed says of one candidate what its report says, and of what."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

import pytest

from helpers.builders import a_cell, a_report
from matrix.catalogue import faq
from matrix.report import comparison, document, notes, sheet, standings
from matrix.report.cells import ReportCell
from matrix.report.document import Report
from matrix.report.sheet import Sheet

NEW = "2.6@12345678"
INSTEAD = {NEW: "2.5"}
OPT_IN = "NVTE_MADE_UP"


def qualified(before: list[ReportCell], after: list[ReportCell]) -> Report:
    new = a_report(*after)
    rows = [row.model_copy(update={"candidate": "@" in row.name}) for row in new.releases]
    new = new.model_copy(update={"releases": tuple(rows)})
    found = comparison.compare(a_report(*before), new, INSTEAD)
    return standings.with_qualification(new, found, INSTEAD, "recorded evidence")


def made(*after: ReportCell, before: list[ReportCell] | None = None) -> Sheet:
    report = qualified(before or [a_cell("2.4", "2.5")], list(after))
    return sheet.of(report, faq.load(), document.text(report))


def test_what_fares_alike_stands_together() -> None:
    found = made(
        *(a_cell(saver, NEW, scenario=name) for saver in ("2.3", "2.4") for name in ("a", "b")),
        a_cell("2.3", NEW, "error", scenario="c"),
        a_cell("2.4", NEW, scenario="c"),
        a_cell("2.4", NEW, scenario="c", variant="trusted"),
        a_cell(NEW, "2.4", "defaults", scenario="a"),
        a_cell(NEW, NEW, scenario="a"),
    )
    assert [(row.scenarios, [e.model_dump() for e in row.endings]) for row in found.reads] == [
        (("a", "b"), [{"seen": "loaded", "variants": ("plain",), "releases": "2.3-2.4"}]),
        (
            ("c",),
            [
                {"seen": "error: KeyError", "variants": ("plain",), "releases": "2.3"},
                {"seen": "loaded", "variants": ("plain", "trusted"), "releases": "2.4"},
            ],
        ),
    ]
    assert [row.scenarios for row in found.read_by] == [("a",)]


def test_the_grids_have_a_letter_for_every_cell() -> None:
    found = made(
        a_cell("2.3", NEW, "error"),
        a_cell("2.4", NEW, after_load="frozen"),
        a_cell("2.4", NEW, "defaults", variant="trusted"),
        a_cell(NEW, NEW, "partial"),
        a_cell(NEW, "2.4", "none"),
    )
    assert found.loads.releases == ("2.3", "2.4", NEW)
    assert [(row.variant, row.letters) for row in found.loads.rows] == [
        ("plain", ("E", "F", "P")),
        ("trusted", ("", "D", "")),
    ]
    assert [row.letters for row in found.saves.rows] == [("N", "P")]


def test_the_faq_stands_beside_what_was_seen() -> None:
    found = made(
        *(a_cell(saver, NEW, outcome) for saver, outcome in [("2.3", "error"), ("2.4", "loaded")]),
        a_cell("2.4", NEW, "error", scenario="linear"),
        a_cell(NEW, "2.4"),
    )
    assert [(row.saved_by, row.loaded_by, row.sentence, row.seen) for row in found.faq] == [
        (">=1.12", NEW, "Loads", {"error": 1, "loaded": 1}),
        (NEW, ">=1.12", "Loads", {"loaded": 1}),
    ]


def test_the_digests_are_of_the_report_and_of_what_was_seen() -> None:
    cells = [a_cell("2.3", NEW, "error"), a_cell("2.4", NEW)]
    report = qualified([a_cell("2.4", "2.5")], cells)
    text = document.text(report)
    found = sheet.of(report, faq.load(), text)
    assert found.report_digest == hashlib.sha256(text.encode()).hexdigest()
    assert made(*reversed(cells)).evidence_digest == found.evidence_digest
    for other in (a_cell("2.3", NEW), a_cell("2.3", NEW, "error", error_message="other")):
        assert made(other, cells[1]).evidence_digest != found.evidence_digest


def test_the_page_says_first_what_is_signed() -> None:
    found = made(a_cell("2.4", NEW, "error"))
    texts = sheet.texts(found)
    page = texts["qualification.html"]
    assert f"<title>{NEW}: not qualified</title>" in page
    assert page.index(found.sentence) < page.index("Decision") < page.index("What changed")
    assert f'<a href="index.html#autocast/plain/2.4-%3E{NEW}">' in page.replace("%40", "@")
    assert "Every cell" in page
    assert json.loads(texts["qualification.json"])["answer"] == "not qualified"
    assert texts["qualification.md"].startswith("## Checkpoint compatibility")


def test_hostile_text_is_escaped() -> None:
    hostile = "<script>alert(1)</script>|x"
    texts = sheet.texts(made(a_cell("2.4", NEW, "error", error_message=hostile)))
    assert "<script" not in texts["qualification.html"]
    assert "\\|x" in texts["qualification.md"]


# The release notes.


def told(*after: ReportCell, before: list[ReportCell] | None = None) -> str:
    report = qualified(before or [a_cell("2.4", "2.5")], list(after))
    return notes.text(report, OPT_IN, notes.quoted(f"+The list on {NEW}.\n", "diff", "md"), "md")


def test_what_loads_is_not_mentioned() -> None:
    text = told(a_cell("2.3", NEW), a_cell("2.4", NEW, "none"))
    assert text.count("Nothing that their users have to know.") == 2


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"outcome": "error"}, "they do not load (`KeyError`)"),
        ({"after_load": "frozen"}, "later training steps never update"),
        ({"rest_after_load": "frozen"}, "later training steps never update"),
        ({"outcome": "defaults", "held": ("core_attention",)}, "silently reset to defaults"),
        ({"outcome": "partial"}, "what is loaded is not what was saved"),
        ({"outcome": "not-run", "verdict": "not-run"}, "have no outcome (not-run)"),
    ],
)
def test_what_goes_wrong_is_said(fields: dict[str, Any], words: str) -> None:
    text = told(a_cell("2.3", NEW, **fields), a_cell("2.4", NEW, **fields))
    assert re.search(rf"- 2\.3-2\.4 \(MultiheadAttention.*{re.escape(words)}", text)


def test_what_helps_is_said() -> None:
    trusted = told(a_cell("2.3", NEW, "error"), a_cell("2.3", NEW, variant="trusted"))
    assert f"Set `{OPT_IN}=1` for the load, if you trust the file." in trusted
    rewritten = told(a_cell("2.3", NEW, "error"), a_cell("2.3", NEW, variant="rewrite:2.4"))
    assert "Rewrite them with `te-matrix remap` first." in rewritten
    neither = told(a_cell("2.3", NEW, "error"), a_cell("2.3", NEW, "error", variant="trusted"))
    assert "Set `" not in neither
    assert "Rewrite" not in neither


def test_what_changed_is_said_and_the_patch_names_the_version() -> None:
    text = told(a_cell("2.4", NEW, "error"))
    assert "- worse: loaded -> error (`KeyError at load_state_dict: 'recipe'`)" in text
    assert "```diff\n+The list on 2.6.\n```" in text


def test_in_restructuredtext_headings_and_code_are_its_own() -> None:
    report = qualified([a_cell("2.4", "2.5")], [a_cell("2.4", NEW, "error")])
    text = notes.text(report, OPT_IN, notes.quoted("-a\n+b\n", "diff", "rst"), "rst")
    assert text.startswith("Checkpoints of Transformer Engine 2.6\n====")
    assert "(``KeyError``)" in text
    assert ".. code-block:: diff\n\n   -a\n   +b\n" in text
