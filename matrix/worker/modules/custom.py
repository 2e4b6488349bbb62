"""Quantizer factories for ``CustomRecipe``, as a user writes them.

An extra state that holds the recipe refers to its factory by module and name, so that this
module stands for the user's own, which a loader can import as the saver could.
"""

import importlib
from typing import Any


def current_scaling(_role: Any) -> Any:
    """Return a quantizer of current scaling, whatever it is for.

    :param _role: a text in 2.9 to 2.15, a ``QuantizerRole`` from 2.16 on.
    """
    te = importlib.import_module("transformer_engine.pytorch")
    types = importlib.import_module("transformer_engine_torch").DType
    return te.Float8CurrentScalingQuantizer(types.kFloat8E4M3, "cuda")
