"""Transformer Engine's classes and functions, as a pickle calls them."""

from __future__ import annotations

import re

from matrix.checkpoint.nodes import Call, Global, Node
from matrix.checkpoint.objects import builtin

_TE = re.compile(r"transformer_engine(_extensions|_torch)?(\.|$)")


def te_class(node: Node) -> Global | None:
    """Return the Transformer Engine class or function that a value calls, or None.

    A classmethod, which is pickled as ``getattr`` of its class, counts as the class.
    """
    if not isinstance(node, Call):
        return None
    called = node.function
    if isinstance(called, Call) and _te_method(called):
        owner = called.arguments[0]
        return Global(owner.module, f"{owner.name}.{called.arguments[1]}")
    return called if isinstance(called, Global) and _TE.match(called.module) else None


def _te_method(node: Call) -> bool:
    """Return whether a call is ``getattr(<Transformer Engine class>, <name>)``."""
    if not node.calls(*builtin("getattr")):
        return False
    match node.arguments:
        case (Global(module=module), str()):
            return bool(_TE.match(module))
    return False
