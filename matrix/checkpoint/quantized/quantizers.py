"""Quantizers, which the pickles of weights hold from 2.3 on, in the form of another release."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from matrix.catalogue import weights as table
from matrix.catalogue.weights import QuantizerForm
from matrix.checkpoint import objects
from matrix.checkpoint.errors import Malformed
from matrix.checkpoint.nodes import Call, Global, Map, Node
from matrix.checkpoint.quantized.weights import QuantizedWeight


class Scalars(Protocol):
    """Converts numbers that some releases pickle as tensors."""

    def number(self, node: Node) -> int:
        """Return the number that an int64 tensor holds."""

    def tensor(self, number: int) -> Node:
        """Return an int64 tensor that holds a number."""


def convert(weight: QuantizedWeight, form: QuantizerForm, dtype: Node, scalars: Scalars) -> Node:
    """Return a weight's quantizer as a release pickles it.

    :param form: the form of the release.
    :param dtype: the element type of the data, as the release pickles it.
    :raises Malformed: it says something that the release's quantizers cannot say.
    """
    if "quantizer" in weight.values:
        node = weight.values["quantizer"]
        if node is None:
            return None
        fields = _fields(node, form)
    else:
        rows, columns = (usage in weight.usages for usage in ("rowwise", "columnwise"))
        fields = {"rowwise_usage": rows, "columnwise_usage": columns}
    check_left_out(fields, {*form.fields, "dtype"}, "quantizer")
    fields["dtype"] = dtype
    pairs: list[tuple[Node, Node]] = [(name, value_of(name, fields)) for name in form.fields]
    pairs = [(name, _as_scalar(name, value, form, scalars)) for name, value in pairs]
    return Call("NEWOBJ", Global(*form.name.rsplit(".", 1)), (), state=[Map(pairs)])


def _fields(node: Node, form: QuantizerForm) -> dict[str, Node]:
    """Return the attributes of a quantizer.

    :raises Malformed: it is of another class than the weight's.
    """
    if not isinstance(node, Call) or not node.calls(form.name):
        raise Malformed(f"its quantizer is a {objects.describe(node)}, not a {form.name}")
    return dict(objects.attributes(node))


def check_left_out(given: Mapping[str, Node], known: set[str], what: str) -> None:
    """Check that what a form has no place for holds nothing of its own.

    :raises Malformed: it says how the data is to be understood, which would be lost.
    """
    defaults = table.load().defaults
    for name, value in given.items():
        default = defaults.get(name)
        if name in known or (default is not None and (default.spare or value == default.value)):
            continue
        raise Malformed(f"its {what} holds {name} = {_text(value)}, which the target cannot hold")


def value_of(name: str, given: Mapping[str, Node]) -> Node:
    """Return a value, or what it is where nobody has set it.

    :raises Malformed: nothing is known that could stand in its place.
    """
    if name in given:
        return given[name]
    default = table.load().defaults.get(name)
    if default is None:
        raise Malformed(f"it lacks {name}, which the target requires")
    return default.value


def _as_scalar(name: str, value: Node, form: QuantizerForm, scalars: Scalars) -> Node:
    if name in form.scalars and isinstance(value, int):
        return scalars.tensor(value)
    if name not in form.scalars and name in _SCALARS and isinstance(value, Call):
        return scalars.number(value)
    return value


_SCALARS = frozenset(name for row in table.load().quantizers for name in row.scalars)


def _text(value: Node) -> str:
    plain = isinstance(value, (bool, int, float, str))
    return repr(value) if plain else f"a {objects.describe(value)}"
