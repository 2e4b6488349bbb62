"""FP8 extra states, decoded from their pickles without executing them.

A Transformer Engine module saves an extra state under ``<module>._extra_state``: up to 1.13 an
``io.BytesIO`` with a ``torch.save`` file in it, from 1.14 on a byte tensor with a pickle. Modules
of other libraries may save one too, of any type, under such a key: it is foreign.
"""

from __future__ import annotations

import array
import dataclasses
import re
import struct
from collections.abc import Mapping

from matrix.catalogue.state_keys import CORE_ATTENTION, WRAPPERS
from matrix.checkpoint import limits, names, nodes, objects, torchfile
from matrix.checkpoint.errors import Malformed, Refused
from matrix.checkpoint.limits import Budget
from matrix.checkpoint.nodes import Node
from matrix.checkpoint.objects import TensorRef
from matrix.checkpoint.torchfile import TorchFile
from matrix.checkpoint.words import Holds, StateContainer

KEY = re.compile(r"(?:^|\.)_extra_state(?P<shard>/shard_[\d._]+)?$")
TENSORS = ("scale", "scale_inv", "amax_history")
DIRECTIONS = ("fwd", "bwd")
REGISTRATION = "buffer_index_and_autocast_key"
FUSED_ATTENTION = "fused_attention"
_FLOATS = {"float32": "f", "float64": "d", "float16": "e"}
_FIELDS = frozenset(
    {
        *(f"{what}_{way}" for what in TENSORS for way in DIRECTIONS),
        *("recipe", "extra_fp8_variables", "global_fp8_buffer", "global_fp8_state"),
    }
)
"""Top-level fields of the states of modules: ``get_extra_state`` in ``pytorch/module/base.py``."""
_MODES = frozenset({"forward", "backward", "input", "param", "grad_output"})
"""Those of the states of operations, each a dict: the same in ``pytorch/ops/op.py``."""
STARTS = (b"PK\x03\x04", *(bytes((0x80, protocol)) for protocol in range(2, 6)))
"""How the content of a state begins: ``torch.save`` writes a zip archive, ``pickle.dumps`` an
opcode with the protocol. What begins otherwise is not damaged but of another kind."""


@dataclasses.dataclass(frozen=True)
class MetadataTensor:
    """One tensor of FP8 metadata, such as the forward scales."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes
    """The elements as bytes, little-endian."""

    @property
    def count(self) -> int:
        """Number of elements."""
        return len(self.data) // struct.calcsize(_FLOATS[self.dtype])

    @property
    def numbers(self) -> tuple[float, ...]:
        """The elements as numbers, which take eight times the memory of ``data``."""
        return struct.unpack(f"<{self.count}{_FLOATS[self.dtype]}", self.data)

    def all(self, number: float) -> bool:
        """Return whether every element equals ``number``."""
        return all(value == number for value in self.numbers)


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
    """The metadata by field, e.g. ``scale_fwd``."""
    problem: str = ""
    """Why it could not be decoded; empty if it could."""
    inside: str = ""
    """Path to the state dict that contains it within the file, e.g. ``model``."""
    index: str = ""
    """The index file of the distributed checkpoint that contains it; empty in other formats."""
    size: int = 0
    """Number of bytes, where it is a tensor."""
    in_list: bool = False
    """Whether it is the only item of a list, as Megatron-LM's ``torch_dist`` stores objects."""
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
    def unwrapped(self) -> str:
        """The module's path without the names that wrappers such as FSDP add."""
        return ".".join(unwrapped(self.key))

    @property
    def attention(self) -> bool:
        """Whether the module is an attention core, or inside one."""
        return is_attention(self.key)

    @property
    def extra(self) -> dict[str, Node]:
        """The variables in the state other than tensors and recipe, by name."""
        return objects.fields((self.fields or {}).get("extra_fp8_variables")) or {}

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
            values.all(0.0 if name.startswith("amax") else 1.0)
            for name, values in self.tensors.items()
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
    if dtype != "uint8":
        return f"{dtype} tensor" if count else f"empty {dtype} tensor"
    return StateContainer.BYTE_TENSOR if count else StateContainer.EMPTY_TENSOR


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
        case StateContainer.EMPTY_TENSOR | StateContainer.NONE:
            return state
        case kind:
            if (tensor := objects.tensor(value)) is not None:
                source.look_into(tensor)
            elif kind.startswith(("torch._utils._rebuild", "torch._tensor._rebuild")):
                raise Refused(f"the extra state {key} is a tensor of an unusual kind: {kind}")
            return other(state, foreign=_is_foreign(value))


def other(state: ExtraState, *, foreign: bool) -> ExtraState:
    """Return a state that is in none of the containers that Transformer Engine uses."""
    why = f"a {state.container} is no extra state that TE writes"
    return dataclasses.replace(state, problem=why, foreign=foreign and not state.attention)


def _is_foreign(value: Node) -> bool:
    """Return whether a value is of a type that no release of Transformer Engine saves.

    An empty tensor of another type than bytes is not certainly one: norms of 1.13 save that.
    Neither is a tensor that is rebuilt in a way that is not known here.
    """
    if tensor := objects.tensor(value):
        return bool(tensor.count)
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
    tensors = {
        name: values(fields[name], source, budget)
        for name in (f"{what}_{way}" for what in TENSORS for way in DIRECTIONS)
        if name in fields
    }
    return dataclasses.replace(state, fields=fields, tensors=tensors)


def _has_field_of_te(fields: Mapping[str, Node]) -> bool:
    modes = fields.keys() & _MODES
    return bool(fields.keys() & _FIELDS) or any(
        fields[mode] is None or objects.pairs_of(fields[mode]) is not None for mode in modes
    )


def values(node: Node, source: TorchFile | None, budget: Budget) -> MetadataTensor:
    """Return a metadata tensor with its elements.

    :param source: the file with its storage, unless that is inside the pickle.
    :raises Malformed: it is no tensor of floating-point numbers, or its storage is missing.
    """
    tensor = objects.tensor(node)
    if tensor is None:
        raise Malformed("a scale or amax history is not a tensor")
    if isinstance(tensor.storage, bytes):
        tensor, source = _in_place(tensor, tensor.storage, budget)
    if source is None or tensor.dtype not in _FLOATS or not tensor.contiguous:
        raise Malformed("a scale or amax history is not a plain tensor of numbers")
    data = source.storage(tensor, limits.STATE_BYTES)
    budget.spend(len(data))
    if not source.little:
        swapped = array.array(_FLOATS[tensor.dtype].replace("e", "H"), data)
        swapped.byteswap()
        data = swapped.tobytes()
    return MetadataTensor(tensor.dtype, tensor.shape, data)


def _in_place(tensor: TensorRef, content: bytes, budget: Budget) -> tuple[TensorRef, TorchFile]:
    """Return a tensor whose storage is inside the pickle, and the file that this storage is."""
    inner = torchfile.of_bytes(content, budget)
    storage = inner.root
    if isinstance(storage, nodes.Call) and storage.arguments:
        # From PyTorch 2 on, a TypedStorage wraps the untyped one as argument or attribute.
        storage = next((n for n in nodes.every(storage) if isinstance(n, nodes.Persistent)), None)
    kind = objects.element(storage) if isinstance(storage, nodes.Persistent) else None
    if kind is None:
        raise Malformed("a storage pickled in place is not one")
    return dataclasses.replace(tensor, storage=storage, dtype=kind[0], itemsize=kind[1]), inner
