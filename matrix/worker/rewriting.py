"""Changes to a state dict between ``torch.load`` and ``load_state_dict``.

``remap`` is the FAQ's key mapping. The others are for controls: damage that a loader must
notice. ``twice`` and ``whole`` leave the state dict as it is.
"""

import copy
import io
from typing import Any, Callable, Dict

import torch

from matrix.worker.digest import EXTRA_STATE

_ATTENTION = "core_attention"
_OLD = _ATTENTION + ".fused_attention." + EXTRA_STATE
_NEW = _ATTENTION + "." + EXTRA_STATE

State = Dict[str, Any]


def with_entries(state: State, entries: State) -> State:
    """Return a state dict like another, with the versions of modules that PyTorch keeps in it."""
    made = copy.copy(state)
    made.clear()
    made.update(entries)
    return made


def remap(state: State) -> State:
    """Move every 1.6/1.7 attention key to where 1.8 and later keep it.

    The FAQ's snippet cannot run as printed, because it assigns the result of a ``del``
    statement. This is what it means.
    """
    moved = {
        (key[: -len(_OLD)] + _NEW if key.endswith(_OLD) else key): value
        for key, value in state.items()
    }
    return with_entries(state, moved)


def add_unknown_key(state: State) -> State:
    """Add a key that no release can know."""
    unknown = {"te_matrix_control.unknown_7f3a": torch.zeros(1)}
    return with_entries(state, dict(state, **unknown))


def truncate_payload(state: State) -> State:
    """Cut every extra state to half its bytes, attention's among them."""
    cut = {k: _cut(v) if k.endswith(EXTRA_STATE) else v for k, v in state.items()}
    return with_entries(state, cut)


def empty_payload(state: State) -> State:
    """Replace every extra state by an empty one of the same kind."""
    emptied = {k: _emptied(v) if k.endswith(EXTRA_STATE) else v for k, v in state.items()}
    return with_entries(state, emptied)


def _cut(value: Any) -> Any:
    if isinstance(value, io.BytesIO):
        data = value.getvalue()
        return io.BytesIO(data[: len(data) // 2])
    if isinstance(value, torch.Tensor):
        return value[: value.numel() // 2].clone()
    # Of no container that releases have used: a candidate's.
    return dict(list(value.items())[: len(value) // 2]) if isinstance(value, dict) else None


def _emptied(value: Any) -> Any:
    if isinstance(value, io.BytesIO):
        return io.BytesIO()
    if isinstance(value, torch.Tensor):
        return torch.empty(0, dtype=torch.uint8)
    return {} if isinstance(value, dict) else None


REWRITES: Dict[str, Callable[[State], State]] = {
    "remap": remap,
    "unknown-key": add_unknown_key,
    "truncated": truncate_payload,
    "empty": empty_payload,
}

WHOLE = "whole"
"""Has a distributed checkpoint read by its own index, and not into the entries of the model."""

CALLS = {"twice": 2}
"""How often ``load_state_dict`` is called, if not once. Up to 1.6 weights are quantized while the
module's scales are still those that it was built with; in a second call they are the state
dict's (``Float8Tensor.__torch_dispatch__`` in ``pytorch/float8_tensor.py``)."""
