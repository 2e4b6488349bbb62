"""Pairs of releases put together to the rows and lines of a list."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import TypeVar

from matrix.report.faq_patch.observed import Pair
from matrix.report.faq_patch.table import Line, Row
from matrix.report.faq_patch.versions import notation

Said = TypeVar("Said", bound=Hashable)
"""What is said of a pair of releases."""
Wording = Callable[[Said, Sequence[Pair]], tuple[str, tuple[str, ...]]]
"""Puts what is said of some pairs into words: a sentence, and the code that it ends with."""


def rows(
    said: Mapping[Pair, Said],
    wording: Wording[Said],
    order: Sequence[str],
    saves: Mapping[str, str],
) -> Iterator[Row]:
    """Yield rows: loaders of which the same is said stand together, and so do savers in a row.

    :param saves: where releases save FP8 metadata, in words; a row does not say it of others.
    """
    by_loader: dict[str, dict[str, Said]] = {}
    for saver, loader in itertools.product(order, order):
        if (saver, loader) in said:
            by_loader.setdefault(loader, {})[saver] = said[saver, loader]
    alike: dict[tuple[str, frozenset[tuple[str, Said]]], list[str]] = {}
    for loader in (name for name in order if name in by_loader):
        key = saves.get(loader, ""), frozenset(by_loader[loader].items())
        alike.setdefault(key, []).append(loader)
    for (place, _row), loaders in alike.items():
        # The FAQ puts no space after the sign in the versions of a row.
        versions = notation(loaders, order).replace(">= ", ">=")
        yield Row(versions, place, tuple(_lines(by_loader[loaders[0]], loaders, wording, order)))


def _lines(
    row: Mapping[str, Said], loaders: Sequence[str], wording: Wording[Said], order: Sequence[str]
) -> Iterator[Line]:
    savers: dict[Said, list[str]] = {}
    for saver, what in row.items():
        savers.setdefault(what, []).append(saver)
    for what, names in savers.items():
        words, code = wording(what, [(saver, loader) for loader in loaders for saver in names])
        yield Line(notation(names, order), words, code)
