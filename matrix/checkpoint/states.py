"""FP8 extra states, decoded from their pickles without executing them.

A Transformer Engine module saves an extra state under ``<module>._extra_state``: up to 1.13 an
``io.BytesIO`` with a ``torch.save`` file in it, from 1.14 on a byte tensor with a pickle. Modules
of other libraries may save one too, of any type, under such a key: it is foreign.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping

from matrix.catalogue.state_keys import CORE_ATTENTION, WRAPPERS
from matrix.checkpoint import casts, limits, metadata, names, nodes, objects, torchfile
from matrix.checkpoint.errors import Malformed, Refused
from matrix.checkpoint.limits import Budget
from matrix.checkpoint.metadata import MetadataTensor
from matrix.checkpoint.nodes import Node
from matrix.checkpoint.objects import TensorRef
from matrix.checkpoint.torchfile import TorchFile
from matrix.checkpoint.words import Holds, StateContainer

KEY = re.compile(r"(?:^|\.)_extra_state(?P<shard>/shard_[\d._]+)?$")
TENSORS = ("scale", "scale_inv", "amax_history")
DIRECTIONS = ("fwd", "bwd")
REGISTRATION = "buffer_index_and_autocast_key"
FUSED_ATTENTION = "fused_attention"
_FIELDS = frozenset(
    {
        *(f"{what}_{way}" for what in TENSORS for way in DIRECTIONS),
        *("recipe", "extra_fp8_variables", "global_fp8_buffer", "global_fp8_state"),
    }
)
"""Top-level fields of the states of modules: ``get_extra_state`` in ``pytorch/module/base.py``."""
MODES = {
    "forward": "fwd",
    "backward": "bwd",
    "input": "fwd",
    "param": "fwd",
    "grad_output": "bwd",
}
"""Those of the states of operations, each a dict or None, with the direction of its tensors:
the same in ``pytorch/ops/op.py``. The last three are 1.13's and 1.14's."""
STARTS = (b"PK\x03\x04", *(bytes((0x80, protocol)) for protocol in range(2, 6)))
"""How the content of a state begins: ``torch.save`` writes a zip archive, ``pickle.dumps`` an
opcode with the protocol. What begins otherwise is not damaged but of another kind."""


@dataclasses.dataclass(frozen=True)
class ExtraState:
    """One module's extra state."""

    key: str
    """Its key in the checkpoint."""
    file: str
    """The file that contains it, relative to the checkpoint."""
    container: StateContainer | str
    """What Transformer Engine saved it in; the type as text if it is none of those."""
    fields: dict[str, Node] | None = None
    """Its top-level fields, inert; None where the module was saved without FP8 state."""
    tensors: dict[str, MetadataTensor] = dataclasses.field(default_factory=dict)
    """The metadata by field, e.g. ``scale_fwd``; that of an operation by mode and field, e.g.
    ``forward.scale_fwd``."""
    problem: str = ""
    """Why it could not be decoded; empty if it could."""
    inside: str = ""
    """Path to the state dict that contains it within the file, e.g. ``model``."""
    index: str = ""
    """The index file of the distributed checkpoint that contains it; empty in other formats."""
    sized: bool = False
    """Whether that checkpoint lists it as a tensor, which PyTorch reads into one of its size."""
    size: int = 0
    """Number of bytes, where it is a tensor."""
    in_list: bool = False
    """Whether it is the only item of a list, as Megatron-LM's ``torch_dist`` stores objects."""
    cast: str = ""
    """What a byte tensor was turned into on its way: the element type that it was cast to, e.g.
    ``bfloat16``, or the type as text of a value that is no tensor; empty if it was not. The content
    is decoded all the same, as that can be undone exactly."""
    foreign: bool = False
    """Whether it is not Transformer Engine's but another library's, or the user's. What lies
    where attention keeps its state never is: whatever it is, a release reads it as its own."""

    @property
    def part(self) -> str:
        """The part of the layout that it was read from: the index, or else ``file``."""
        return self.index or self.file

    @property
    def module(self) -> str:
        """The module's path in the model."""
        return KEY.sub("", self.key) or "(top)"

    @property
    def shard(self) -> bool:
        """Whether it is one of several under one name, as Megatron-LM numbers those of layers."""
        match = KEY.search(self.key)
        return match is not None and match["shard"] is not None

    @property
    def unwrapped(self) -> str:
        """The module's path without the names that wrappers such as FSDP add."""
        return ".".join(unwrapped(self.key))

    @property
    def attention(self) -> bool:
        """Whether the module is an attention core, or inside one."""
        return is_attention(self.key)

    @property
    def modes(self) -> dict[str, dict[str, Node]]:
        """The fields of each mode of an operation; of a module its own fields, under ``""``."""
        if self.fields is None:
            return {}
        if not self.operation:
            return {"": self.fields}
        return {mode: objects.fields(self.fields[mode]) or {} for mode in _modes(self.fields)}

    @property
    def operation(self) -> bool:
        """Whether it is the state of an operation, with a dict for each mode."""
        return self.fields is not None and bool(_modes(self.fields))

    @property
    def extra(self) -> dict[str, Node]:
        """The variables in the state other than tensors and recipe, by name."""
        found: dict[str, Node] = {}
        for fields in self.modes.values():
            found |= objects.fields(fields.get("extra_fp8_variables")) or {}
        return found

    @property
    def recipe(self) -> Node:
        """The recipe that it holds, inert; None where it holds none, as up to 1.14."""
        held = (fields.get("recipe") for fields in self.modes.values())
        return next((recipe for recipe in held if recipe is not None), None)

    @property
    def holds(self) -> Holds:
        """What a loader that resets the state would lose."""
        if self.problem:
            return Holds.UNREADABLE
        if self.fields is None or not self.tensors:
            return Holds.NOTHING
        return Holds.DEFAULTS if self._default else Holds.METADATA

    @property
    def _default(self) -> bool:
        """Whether every scale is 1 and every amax 0, so that a reset loses nothing."""
        return all(
            values.all(0.0 if "amax" in name else 1.0) for name, values in self.tensors.items()
        )


def is_state(key: Node) -> bool:
    """Return whether a key of a checkpoint is that of an extra state."""
    return isinstance(key, str) and KEY.search(key) is not None


def is_attention(key: str) -> bool:
    """Return whether the key of an extra state is that of an attention core."""
    parts = unwrapped(key)
    return CORE_ATTENTION in parts or parts[-1:] == [FUSED_ATTENTION]


def unwrapped(key: str) -> list[str]:
    """Return the names in the path of the module of a key, without those of wrappers."""
    return [name for name in KEY.sub("", key).split(".") if name not in WRAPPERS]


def container_of(value: Node) -> StateContainer | str:
    """Return the container of an extra state, or its type as text."""
    if value is None:
        return StateContainer.NONE
    if objects.buffer_of(value) is not None:
        return StateContainer.BYTES_IO
    tensor = objects.tensor(value)
    return of_tensor(tensor.dtype, tensor.count) if tensor else objects.describe(value)


def _size(value: Node) -> int:
    tensor = objects.tensor(value)
    return tensor.count * tensor.itemsize if tensor else 0


def of_tensor(dtype: str, count: int) -> StateContainer | str:
    """Return the container of an extra state that is a tensor, or its type as text."""
    if dtype == "uint8":
        return StateContainer.BYTE_TENSOR if count else StateContainer.EMPTY_TENSOR
    if count:
        return f"{dtype} tensor"
    return StateContainer.EMPTY_FLOATS if dtype == "float32" else f"empty {dtype} tensor"


def _uncast(state: ExtraState, tensor: TensorRef, source: TorchFile) -> ExtraState | None:
    """Return the state that a tensor of another type than bytes was cast from, or None."""
    if tensor.dtype not in casts.CASTS or not tensor.contiguous:
        return None
    try:
        data = source.storage(tensor, limits.STATE_BYTES)
    except Refused:
        raise
    except Malformed:
        return None
    return of_cast(state, tensor.dtype, data, source.budget)


def of_cast(state: ExtraState, dtype: str, data: bytes, budget: Budget) -> ExtraState | None:
    """Decode a byte tensor that was cast to another element type.

    :param state: the state as far as it is known: key and place.
    :param data: the elements of the tensor, little-endian.
    :returns: None if it was not cast from the content of an extra state.
    """
    start = casts.undone(dtype, data[: 8 * casts.size(dtype)]) if dtype in casts.CASTS else None
    if start is None or not start.startswith(STARTS):
        return None
    budget.spend(len(data))
    content = casts.undone(dtype, data)
    if content is None:
        return None
    state = dataclasses.replace(state, container=StateContainer.BYTE_TENSOR, cast=dtype)
    return of_content(state, content, budget)


def decode(key: str, file: str, value: Node, source: TorchFile) -> ExtraState:
    """Decode one extra state; ``problem`` says why, if it cannot be decoded.

    :param value: the state's value in the checkpoint.
    :param source: the file that contains it and its storages.
    """
    in_list = isinstance(value, list) and len(value) == 1
    if in_list:
        (value,) = value
    state = ExtraState(key, file, container_of(value), size=_size(value), in_list=in_list)
    match state.container:
        case StateContainer.BYTES_IO:
            return of_content(state, objects.buffer_of(value) or b"", source.budget)
        case StateContainer.BYTE_TENSOR:
            try:
                data = _bytes(value, source)
            except Refused:
                raise
            except Malformed as error:
                return dataclasses.replace(state, problem=str(error))
            return of_content(state, data, source.budget)
        case StateContainer.EMPTY_TENSOR | StateContainer.EMPTY_FLOATS | StateContainer.NONE:
            return state
        case kind:
            return _of_another_type(state, kind, value, source)


def _of_another_type(state: ExtraState, kind: str, value: Node, source: TorchFile) -> ExtraState:
    """Decode a value in a container that Transformer Engine does not use."""
    if (tensor := objects.tensor(value)) is not None:
        source.look_into(tensor)
        if not tensor.count:
            return state
        if uncast := _uncast(state, tensor, source):
            return uncast
    elif kind == _ON_META:
        why = "it is on the device meta, without content"
        return dataclasses.replace(state, container="tensor on the device meta", problem=why)
    elif kind.startswith(("torch._utils._rebuild", "torch._tensor._rebuild")):
        raise Refused(f"the extra state {state.key} is a tensor of an unusual kind: {kind}")
    if (found := objects.bytes_in(value)) and found[1].startswith(STARTS):
        what, content = found
        is_file = content.startswith(STARTS[0])
        container = StateContainer.BYTES_IO if is_file else StateContainer.BYTE_TENSOR
        state = dataclasses.replace(state, container=container, cast=what)
        return of_content(state, content, source.budget)
    return other(state, foreign=_is_foreign(value))


_ON_META = "torch._utils._rebuild_meta_tensor_no_storage"


def other(state: ExtraState, *, foreign: bool) -> ExtraState:
    """Return a state that is in none of the containers that Transformer Engine uses."""
    why = f"a {state.container} is no extra state that TE writes"
    return dataclasses.replace(state, problem=why, foreign=foreign and not state.attention)


def _is_foreign(value: Node) -> bool:
    """Return whether a value is of a type that no release of Transformer Engine saves.

    A tensor that is rebuilt in a way that is not known here is not certainly one.
    """
    if objects.tensor(value):
        return True
    torch = isinstance(value, nodes.Call) and str(value.function).startswith("torch.")
    return not torch and names.te_class(value) is None


def _bytes(value: Node, source: TorchFile) -> bytes:
    tensor = objects.tensor(value)
    assert tensor is not None
    return source.storage(tensor, limits.STATE_BYTES)


def of_content(state: ExtraState, data: bytes, budget: Budget) -> ExtraState:
    """Decode the content of a buffer or byte tensor; ``problem`` says why if that fails.

    :param state: the state as far as it is known: key, place and container.
    :param data: a ``torch.save`` file from a buffer, a pickle from a byte tensor.
    """
    try:
        if state.container == StateContainer.BYTE_TENSOR:
            return _decoded(state, torchfile.read_pickle(data, budget).root, None, budget)
        if not data:
            raise Malformed("an empty BytesIO")
        inner = torchfile.of_bytes(data, budget)
        return _decoded(state, inner.root, inner, budget)
    except Refused:
        raise
    except Malformed as error:
        # Zeros are what a lost block of a file reads as, so they may have been anything.
        other = not data.startswith(STARTS) and any(data[:4096])
        return dataclasses.replace(state, problem=str(error), foreign=other and not state.attention)


def _decoded(state: ExtraState, root: Node, source: TorchFile | None, budget: Budget) -> ExtraState:
    """Return a state with the content of its pickle."""
    if root is None:
        return state
    fields = objects.fields(root)
    if fields is None or (fields and not _has_field_of_te(fields)):
        kind = objects.describe(root) if fields is None else "a dict without a field of TE's"
        problem = f"its pickle holds {kind}"
        return dataclasses.replace(state, problem=problem, foreign=not state.attention)
    state = dataclasses.replace(state, fields=fields)
    tensors = {
        f"{mode}.{name}".lstrip("."): metadata.values(held[name], source, budget)
        for mode, held in state.modes.items()
        for name in (f"{what}_{way}" for what in TENSORS for way in DIRECTIONS)
        if name in held
    }
    return dataclasses.replace(state, tensors=tensors)


def _has_field_of_te(fields: Mapping[str, Node]) -> bool:
    return bool(fields.keys() & _FIELDS or _modes(fields))


def _modes(fields: Mapping[str, Node]) -> list[str]:
    """Return the modes of an operation's state; none of any other state."""
    return [
        mode
        for mode in MODES
        if mode in fields and (fields[mode] is None or objects.pairs_of(fields[mode]) is not None)
    ]
