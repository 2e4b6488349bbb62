"""The modules and recipes that a release exports."""

import importlib
import inspect
from typing import Any, Dict, List

import torch

_BASES = ("Recipe", "FP8Recipe")
_OPERATIONS = ("Linear",)


def observe() -> Dict[str, List[str]]:
    """Return the names of the release's ``modules`` and ``recipes``, sorted.

    Modules are the classes that ``transformer_engine.pytorch`` exports, and ``ops.Linear`` where
    it exports the package ``ops``. Recipes are those of ``transformer_engine.common.recipe``.
    """
    te = importlib.import_module("transformer_engine.pytorch")
    modules = [name for name in dir(te) if _is_module(getattr(te, name))]
    operations = getattr(te, "ops", None)
    modules += ["ops." + name for name in _OPERATIONS if hasattr(operations, name)]
    return {"modules": sorted(modules), "recipes": _recipes()}


def _recipes() -> List[str]:
    recipe = importlib.import_module("transformer_engine.common.recipe")
    named = [name for name in dir(recipe) if name.endswith(("Scaling", "Recipe"))]
    return sorted(
        name for name in named if inspect.isclass(getattr(recipe, name)) and name not in _BASES
    )


def _is_module(exported: Any) -> bool:
    return inspect.isclass(exported) and issubclass(exported, torch.nn.Module)
