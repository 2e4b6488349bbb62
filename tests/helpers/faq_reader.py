"""Reads the FAQ's list of behaviours as a person would, and compares it with observed loads.

It shares no code with what writes the list.
"""

from __future__ import annotations

import dataclasses
import functools
import operator
import re
from collections.abc import Iterator, Sequence
from typing import Any

import docutils.nodes
from docutils.core import publish_doctree
from packaging.version import Version

from matrix.report.cells import ReportCell

SIGNS = {"<=": operator.le, ">=": operator.ge, ">": operator.gt, "<": operator.lt, "": operator.eq}
OUTCOMES = {
    r"loads FP8 metadata from checkpoint": "loaded",
    r"loads FP8 metadata from checkpoint only in part": "partial",
    r"initializes FP8 metadata to the default, i\.e\. 1s for scaling factors, and 0s for amaxes": (
        "defaults"
    ),
    r"loads no FP8 metadata": "none",
    r"does not restore the weights bit for bit": "partial",
}
RESIZED = ", with amax histories of another length"
FROZEN = ", but further training does not update it"
REST = {
    "; that of the linear layers is loaded" + FROZEN: "frozen",
    "; that of the linear layers is lost": "lost",
}
UNLESS = re.compile(r"(?:Error|fails), unless \w+=1 is set\. Then, it (.*)")
WITH = re.compile(r"(.*)\. With \w+=1, it (.*)")
MAPPED = re.compile(
    r"(?:This save/load combination )?relies on users to map .*? key(?:, and then (.*?))?"
    r"\. Otherwise, it (.*)"
)
MAPPING = ". The mapping can be done, in this MultiheadAttention example, by"
LINEARS = ". Where the linear layers hold no FP8 metadata, it "


@dataclasses.dataclass(frozen=True)
class Meaning:
    """What a clause says of a load."""

    outcome: str
    frozen: bool = False
    resized: bool = False
    rest: str = ""
    changed: bool = False
    reasons: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Reading:
    """What a line says of a pair of releases in one scenario, by variant."""

    plain: Meaning
    trusted: Meaning
    remapped: Meaning | None
    """None where the line does not speak of the mapping: then it is of no help."""


def lists(text: str) -> list[docutils.nodes.table]:
    """The lists of the file; what docutils warns of is an error."""
    document = publish_doctree(text, settings_overrides={"halt_level": 2, "report_level": 2})
    return list(document.findall(docutils.nodes.table))


def versions(text: str, known: Sequence[str]) -> list[str]:
    """The known releases that a set of versions holds, e.g. ``>= 1.8, <= 1.14; 2.16.1``."""
    held = []
    for part in text.split(";"):
        terms = [re.fullmatch(r"\s*([<>]?=?)\s*([\d.]+)", term) for term in part.split(",")]
        assert all(terms), text
        bounds = [(SIGNS[term[1]], version(term[2])) for term in terms if term]
        both = any(term and term[1] for term in terms)
        held += [
            name
            for name in known
            if (all if both else any)(sign(version(name), bound) for sign, bound in bounds)
        ]
    return held


version = functools.cache(Version)


def rows(table: docutils.nodes.table) -> Iterator[tuple[str, str, list[tuple[str, str]]]]:
    """Yield versions, the sentence on saves, and (savers, sentence) of every row of a list."""
    for entry in table.findall(docutils.nodes.entry):
        title = next(iter(entry.findall(docutils.nodes.strong))).astext()
        saves = [
            item.children[0].astext()
            for item in entry.findall(docutils.nodes.list_item)
            if item.children[0].astext().startswith(("Saves", "Error when saving"))
        ]
        fields = [
            (field[0].astext(), field[1].children[0].astext())
            for field in entry.findall(docutils.nodes.field)
        ]
        yield title.removeprefix("Version: "), "".join(saves), fields


def lines(table: docutils.nodes.table, known: Sequence[str]) -> dict[tuple[str, str], str]:
    """The sentence on each (saver, loader). No two lines may be about the same pair."""
    found: dict[tuple[str, str], str] = {}
    for title, _saves, fields in rows(table):
        named = [(versions(savers, known), sentence) for savers, sentence in fields]
        for loader in versions(title, known):
            for savers, sentence in named:
                for saver in savers:
                    assert (saver, loader) not in found, (saver, loader)
                    found[saver, loader] = sentence
    return found


def meaning(clause: str) -> Meaning:
    """What a clause says. One that a person could not read is an error."""
    if error := re.fullmatch(r"(?:Error|fails)(?:: (.*)| in torch\.load| when saving)?", clause):
        place = clause.partition(" ")[2] if error[1] is None else ""
        why = re.split(r", (?=\w+: |un|mi)| or (?=\w+: |un|mi)", error[1]) if error[1] else []
        return Meaning("error", reasons=tuple(why) or ((place,) if place else ()))
    rest = next((word for end, word in REST.items() if clause.endswith(end)), "")
    clause = next((clause.removesuffix(end) for end in REST if clause.endswith(end)), clause)
    whole = clause.removesuffix(FROZEN)
    words = whole.removesuffix(RESIZED)
    words = words[:1].lower() + words[1:]
    (outcome,) = (word for pattern, word in OUTCOMES.items() if re.fullmatch(pattern, words))
    return Meaning(
        outcome,
        frozen=whole != clause,
        resized=whole.endswith(RESIZED),
        rest=rest,
        changed=words.startswith("does not restore"),
    )


def statement(sentence: str) -> Reading:
    """What the part of a line says that is about one kind of checkpoint."""
    if found := MAPPED.fullmatch(sentence):
        then = meaning(found[1]) if found[1] else Meaning("loaded")
        return dataclasses.replace(statement(found[2]), remapped=then)
    if found := UNLESS.fullmatch(sentence):
        return Reading(Meaning("error"), meaning(found[1]), None)
    if found := WITH.fullmatch(sentence):
        return Reading(meaning(found[1]), meaning(found[2]), None)
    plain = meaning(sentence)
    # Why a load fails is not said of other ways to load.
    return Reading(plain, dataclasses.replace(plain, reasons=()), None)


def line_readings(line: str) -> tuple[Reading, Reading]:
    """What a line says of checkpoints with FP8 metadata in all modules, in the attention alone."""
    assert line.endswith(MAPPING) == ("relies on users" in line)
    whole, _, linears = line.removesuffix(MAPPING).partition(LINEARS)
    return statement(whole), statement(linears or whole)


def readings(text: str, known: Sequence[str]) -> dict[tuple[str, str, str], Reading]:
    """What the file says of each (scenario, saver, loader)."""
    first, *more = (lines(table, known) for table in lists(text))
    found = {}
    for (saver, loader), line in first.items():
        both = line_readings(line)
        found["autocast", saver, loader], found["attention-only", saver, loader] = both
    for (saver, loader), line in (more[0] if more else {}).items():
        above = found["autocast", saver, loader]
        said = above if line == "As above" else line_readings(line)[0]
        found["fp8-weights", saver, loader] = said
    return found


def disagreement(reading: Reading, variants: dict[str, ReportCell]) -> str:
    """In what a reading differs from the loads of a pair; empty where it agrees with them."""
    for name, cell in variants.items():
        said: Meaning | None = getattr(reading, name)
        if said is None:
            plain = variants["plain"]
            if cell.outcome != "error" and _seen(cell) != _seen(plain):
                return f"{cell.id}: the mapping helps, and it is not said"
        elif difference := _difference(said, cell):
            return f"{cell.id}: {difference}"
    return ""


def _seen(cell: ReportCell) -> tuple[Any, ...]:
    return cell.outcome, cell.after_load, cell.resized, _rest(cell), cell.weights


def _rest(cell: ReportCell) -> str:
    """What has to be said of the other modules."""
    seen = cell.rest_state.value
    all_frozen = cell.after_load == "frozen" and seen == "frozen"
    return "" if seen in ("none", "kept") or all_frozen else seen


def _difference(said: Meaning, cell: ReportCell) -> str:
    frozen = cell.after_load == "frozen"
    pairs = {
        "outcome": said.outcome == cell.outcome,
        "after load": said.frozen == frozen,
        "length": said.resized == cell.resized,
        # Where the attention alone holds something, what is said of the others is void.
        "rest": said.rest == _rest(cell) or (cell.scenario == "attention-only" and not _rest(cell)),
        "weights": said.changed == (cell.weights == "changed"),
        "reason": not said.reasons or any(_is_reason(one, cell) for one in said.reasons),
    }
    return ", ".join(what for what, same in pairs.items() if not same)


def _is_reason(reason: str, cell: ReportCell) -> bool:
    if reason.endswith(" key"):
        return bool(cell.unexpected_keys if reason == "unexpected key" else cell.missing_keys)
    if reason == "in torch.load":
        return cell.stage == "deserialize"
    if reason == "when saving":
        return cell.stage == "save"
    return f"{cell.error_type}: {cell.error_message}".startswith(reason)
