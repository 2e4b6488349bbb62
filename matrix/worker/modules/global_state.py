"""The state that a release keeps for all modules together."""

import importlib
from typing import Any


def find() -> Any:
    """Return the release's ``FP8GlobalStateManager``."""
    for name in ("quantization", "fp8"):
        try:
            module = importlib.import_module("transformer_engine.pytorch." + name)
            return module.FP8GlobalStateManager
        except (ImportError, AttributeError):
            continue
    raise ImportError("no FP8GlobalStateManager in this release")
