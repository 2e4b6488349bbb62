"""Where the modules of ``transformer_engine.pytorch`` keep FP8 metadata, and how they start.

Each module below ``TransformerEngineBaseModule`` has ``fp8_meta``, a mapping whose
``scaling_fwd`` and ``scaling_bwd`` hold the tensors. What these are depends on the recipe:
recipes other than delayed scaling mostly hold none. What is found counts.
"""

import inspect
from typing import Any, ContextManager, Dict, List, Optional

import torch

from matrix.worker.digest import EXTRA_STATE

DIRECTIONS = {"forward": "scaling_fwd", "backward": "scaling_bwd"}
_SUFFIXES = {"forward": "_fwd", "backward": "_bwd"}
_TENSORS = ("scale", "scale_inv", "amax_history")
Tensors = Dict[str, torch.Tensor]
Payload = Optional[Dict[str, Any]]
"""What an extra state holds, where it could be read."""


class Site:
    """One TE module that can hold FP8 metadata.

    :param path: its path in the model; empty for the model itself.
    :param name: the same for every release: for attention the path of ``DotProductAttention``
        (1.6 and 1.7 keep the state one level deeper), otherwise the path; of the model itself
        its class.
    :param module: the module.
    :param attention: whether it is part of the attention.
    """

    def __init__(self, path: str, name: str, module: Any, attention: bool) -> None:
        self.path = path
        self.name = name
        self.module = module
        self.attention = attention

    @property
    def key(self) -> str:
        """Key of its extra state in the state dict."""
        return self.path + "." + EXTRA_STATE if self.path else EXTRA_STATE

    @property
    def gemms(self) -> int:
        """Number of matrix multiplications that the module declares to ``prepare_forward``."""
        if self.attention:
            # DotProductAttention.forward (1.6, 1.7: FusedAttention.forward) asks for 3.
            return 3
        if type(self.module).__name__ == "LayerNormMLP":
            return 2
        # GroupedLinear.forward asks for its number of matrices, all others for 1.
        return int(getattr(self.module, "num_gemms", 1))

    def modes(self) -> Dict[str, str]:
        """Return the direction of each group of slots: here one per direction."""
        return {direction: direction for direction in DIRECTIONS}

    def holder(self, mode: str) -> Any:
        """Return what holds the tensors of a mode; None where there is nothing yet."""
        return self.module.fp8_meta.get(DIRECTIONS[mode])

    def quantizers(self, mode: str) -> List[Any]:
        """Return the quantizers of a mode, one per slot; none up to 1.14."""
        return list(getattr(self.module, "quantizers", {}).get(DIRECTIONS[mode]) or [])

    def recipe(self) -> Any:
        """Return the recipe that the module holds; None if it has none yet."""
        return self.module.fp8_meta.get("recipe")

    def tensors(self) -> Tensors:
        """Return the float32 metadata tensors themselves by name, e.g. ``forward.scale``."""
        found = {}
        for mode in self.modes():
            holder = self.holder(mode)
            for name in _TENSORS:
                value = getattr(holder, name, None)
                if isinstance(value, torch.Tensor):
                    found[mode + "." + name] = value
        return found

    def in_use(self) -> Tensors:
        """Return :meth:`tensors` with the values that the kernels receive.

        From 2.0 on these come from quantizers, one per slot, which should be views of them.
        """
        found = self.tensors()
        for mode in self.modes():
            scale, history = mode + ".scale", mode + ".amax_history"
            quantizers = self.quantizers(mode)
            # Quantizers of other recipes have no slots in these tensors.
            viewed = scale in found and len(quantizers) == len(found[scale])
            if not viewed or not all(hasattr(held, "amax") for held in quantizers):
                continue
            found[scale] = _row(found[scale], [held.scale for held in quantizers])
            newest = _row(found[history][0], [held.amax for held in quantizers])
            found[history] = torch.cat([newest[None], found[history][1:]])
        return found

    def amax_slots(self, direction: str) -> List[torch.Tensor]:
        """Return where kernels write amaxes: in the quantizers, where there are any."""
        slots: List[torch.Tensor] = []
        for mode in [mode for mode, its in self.modes().items() if its == direction]:
            quantizers = self.quantizers(mode)
            history = self.tensors().get(mode + ".amax_history")
            if quantizers:
                slots += [held.amax for held in quantizers if hasattr(held, "amax")]
            elif history is not None:
                slots += list(history[0])
        return slots

    def saved(self, payload: Payload, name: str) -> Any:
        """Return what an extra state holds for one of :meth:`tensors`; None for nothing."""
        mode, _, tensor = name.partition(".")
        group = self.group(payload, mode)
        return group.get(tensor + _SUFFIXES[self.modes()[mode]])

    def group(self, payload: Payload, mode: str) -> Dict[str, Any]:
        """Return the part of an extra state that is about a mode: here all of it."""
        return payload or {}

    def saved_recipe(self, payload: Payload) -> Any:
        """Return the recipe that an extra state holds; None for none, as up to 1.14."""
        return (payload or {}).get("recipe")

    def forward(self, hidden_size: int) -> ContextManager[Any]:
        """Run what TE runs around the forward pass of the module, without its kernels.

        That is ``TransformerEngineBaseModule.prepare_forward``, which initialises the FP8
        metadata if necessary and registers it for amax reduction.
        """
        # From 2.16 the context manager has a name of its own.
        prepare = getattr(self.module, "prepare_forward_ctx", None) or self.module.prepare_forward
        known = inspect.signature(prepare).parameters
        options = {"num_gemms": self.gemms, "is_first_microbatch": None}
        inp = torch.ones(16, hidden_size, dtype=torch.bfloat16, device="cuda")
        context: ContextManager[Any] = prepare(
            inp, **{k: v for k, v in options.items() if k in known}
        )
        return context

    def read_before_update(self) -> None:
        """Have the next :meth:`forward` leave the metadata as it was loaded.

        Releases up to 1.5 begin a forward pass with the update that later ones end the step
        before with, if the checkpoint says that it is due (``update_amax_and_scale_fwd`` in
        ``prepare_forward``, pytorch/module/base.py). It is computed from what was loaded.
        """
        self.module.fp8_meta.pop("update_amax_and_scale_fwd", None)


def _row(held: torch.Tensor, slots: List[torch.Tensor]) -> torch.Tensor:
    """Return a copy of ``held`` whose first values are those of the slots."""
    values = held.detach().clone()
    for place, slot in enumerate(slots):
        values[place] = slot
    return values
