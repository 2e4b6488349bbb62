"""How releases pickle quantized weights: functions, arguments, enumerations, quantizers."""

from __future__ import annotations

import dataclasses
import functools
from typing import Literal

from matrix.catalogue import tables
from matrix.catalogue.ranges import common, covers

DTYPE = "fp_dtype"
"""The argument with the element type of the data, a member of the enumeration ``DType``."""


class WeightForm(tables.Row):
    """How one class of weights is pickled by a run of releases."""

    weight: str
    """Name of the class."""
    releases: str
    """Closed ranges of the releases that write this form and read it."""
    function: str
    """Full name of what the pickle calls."""
    method: str | None = None
    """The attribute of it that is called."""
    arguments: tuple[str, ...]
    """Names of the arguments, in order."""
    source: str
    """The file and symbol of Transformer Engine that writes it."""

    @property
    def called(self) -> str:
        """Full name of the function or method, as :func:`names.te_class` gives it."""
        return self.function if self.method is None else f"{self.function}.{self.method}"


class QuantizedBy(tables.Row):
    """The recipes by which the weights of a class are quantized."""

    weight: str
    recipes: tuple[str, ...]


class Enumeration(tables.Row):
    """How a run of releases pickles the values of an enumeration."""

    value: str
    """Name of the argument that holds one."""
    name: str | None = None
    """Full name of the class; None if ``None`` is pickled in place of the first member."""
    releases: str
    """Closed ranges of the releases."""
    written: Literal["state", "call"]
    """``state``: an object whose state is the number; ``call``: the class called with it."""
    members: dict[str, int]
    """Numbers of the members that weights have."""


class QuantizerForm(tables.Row):
    """The attributes of a quantizer in the pickles of a run of releases."""

    weight: str
    """Name of the class of weights that has it."""
    name: str
    """Full name of the quantizer's class."""
    releases: str
    """Closed ranges of the releases."""
    fields: tuple[str, ...]
    """Names of the attributes, in order."""
    scalars: tuple[str, ...] = ()
    """Those that are a tensor with one int64; in other releases they are an int."""


class Default(tables.Row):
    """What an argument, or an attribute of a quantizer, holds where nobody has set it."""

    name: str
    value: bool | int | str | None = None
    spare: bool = False
    """Whether a form that lacks it loses nothing: a second copy, or what loaders have."""


class Unreadable(tables.Row):
    """Releases that cannot load the weights that they pickle."""

    weight: str
    releases: str
    why: str


class Kept(tables.Row):
    """A function that rebuilds weights of a class that is only kept as it is."""

    function: str
    releases: str


class _Table(tables.Row):
    recipes: tuple[QuantizedBy, ...]
    form: tuple[WeightForm, ...]
    enumeration: tuple[Enumeration, ...]
    quantizer: tuple[QuantizerForm, ...]
    default: tuple[Default, ...]
    unreadable: tuple[Unreadable, ...]
    kept: tuple[Kept, ...]


@dataclasses.dataclass(frozen=True)
class Weights:
    """The table of quantized weights."""

    recipes: dict[str, str]
    """The class of the weights that a recipe quantizes, by the recipe's class."""
    forms: tuple[WeightForm, ...]
    enumerations: tuple[Enumeration, ...]
    quantizers: tuple[QuantizerForm, ...]
    defaults: dict[str, Default]
    unreadable: tuple[Unreadable, ...]
    kept: dict[str, str]
    """The releases that have them, by function."""

    def called(self, function: str, arguments: int) -> list[WeightForm]:
        """Return the forms in which a function is called with a number of arguments."""
        return [f for f in self.forms if f.called == function and len(f.arguments) == arguments]

    def of_release(self, version: str) -> dict[str, WeightForm]:
        """Return the forms that a release writes and reads, by class."""
        return {form.weight: form for form in self.forms if covers(form.releases)(version)}

    def enumeration(self, value: str, version: str) -> Enumeration | None:
        """Return how a release pickles an enumeration; None if it has none."""
        rows = (row for row in self.enumerations if row.value == value)
        return next((row for row in rows if covers(row.releases)(version)), None)

    def quantizer(self, weight: str, version: str) -> QuantizerForm | None:
        """Return the form of a weight's quantizer in a release; None if it pickles none."""
        rows = (row for row in self.quantizers if row.weight == weight)
        return next((row for row in rows if covers(row.releases)(version)), None)

    def quantized_by(self, recipe: str) -> str | None:
        """Return the class of the weights that a recipe quantizes, or None."""
        return self.recipes.get(recipe)

    def reads(self, weight: str | None, version: str) -> bool:
        """Return whether a release loads a class of weights in the form of its own pickles."""
        known = weight is not None and weight in self.of_release(version)
        return known and self.why_unreadable(str(weight), version) is None

    def forms_of_release(self, version: str) -> str:
        """Return a name that releases share if they pickle every class of weights alike."""
        ranges = [
            *(row.releases for row in self.forms),
            *(row.releases for row in self.enumerations),
            *(row.releases for row in self.quantizers),
        ]
        return "_".join(str(n) for n, one in enumerate(ranges) if covers(one)(version))

    def why_unreadable(self, weight: str, version: str) -> str | None:
        """Return why a release cannot load a class of weights that it pickles itself, or None."""
        rows = (row for row in self.unreadable if row.weight == weight)
        return next((row.why for row in rows if covers(row.releases)(version)), None)


@functools.cache
def load() -> Weights:
    """Read the table of quantized weights."""
    table = tables.load(tables.packaged("weights.toml"), _Table)
    return Weights(
        recipes={recipe: row.weight for row in table.recipes for recipe in row.recipes},
        forms=table.form,
        enumerations=table.enumeration,
        quantizers=table.quantizer,
        defaults={row.name: row for row in table.default},
        unreadable=table.unreadable,
        kept={row.function: row.releases for row in table.kept},
    )


@functools.cache
def overlap(one: str, other: str) -> bool:
    """Return whether two sets of closed ranges have a version in common."""
    return bool(common(one, other))
