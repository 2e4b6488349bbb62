"""How each recipe is built, and the contexts in which a release uses it."""

import contextlib
import importlib
import inspect
from typing import Any, Dict, Optional

from matrix.worker.modules import custom

DELAYED = "DelayedScaling"
_CLASS = "class"
_IN_ATTENTION = {"fp8_dpa": True, "fp8_mha": False}
_FACTORY = "qfactory"
_OPTIONAL = tuple(_IN_ATTENTION)


def _te() -> Any:
    return importlib.import_module("transformer_engine.pytorch")


def _name(chosen: Dict[str, Any]) -> str:
    return str(chosen.get(_CLASS, DELAYED))


def make(chosen: Dict[str, Any]) -> Any:
    """Build a recipe.

    ``DelayedScaling`` has FP8 attention, which the FAQ is about, unless ``fp8_dpa`` says
    otherwise. ``fp8_dpa`` and ``fp8_mha`` are left out where the class of the release lacks
    them, or refuses them: ``Float8CurrentScaling`` of 2.4 to 2.7 asserts that they are not set.

    :param chosen: its ``class`` and fields; as ``qfactory`` the name of a function in
        :mod:`matrix.worker.modules.custom`.
    :raises ValueError: the recipe of the release has no such field.
    """
    name = _name(chosen)
    kind = getattr(importlib.import_module("transformer_engine.common.recipe"), name)
    fields = dict(_IN_ATTENTION if name == DELAYED else {}, **chosen)
    fields.pop(_CLASS, None)
    known = inspect.signature(kind).parameters
    unknown = sorted(set(fields) - set(known) - set(_OPTIONAL))
    if unknown:
        raise ValueError("{} has no field {}".format(name, ", ".join(unknown)))
    given = {field: value for field, value in fields.items() if field in known}
    if _FACTORY in given:
        given[_FACTORY] = getattr(custom, given[_FACTORY])
    try:
        return kind(**given)
    except (AssertionError, ValueError):  # pydantic's error of 2.4 and later is a ValueError
        if not any(given.get(field) for field in _OPTIONAL):
            raise
        return kind(**{k: v for k, v in given.items() if k not in _OPTIONAL})


def autocast(recipe: Any) -> Any:
    """Return TE's autocast context with a recipe."""
    te = _te()
    if hasattr(te, "autocast"):
        return te.autocast(enabled=True, recipe=recipe)
    return te.fp8_autocast(enabled=True, fp8_recipe=recipe)


def quantized_weights(chosen: Optional[Dict[str, Any]]) -> Any:
    """Return TE's own context for building modules with weights quantized by a recipe.

    :param chosen: the recipe's ``class`` and fields; None for weights in high precision.
    """
    if chosen is None:
        return contextlib.nullcontext()
    context = getattr(_te(), "quantized_model_init", None) or _te().fp8_model_init
    if "recipe" in inspect.signature(context).parameters:
        return context(enabled=True, recipe=make(chosen))
    return context(enabled=True)
