"""Transformer Engine's classes and functions, as a pickle calls them."""

from __future__ import annotations

from matrix.catalogue import pickled_names
from matrix.checkpoint import nodes, objects
from matrix.checkpoint.nodes import Call, Global, Guarded, Node


def rebuilt_by(node: Call) -> str:
    """Return what rebuilds a quantized weight, as text.

    That is a function, or class, of Transformer Engine with the number of its arguments, and its
    other names in those, with the attributes that the pickle sets on an object of each.
    """
    count = len(node.arguments) if isinstance(node.arguments, tuple) else 0
    made = te_class(node)
    known = pickled_names.load().te
    held: dict[str, set[str]] = {}
    for part in nodes.every(node):
        if isinstance(part, Global) and str(part) in known:
            held.setdefault(str(part), set())
        elif isinstance(part, Call) and part is not node and (cls := te_class(part)):
            held.setdefault(str(cls), set()).update(objects.attributes(part))
    others = (
        f"{name}{{{', '.join(sorted(attributes))}}}" if attributes else name
        for name, attributes in sorted(held.items())
        if made is None or name != str(made)
    )
    return " ".join((f"{made}({count})", *others))


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
