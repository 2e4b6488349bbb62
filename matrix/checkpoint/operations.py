"""Metadata of operations, whose extra states have a dict for each mode (``pytorch/ops/op.py``).

1.13 and 1.14 have the modes ``input``, ``param`` and ``grad_output`` with one slot each, later
releases ``forward``, with a slot for the input and one for the parameter, and ``backward``.
"""

from __future__ import annotations

import dataclasses
import struct

from matrix.checkpoint import dropping
from matrix.checkpoint.errors import CheckpointError
from matrix.checkpoint.metadata import MetadataTensor
from matrix.checkpoint.states import ExtraState

_OLD = ("input", "param")
_ELEMENT = struct.calcsize("f")
Metadata = dict[str, MetadataTensor]


def is_old(state: ExtraState) -> bool:
    """Return whether the state of an operation has the modes of 1.13 and 1.14."""
    return any(mode in (state.fields or {}) for mode in (*_OLD, "grad_output"))


def merged(state: ExtraState) -> Metadata:
    """Return scales and amax histories of an operation by mode and field, e.g.
    ``forward.scale_fwd``, in the modes of 2.0 and later.

    :raises CheckpointError: its tensors do not fit together.
    """
    if not is_old(state):
        return {name: t for name, t in state.tensors.items() if "scale_inv" not in name}
    found: Metadata = {}
    for field in ("scale_fwd", "amax_history_fwd"):
        parts = [state.tensors[f"{m}.{field}"] for m in _OLD if f"{m}.{field}" in state.tensors]
        if parts:
            found[f"forward.{field}"] = _beside(state.key, parts)
    for field in ("scale_bwd", "amax_history_bwd"):
        if f"grad_output.{field}" in state.tensors:
            found[f"backward.{field}"] = state.tensors[f"grad_output.{field}"]
    return found


def split(state: ExtraState) -> Metadata:
    """Return scales and amax histories of an operation in the modes of 1.13 and 1.14.

    :raises CheckpointError: it has other slots than one for the input and one for the parameter.
    """
    found: Metadata = {}
    for name, tensor in merged(state).items():
        mode, _, field = name.partition(".")
        if mode == "backward":
            found[f"grad_output.{field}"] = tensor
            continue
        if not tensor.shape or tensor.shape[-1] != len(_OLD):
            raise _unfit(state.key, f"{name} has the shape {tensor.shape}")
        for place, old in enumerate(_OLD):
            found[f"{old}.{field}"] = _column(tensor, place)
    return found


def _beside(key: str, parts: list[MetadataTensor]) -> MetadataTensor:
    """Return tensors joined along their last dimension, as float32."""
    rows = {part.shape[:-1] for part in parts}
    if len(rows) != 1 or not all(part.shape for part in parts):
        raise _unfit(key, "its modes have histories of different lengths")
    (lead,) = rows
    count = lead[0] if lead else 1
    numbers = [part.numbers for part in parts]
    widths = [part.shape[-1] for part in parts]
    joined = [
        values[row * width : (row + 1) * width]
        for row in range(count)
        for values, width in zip(numbers, widths, strict=True)
    ]
    flat = [number for row in joined for number in row]
    return MetadataTensor("float32", (*lead, sum(widths)), struct.pack(f"<{len(flat)}f", *flat))


def _column(tensor: MetadataTensor, place: int) -> MetadataTensor:
    """Return one slot of a tensor, which keeps its dimensions."""
    width = tensor.shape[-1]
    size = len(tensor.data) // tensor.count if tensor.count else _ELEMENT
    starts = range(place * size, len(tensor.data), width * size)
    data = b"".join(tensor.data[start : start + size] for start in starts)
    return dataclasses.replace(tensor, shape=(*tensor.shape[:-1], 1), data=data)


def _unfit(key: str, what: str) -> CheckpointError:
    return CheckpointError(
        f"the extra state {key} cannot be put into the modes of another release: {what}",
        why="it is of an operation with other slots than a linear one has",
        do=dropping.ADVICE,
    )
