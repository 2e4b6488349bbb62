"""Transformer Engine's classes and functions, as a pickle calls them."""

from __future__ import annotations

from matrix.catalogue import pickled_names
from matrix.checkpoint import nodes
from matrix.checkpoint.nodes import Call, Global, Guarded, Node


def rebuilt_by(node: Call) -> str:
    """Return what rebuilds a quantized weight, as text: a function, or class, of Transformer
    Engine with the number of its arguments, and the other names of it that those hold."""
    count = len(node.arguments) if isinstance(node.arguments, tuple) else 0
    known = pickled_names.load().te
    held = {str(part) for part in nodes.every(node) if isinstance(part, Global)} & known.keys()
    others = sorted(held - {str(te_class(node)), str(node.function)})
    return " ".join((f"{te_class(node)}({count})", *others))


def te_class(node: Node) -> Global | None:
    """Return the Transformer Engine class or function that a value calls, or None.

    A classmethod, which is pickled as ``getattr`` of its class, counts as the class.
    """
    if not isinstance(node, Call):
        return None
    called = node.function
    if isinstance(called, Call) and isinstance(called.function, Guarded):
        return _te_method(called)
    if isinstance(called, Global) and str(called) in pickled_names.load().te:
        return called
    return None


def _te_method(node: Call) -> Global | None:
    """Return the method that a call of ``getattr`` gives, if it is Transformer Engine's."""
    match node.arguments:
        case (Global() as owner, str() as attribute):
            if (str(owner), attribute) in pickled_names.load().te_methods:
                return Global(owner.module, f"{owner.name}.{attribute}")
    return None
