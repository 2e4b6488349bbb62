"""Classes and functions that the pickles of honest checkpoints name, with who writes them."""

from __future__ import annotations

import dataclasses
import functools
from typing import Literal

from matrix.catalogue import tables

Rule = Literal["attribute", "file", "latin1"]
"""How a guarded function may be called; ``matrix.checkpoint.lookups`` has the rules."""


class TransformerEngineName(tables.Row):
    """A class or function that Transformer Engine's pickles call."""

    name: str
    attribute: str | None = None
    """The attribute of it that is called, by way of ``getattr``."""
    arguments: tuple[int, ...]
    """The numbers of arguments that releases call it with."""
    enum: bool = False
    """Whether it is an enumeration, asked for a member by ``getattr`` too."""
    source: str


class OrdinaryNames(tables.Row):
    """Names of one library that honest checkpoints hold beside those of Transformer Engine."""

    owner: str
    reason: str
    call: tuple[str, ...] = ()
    """May be called with any arguments."""
    refer: tuple[str, ...] = ()
    """May be looked up, and not called."""
    enums: tuple[str, ...] = ()
    """Enumerations: called with a value, or asked for a member by ``getattr``."""


class GuardedName(tables.Row):
    """A function that is known only when called directly, with certain arguments."""

    name: str
    rule: Rule
    reason: str


class CallerName(tables.Row):
    """A function that calls one of its arguments."""

    name: str
    function: int
    """Index of the argument that is called."""
    arguments: int
    """Index of the argument with the tuple of arguments that it is given; -1 for none."""
    reason: str


class _Table(tables.Row):
    transformer_engine: tuple[TransformerEngineName, ...]
    ordinary: tuple[OrdinaryNames, ...]
    guarded: tuple[GuardedName, ...]
    caller: tuple[CallerName, ...]


@dataclasses.dataclass(frozen=True)
class PickledNames:
    """The table, by name. A name is module and qualified name, joined by a dot."""

    te: dict[str, tuple[int, ...] | None]
    """Transformer Engine's names, and the numbers of arguments; None if not itself called."""
    te_methods: dict[tuple[str, str], tuple[int, ...]]
    """The same of attributes of its classes, by class and attribute."""
    te_enums: frozenset[str]
    """Those of Transformer Engine's names that are enumerations."""
    call: frozenset[str]
    refer: frozenset[str]
    enums: frozenset[str]
    guarded: dict[str, Rule]
    callers: dict[str, tuple[int, int]]


@functools.cache
def load() -> PickledNames:
    """Read the table of names."""
    table = tables.load(tables.packaged("pickled_names.toml"), _Table)
    rows = table.transformer_engine
    called = {row.name: row.arguments for row in rows if row.attribute is None}
    return PickledNames(
        te={row.name: called.get(row.name) for row in rows},
        te_methods={(row.name, row.attribute): row.arguments for row in rows if row.attribute},
        call=frozenset(name for group in table.ordinary for name in group.call),
        refer=frozenset(name for group in table.ordinary for name in group.refer),
        te_enums=frozenset(row.name for row in rows if row.enum),
        enums=frozenset(name for group in table.ordinary for name in group.enums),
        guarded={row.name: row.rule for row in table.guarded},
        callers={row.name: (row.function, row.arguments) for row in table.caller},
    )
