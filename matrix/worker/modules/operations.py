"""Where the operations of ``transformer_engine.pytorch.ops`` keep FP8 metadata.

Each below ``BasicOperation`` has ``_fp8_metas``, one mapping for each mode: 1.13 and 1.14 have
the modes ``input``, ``param`` and ``grad_output``, later releases ``forward`` and ``backward``.
``OperationFuser`` (pytorch/ops/fuser.py) starts FP8 before it runs operations.
"""

import contextlib
from typing import Any, ContextManager, Dict, List

from matrix.worker.modules import global_state
from matrix.worker.modules.sites import DIRECTIONS, Payload, Site

_MODES = {
    "forward": "forward",
    "backward": "backward",
    "input": "forward",
    "param": "forward",
    "grad_output": "backward",
}


def is_operation(module: Any) -> bool:
    """Tell whether a module is a basic operation that has slots for FP8 metadata."""
    count = _slots(module)
    return count is not None and any(map(count, _MODES))


def _slots(module: Any) -> Any:
    """Return the function that tells the number of slots of a mode; None if it has none."""
    if not hasattr(module, "_fp8_metas"):
        return None
    return getattr(module, "num_quantizers", None) or getattr(module, "num_fp8_scales", None)


class OperationSite(Site):
    """A basic operation that can hold FP8 metadata."""

    def modes(self) -> Dict[str, str]:
        """Return the direction of each mode that the operation has slots for."""
        count = _slots(self.module)
        return {mode: direction for mode, direction in _MODES.items() if count(mode)}

    def _meta(self, mode: str) -> Dict[str, Any]:
        metas = self.module._fp8_metas or {}
        return metas.get(mode) or {}

    def holder(self, mode: str) -> Any:
        """Return what holds the tensors of a mode; None where there is nothing yet."""
        return self._meta(mode).get(DIRECTIONS[_MODES[mode]])

    def quantizers(self, mode: str) -> List[Any]:
        """Return the quantizers of a mode, one per slot; none up to 1.14."""
        return list((getattr(self.module, "_quantizers", None) or {}).get(mode) or [])

    def recipe(self) -> Any:
        """Return the recipe that the operation holds; None if it has none yet."""
        held = [self._meta(mode).get("recipe") for mode in self.modes()]
        return next((recipe for recipe in held if recipe is not None), None)

    def group(self, payload: Payload, mode: str) -> Dict[str, Any]:
        """Return the part of an extra state that is about a mode."""
        return (payload or {}).get(mode) or {}

    def saved_recipe(self, payload: Payload) -> Any:
        """Return the recipe that an extra state holds; None for none, as up to 2.2.1."""
        groups = [self.group(payload, mode) for mode in self.modes()]
        return next((group["recipe"] for group in groups if "recipe" in group), None)

    def forward(self, hidden_size: int) -> ContextManager[Any]:
        """Do what ``OperationFuser`` does before an operation's forward pass.

        That is ``pre_forward`` up to 2.5 and ``pre_first_forward`` in 2.6. From 2.7 on
        ``maybe_fuse_ops`` calls ``reset_recipe_state``, which initialises the metadata if
        necessary and registers it, and ``pre_first_fuser_forward``; from 2.8 on the forward
        pass calls ``pre_fuser_forward``.
        """
        operation, recipe = self.module, global_state.find().get_fp8_recipe()
        if hasattr(operation, "reset_recipe_state"):
            operation.reset_recipe_state(recipe=recipe)
            operation.pre_first_fuser_forward()
            if hasattr(operation, "pre_fuser_forward"):
                operation.pre_fuser_forward(requires_grad=True)
        elif hasattr(operation, "pre_first_forward"):
            operation.pre_first_forward(recipe=recipe)
        else:
            operation.pre_forward()
        return contextlib.nullcontext()

    def read_before_update(self) -> None:
        """Do nothing: no operation begins a forward pass with an update."""
