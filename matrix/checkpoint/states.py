"""FP8 extra states: what one holds, decoded from its own pickle without running it.

A Transformer Engine module saves one under ``<module>._extra_state``: up to 1.13 an
``io.BytesIO`` with a ``torch.save`` file in it, from 1.14 on a byte tensor with a pickle.
"""

from __future__ import annotations

import dataclasses
import re
import struct

from matrix.checkpoint import limits, nodes, objects, pickles, torchfile
from matrix.checkpoint.errors import Malformed
from matrix.checkpoint.limits import Budget
from matrix.checkpoint.nodes import Node
from matrix.checkpoint.objects import TensorRef
from matrix.checkpoint.torchfile import TorchFile
from matrix.checkpoint.words import Holds, StateContainer

KEY = re.compile(r"(?:^|\.)_extra_state(?P<shard>/shard_[\d._]+)?$")
TENSORS = ("scale", "scale_inv", "amax_history")
DIRECTIONS = ("fwd", "bwd")
REGISTRATION = "buffer_index_and_autocast_key"
_FLOATS = {"float32": "f", "float64": "d", "float16": "e"}


@dataclasses.dataclass(frozen=True)
class MetadataTensor:
    """One metadata tensor: its shape, its elements as they lie in the file, and as numbers."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes
    numbers: tuple[float, ...]

    def all(self, number: float) -> bool:
        """Tell whether every element is ``number``."""
        return all(value == number for value in self.numbers)


@dataclasses.dataclass(frozen=True)
class ExtraState:
    """One module's extra state.

    :param key: its key in the checkpoint; ``file`` is the file that it lies in, relative
        to the checkpoint.
    :param container: what Transformer Engine saves it in, or what it is instead.
    :param fields: top-level fields of the state, inert; None where the module had no FP8
        state, which is saved too.
    :param tensors: the metadata by field, e.g. ``scale_fwd``.
    :param problem: why it could not be decoded, if it could not.
    :param strangers: classes and functions that its pickle names and that neither rebuild
        tensors nor are Transformer Engine's; ``classes`` are the latter.
    :param inside: where in the file the state dict is that it belongs to, e.g. ``model``.
    :param index: the file that says where in ``file`` it lies, in a distributed checkpoint.
    """

    key: str
    file: str
    container: StateContainer | str
    fields: dict[str, Node] | None = None
    tensors: dict[str, MetadataTensor] = dataclasses.field(default_factory=dict)
    problem: str = ""
    strangers: tuple[str, ...] = ()
    classes: frozenset[str] = frozenset()
    inside: str = ""
    index: str = ""

    @property
    def part(self) -> str:
        """The file that is read to find it: the index, or else the file that it lies in."""
        return self.index or self.file

    @property
    def module(self) -> str:
        """The module's path in the checkpoint."""
        return KEY.sub("", self.key) or "(top)"

    @property
    def attention(self) -> bool:
        """Whether the module is, or is inside, an attention core."""
        return is_attention(self.key)

    @property
    def extra(self) -> dict[str, Node]:
        """What the state holds beside tensors and recipe, by name."""
        return objects.fields((self.fields or {}).get("extra_fp8_variables")) or {}

    @property
    def holds(self) -> Holds:
        """What there is to lose."""
        if self.problem:
            return Holds.UNREADABLE
        if self.fields is None or not self.tensors:
            return Holds.NOTHING
        return Holds.DEFAULTS if self._default else Holds.METADATA

    @property
    def _default(self) -> bool:
        """Whether every scale is 1 and every amax 0: then a reset loses nothing."""
        return all(
            values.all(0.0 if name.startswith("amax") else 1.0)
            for name, values in self.tensors.items()
        )


def is_state(key: Node) -> bool:
    """Tell whether a key of a checkpoint is that of an extra state."""
    return isinstance(key, str) and KEY.search(key) is not None


def is_attention(key: str) -> bool:
    """Tell whether an extra state's key is that of an attention core."""
    parts = KEY.sub("", key).split(".")
    return "core_attention" in parts or parts[-1] == "fused_attention"


def container_of(value: Node) -> StateContainer | str:
    """Name the container that an extra state came in."""
    if objects.buffer_of(value) is not None:
        return StateContainer.BYTES_IO
    tensor = objects.tensor(value)
    if tensor is not None and tensor.itemsize == 1:
        return StateContainer.BYTE_TENSOR if tensor.count else StateContainer.EMPTY_TENSOR
    return objects.plain(value)


def decode(key: str, file: str, value: Node, source: TorchFile) -> ExtraState:
    """Decode one extra state; what cannot be decoded says so in ``problem``.

    :param value: the state's value in the checkpoint.
    :param source: the file it lies in, which has the storages.
    """
    state = ExtraState(key, file, container_of(value))
    try:
        match state.container:
            case StateContainer.BYTES_IO:
                data = objects.buffer_of(value)
                if not data:
                    raise Malformed("an empty BytesIO")
                inner = torchfile.of_bytes(data, source.budget)
                return _decoded(state, inner.root, inner, source.budget)
            case StateContainer.BYTE_TENSOR:
                tensor = objects.tensor(value)
                assert tensor is not None
                data = source.storage(tensor, limits.STATE_BYTES)
                return of_payload(key, file, data, source.budget)
            case StateContainer.EMPTY_TENSOR | StateContainer.NONE:
                return state
            case other:
                raise Malformed(f"a {other} is no extra state that TE writes")
    except Malformed as error:
        return dataclasses.replace(state, problem=str(error))


def of_payload(key: str, file: str, data: bytes, budget: Budget) -> ExtraState:
    """Decode the bytes of a byte tensor: a pickle.

    :raises Malformed: it cannot be read.
    """
    state = ExtraState(key, file, StateContainer.BYTE_TENSOR)
    return _decoded(state, pickles.read(data, budget).root, None, budget)


def _decoded(state: ExtraState, root: Node, source: TorchFile | None, budget: Budget) -> ExtraState:
    """Return a state with what its pickle holds."""
    strangers = tuple(objects.strangers(root))
    if root is None:
        return dataclasses.replace(state, strangers=strangers)
    fields = objects.fields(root)
    if fields is None:
        raise Malformed(f"its pickle holds {objects.plain(root)}, not a dict")
    tensors = {
        name: values(fields[name], source, budget)
        for name in (f"{what}_{way}" for what in TENSORS for way in DIRECTIONS)
        if name in fields
    }
    return dataclasses.replace(
        state,
        fields=fields,
        tensors=tensors,
        strangers=strangers,
        classes=frozenset(objects.te_names(root)),
    )


def values(node: Node, source: TorchFile | None, budget: Budget) -> MetadataTensor:
    """Return a small tensor with its numbers.

    :param source: the file whose storages it may name.
    :raises Malformed: it is no tensor of floating-point numbers, or cannot be had.
    """
    tensor = objects.tensor(node)
    if tensor is None:
        raise Malformed("a scale or amax history is not a tensor")
    if isinstance(tensor.storage, bytes):
        tensor, source = _in_place(tensor, tensor.storage, budget)
    if source is None or tensor.dtype not in _FLOATS or not tensor.contiguous:
        raise Malformed("a scale or amax history is not a plain tensor of numbers")
    data = source.storage(tensor, limits.STATE_BYTES)
    form = f"{'<' if source.little else '>'}{tensor.count}{_FLOATS[tensor.dtype]}"
    numbers = struct.unpack(form, data)
    return MetadataTensor(
        tensor.dtype, tensor.shape, struct.pack("<" + form[1:], *numbers), numbers
    )


def _in_place(tensor: TensorRef, content: bytes, budget: Budget) -> tuple[TensorRef, TorchFile]:
    """Return a tensor on the storage that is pickled in place as a file of its own."""
    inner = torchfile.of_bytes(content, budget)
    storage = inner.root
    if isinstance(storage, nodes.Call) and storage.arguments:
        # From PyTorch 2 on a TypedStorage wraps it: called with, or set to, the untyped one.
        storage = next((n for n in nodes.every(storage) if isinstance(n, nodes.Persistent)), None)
    kind = objects.element(storage) if isinstance(storage, nodes.Persistent) else None
    if kind is None:
        raise Malformed("a storage pickled in place is not one")
    return dataclasses.replace(tensor, storage=storage, dtype=kind[0], itemsize=kind[1]), inner
