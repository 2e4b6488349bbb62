"""A traceback matched against what the matrix has seen fail, and what users report."""

from __future__ import annotations

import dataclasses
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from matrix.catalogue import tables
from matrix.catalogue.releases import Release
from matrix.judge.judgement import JudgedCell, Judgement
from matrix.judge.ledger import LedgerEntry

_ENOUGH = 0.5
_VARIANTS = ("plain", "trusted", "remapped")
_LONGEST = 200_000
_QUOTED = 4  # words from which on a part of a message is taken for it
_CLASS = re.compile(r"\b(?:[A-Za-z_]\w*\.)*([A-Z]\w*(?:Error|Exception))\b")
_KEY = re.compile(r"[\w.]*_extra_state\b")
_OWNER = re.compile(r"(loading state_dict for|extra state for) \w+")
_WORD = re.compile(r"[A-Za-z_][\w.]*|\d+")
_COMMON = {"the", "a", "an", "of", "to", "in", "is", "it", "and", "or", "for", "from", "on", "at"}


class Symptom(tables.Row):
    """A symptom that users report; ``symptoms.toml`` explains the fields."""

    id: str
    patterns: tuple[str, ...]
    releases: str
    cause: str
    advice: str
    references: str


class _Symptoms(tables.Row):
    symptom: tuple[Symptom, ...]


def load() -> tuple[Symptom, ...]:
    """Read the table of reported symptoms."""
    return tables.load(tables.packaged("symptoms.toml"), _Symptoms).symptom


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Which combinations of saver, loader and scenario were seen to do something.

    :param by_savers: (savers, loaders): each of the savers with each of the loaders.
    :param count: the number of combinations; ``mended``: of those that some rewrite was
        seen to make load, and go on updating.
    """

    by_savers: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]
    scenarios: tuple[str, ...]
    count: int
    mended: int


@dataclasses.dataclass(frozen=True)
class Match:
    """One possible cause of an error.

    :param fit: how much of the known error is in the text, 0 to 1.
    :param pairs: which pairs of releases were seen to produce it; None: it was reported, and
        not measured here.
    """

    fit: float
    error: str
    cause: str
    advice: str
    reference: str
    releases: str = ""
    pairs: Pairs | None = None


def match(text: str, judgement: Judgement, entries: Sequence[LedgerEntry]) -> list[Match]:
    """Return the possible causes of an error, the best fit first; none fitting: empty.

    :param text: a traceback, a message, or a log with either in it.
    :param judgement: of the whole catalogue.
    """
    text = text[-_LONGEST:]
    found = [*_seen(text, judgement, entries), *_reported(text)]
    return sorted(found, key=lambda each: (-round(each.fit, 2), each.pairs is None))


# What the matrix has seen.


def _seen(text: str, judgement: Judgement, entries: Sequence[LedgerEntry]) -> Iterator[Match]:
    groups: dict[tuple[str, str], list[JudgedCell]] = defaultdict(list)
    for verdict in judgement.verdicts:
        if verdict.error and verdict.cell.variant in _VARIANTS:
            groups[verdict.error.type, _normal(verdict.error.message)].append(verdict)
    mended = _mended(judgement)
    for (kind, message), verdicts in groups.items():
        fit = _fit(text, kind, message, verdicts[0])
        if fit >= _ENOUGH:
            yield _match(fit, verdicts, entries, mended)


def _match(
    fit: float,
    verdicts: Sequence[JudgedCell],
    entries: Sequence[LedgerEntry],
    mended: set[tuple[str, str, str]],
) -> Match:
    first = next((v for v in verdicts if v.entries), verdicts[0])
    assert first.error is not None and first.load is not None
    entry = next((e for e in entries if e.id in first.entries), None)
    message = " ".join(first.error.message.split())[:300]
    return Match(
        fit,
        f"{first.error.type} at {first.load.stage}: {message}",
        entry.cause if entry else _undeviating(first),
        entry.advice if entry else "",
        entry.reference if entry else "",
        pairs=_pairs(verdicts, mended),
    )


def _pairs(verdicts: Sequence[JudgedCell], mended: set[tuple[str, str, str]]) -> Pairs:
    cells = {(v.cell.scenario, v.cell.saved_by, v.cell.loaded_by): None for v in verdicts}
    loaders: dict[str, list[str]] = defaultdict(list)
    for _scenario, saver, loader in cells:
        if loader not in loaders[saver]:
            loaders[saver].append(loader)
    savers: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for saver, names in loaders.items():
        savers[tuple(sorted(names))].append(saver)
    return Pairs(
        tuple((tuple(names), same) for same, names in savers.items()),
        tuple(dict.fromkeys(scenario for scenario, _saver, _loader in cells)),
        len(cells),
        len(cells.keys() & mended),
    )


def _undeviating(verdict: JudgedCell) -> str:
    """Return the cause of an error that the FAQ documents, or that it says nothing of."""
    if verdict.documented.sentence:
        return f"The FAQ documents it: “{verdict.documented.sentence}”."
    return "The FAQ says nothing of it."


def _mended(judgement: Judgement) -> set[tuple[str, str, str]]:
    """Return (scenario, saver, loader) where a rewrite was seen to load and to update."""
    return {
        (v.cell.scenario, v.cell.saved_by, v.cell.loaded_by)
        for v in judgement.verdicts
        if v.cell.variant.startswith("rewrite:")
        and (v.outcome, v.after_load) == ("loaded", "updates")
    }


def _normal(message: str) -> str:
    """Return a message without what differs between one model and another."""
    message = _KEY.sub(lambda key: _end_of(key[0]), message)
    return _OWNER.sub(r"\1 MODULE", " ".join(message.split()))


def _end_of(key: str) -> str:
    """Return the part of an extra state's key that Transformer Engine decides on."""
    parts = key.split(".")
    start = parts.index("core_attention") if "core_attention" in parts else -2
    return ".".join(parts[start:])


def _words(message: str) -> set[str]:
    return {word for word in _WORD.findall(message) if word.lower() not in _COMMON}


def _fit(text: str, kind: str, message: str, verdict: JudgedCell) -> float:
    """Return how well an error fits, by its words, its class and its frames.

    Compared with the line of the text that it shares most words with: what of the error's
    words is there, and what of the line's words is the error's.
    """
    classes = set(_CLASS.findall(text))
    if classes and kind not in classes:
        return 0.0
    wanted = _words(message)
    best = max((_overlap(wanted, _words(line)) for line in _lines(text)), default=0.0)
    if not classes:
        best *= 0.9
    assert verdict.error is not None
    functions = {frame.rpartition(":")[2] for frame in verdict.error.frames}
    known = any(name in text for name in functions if name.startswith(("set_", "_load", "_make")))
    return min(1.0, best + 0.05 * known * (best > 0))


def _lines(text: str) -> Iterator[str]:
    lines = [_normal(line) for line in text.splitlines() if line.strip()]
    for number, line in enumerate(lines):
        yield _CLASS.sub("", line)
        # PyTorch lists the keys on the lines below.
        yield _CLASS.sub("", " ".join(lines[number : number + 3]))


def _overlap(wanted: set[str], line: set[str]) -> float:
    """Return how much of a known message is in a line; a part of it, quoted, counts too."""
    shared = len(wanted & line)
    telling = {word for word in wanted if "_" in word or "." in word}
    if not shared:
        return 0.0
    recall, precision = shared / len(wanted), shared / len(line)
    if telling and not telling & line:
        recall = 0.0
    part = precision * (0.6 + 0.4 * recall) if shared >= _QUOTED else 0.0
    return max(recall * (0.6 + 0.4 * precision), part)


# What users report.


def _reported(text: str) -> Iterator[Match]:
    for symptom in load():
        best = max((_share(pattern, text) for pattern in symptom.patterns), default=0.0)
        if best:
            yield Match(
                best,
                f"reported, not measured here ({symptom.id})",
                symptom.cause,
                symptom.advice,
                symptom.references,
                releases=symptom.releases,
            )


def _share(pattern: str, text: str) -> float:
    """Return 0 where a pattern is not in the text, else by how much of its line it covers."""
    found = re.search(pattern, text)
    if found is None:
        return 0.0
    start = text.rfind("\n", 0, found.start()) + 1
    end = text.find("\n", found.end())
    line = text[start : end if end >= 0 else len(text)]
    return 0.55 + 0.4 * min(1.0, len(found[0]) / max(1, len(line.strip())))


def page(matches: Iterable[Match], releases: Sequence[Release]) -> Iterator[str]:
    """Yield the lines of the page on an error's possible causes."""
    order = [release.name for release in releases]
    for number, each in enumerate(matches, start=1):
        yield f"{number}. {each.error}  [fit {each.fit:.0%}]"
        if each.pairs:
            yield f"   Seen in {', '.join(each.pairs.scenarios)}:"
            for savers, loaders in each.pairs.by_savers:
                yield f"     saved by {spans(savers, order)}, loaded by {spans(loaders, order)}"
        elif each.releases:
            yield f"   Concerns: {each.releases}"
        yield f"   Why: {each.cause}"
        if each.advice:
            yield f"   What to do: {each.advice}"
        if each.pairs and each.pairs.mended:
            yield (
                f"   te-matrix remap IN OUT --to RELEASE makes {each.pairs.mended} of these "
                f"{each.pairs.count} combinations load"
            )
        if each.reference:
            yield f"   Reference: {each.reference}"
        yield ""


def spans(names: Sequence[str], order: Sequence[str]) -> str:
    """Return releases as ranges of neighbours in the catalogue, e.g. ``1.6-1.7, 2.0``."""
    places = sorted(order.index(name) for name in names)
    runs: list[list[int]] = []
    for place in places:
        if runs and place == runs[-1][1] + 1:
            runs[-1][1] = place
        else:
            runs.append([place, place])
    return ", ".join(
        order[first] if first == last else f"{order[first]}-{order[last]}" for first, last in runs
    )
