"""The FAQ's list of behaviours as rows, and as the reStructuredText that its file has."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

from matrix.catalogue.faq import Band, Documentation, Published, Rule
from matrix.report import rendering
from matrix.report.faq_patch import saving

_WIDTH = 12
"""Columns that the savers of a line take at least, as in the published list."""


@dataclasses.dataclass(frozen=True)
class Line:
    """What loaders do with the checkpoints of some savers."""

    savers: str
    """The savers as text."""
    sentence: str
    """What becomes of their checkpoints."""
    code: tuple[str, ...] = ()
    """The code that the sentence ends with."""

    @property
    def field(self) -> str:
        """The savers as the name of a field, padded to the column of the sentences."""
        return f":{self.savers}:  ".ljust(_WIDTH)


@dataclasses.dataclass(frozen=True)
class Row:
    """What releases of the list save, and what they load."""

    versions: str
    """The releases as text."""
    saves: str
    """Where they save FP8 metadata; empty where the row does not say."""
    lines: tuple[Line, ...]
    """What they load."""


@dataclasses.dataclass(frozen=True)
class Corrections:
    """What only a corrected list has."""

    versions: str
    """The releases and the kind of checkpoint that the first list is about."""
    quantized: tuple[Row, ...]
    """The rows of the second list, on quantized weights."""


def render(rows: Sequence[Row], published: Published, corrections: Corrections | None) -> str:
    """Return the end of the FAQ's file: the lines before its list, and the list.

    :param corrections: None for the list as it is published.
    """
    return rendering.render("faq.rst.j2", rows=rows, published=published, corrections=corrections)


def as_published(documentation: Documentation) -> str:
    """Return the end of the FAQ's file as the documentation has it."""
    rows = [
        Row(band.printed, saving.documented(band), tuple(_lines(band, documentation)))
        for band in documentation.bands
    ]
    return render(rows, documentation.published, None)


def _lines(band: Band, documentation: Documentation) -> Iterator[Line]:
    printed: dict[str, list[Rule]] = {}
    for rule in documentation.rules:
        if band.name in rule.loaded_by:
            printed.setdefault(rule.printed, []).append(rule)
    for savers, rules in printed.items():
        # What becomes of a mapped key is printed before what becomes of one that is not.
        sentences = [
            one.sentence for one in sorted(rules, key=lambda rule: "plain" in rule.variants)
        ]
        if len(rules) == 1:
            yield Line(savers, sentences[0])
        else:
            published = documentation.published
            yield Line(savers, ". ".join([*sentences, published.mapping]), published.code)
