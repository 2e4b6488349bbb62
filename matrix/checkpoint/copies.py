"""Extra states written anew as they were found, for a release to load.

What is written is built from decoded values: the bytes of a checkpoint's own pickles are never
handed on. Of the names in them only Transformer Engine's own and allowed ones are named again.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator, Mapping

from matrix.catalogue import pickled_names
from matrix.checkpoint import casts, emit, encoding, nodes, torch_legacy
from matrix.checkpoint.encoding import PROTOCOL
from matrix.checkpoint.errors import Malformed
from matrix.checkpoint.metadata import MetadataTensor
from matrix.checkpoint.nodes import Call, Global, Map, Node
from matrix.checkpoint.states import ExtraState
from matrix.checkpoint.words import StateContainer

_BUFFER = "global_fp8_buffer"
"""Amaxes that wait for their reduction, in the states of releases up to 1.5. They belong to the
step in which the checkpoint was saved, and are left out."""
_HARMLESS = frozenset({"collections.OrderedDict", "torch.Size"})
_EMPTY = {StateContainer.EMPTY_TENSOR: "uint8", StateContainer.EMPTY_FLOATS: "float32"}


class Uncopied(Malformed):
    """A state cannot be written anew; the message says why."""


def file_of(states: Mapping[str, ExtraState], allowed: Collection[str] = ()) -> bytes:
    """Return a ``torch.save`` file of a dict with the extra states, as far as they were decoded.

    :param states: the states by the key that each gets.
    :param allowed: names beside Transformer Engine's own that they may hold.
    :raises Uncopied: a state could not be decoded, or holds another name.
    """
    writer = _Writer(allowed)
    pairs: list[tuple[Node, Node]] = [(key, writer.value(s)) for key, s in states.items()]
    return torch_legacy.file(Map(pairs), writer.storages)


class _Writer:
    """Makes the inert value of each state, and collects the storages of its tensors.

    :param allowed: names that states may hold.
    """

    def __init__(self, allowed: Collection[str]) -> None:
        self._allowed = allowed
        self.storages: dict[str, tuple[str, bytes]] = {}
        """Element type and elements of each storage, by key."""

    def value(self, state: ExtraState) -> Node:
        """Return the value of a state in the container that it was found in."""
        if state.problem:
            raise Uncopied(f"{state.key} cannot be decoded: {state.problem}")
        match state.container:
            case StateContainer.NONE:
                return None
            case StateContainer.EMPTY_TENSOR | StateContainer.EMPTY_FLOATS as empty:
                return self.tensor(MetadataTensor(_EMPTY[empty], (0,), b""))
            case StateContainer.BYTES_IO:
                return _buffer(self._file(state))
            case StateContainer.BYTE_TENSOR:
                return self._bytes(state)
        raise Uncopied(f"{state.key} is a {state.container}")

    def tensor(self, values: MetadataTensor) -> Node:
        """Return a tensor on a storage of its own."""
        key = str(len(self.storages))
        self.storages[key] = values.dtype, values.data
        count = len(values.data) // torch_legacy.item_size(values.dtype)
        storage = torch_legacy.storage_id(values.dtype, key, count, legacy=True)
        return encoding.tensor_call(storage, values.shape)

    def _bytes(self, state: ExtraState) -> Node:
        root = None if state.fields is None else self._root(state, encoding.tensor)
        data = emit.emit(root, PROTOCOL)
        dtype = state.cast or "uint8"
        if state.cast and state.cast not in casts.CASTS:
            raise Uncopied(f"{state.key} is {state.cast}, and no tensor")
        if state.cast:
            data = _cast(state.cast, data)
        return self.tensor(
            MetadataTensor(dtype, (len(data) // torch_legacy.item_size(dtype),), data)
        )

    def _file(self, state: ExtraState) -> bytes:
        inner = _Writer(self._allowed)
        root = None if state.fields is None else inner._root(state, inner.tensor)
        # The protocol of torch.save, which is all that torch.load takes with weights_only.
        return torch_legacy.file(root, inner.storages, protocol=2)

    def _root(self, state: ExtraState, tensor: encoding.TensorWriter) -> Node:
        if not state.operation:
            return Map(list(self._fields(state, "", state.fields or {}, tensor)))
        pairs: list[tuple[Node, Node]] = []
        for mode, held in (state.fields or {}).items():
            if held is None:
                pairs.append((mode, None))
            else:
                inner = self._fields(state, f"{mode}.", state.modes.get(mode, {}), tensor)
                pairs.append((mode, Map(list(inner))))
        return Map(pairs)

    def _fields(
        self,
        state: ExtraState,
        prefix: str,
        fields: Mapping[str, Node],
        tensor: encoding.TensorWriter,
    ) -> Iterator[tuple[Node, Node]]:
        for name, value in fields.items():
            if prefix + name in state.tensors:
                yield name, tensor(state.tensors[prefix + name])
            elif name == _BUFFER:
                yield name, Map([])
            else:
                yield name, self._checked(state.key, value)

    def _checked(self, key: str, value: Node) -> Node:
        """Return a value, after checking every name and object in it."""
        known = pickled_names.load().te
        for part in nodes.every(value):
            if isinstance(part, Global) and not (
                str(part) in known or str(part) in _HARMLESS or str(part) in self._allowed
            ):
                raise Uncopied(f"{key} names {part}")
            if isinstance(part, nodes.Persistent):
                raise Uncopied(f"{key} holds a tensor that is no FP8 metadata")
        return value


def _buffer(content: bytes) -> Call:
    """Return an ``io.BytesIO``."""
    made = Call("NEWOBJ", Global("_io", "BytesIO"), ())
    made.state.append((content, 0, None))
    return made


def _cast(dtype: str, data: bytes) -> bytes:
    """Return bytes cast to another element type; the reverse of :func:`casts.undone`."""
    if dtype == "int8":
        return data
    if dtype == "bfloat16":
        # The upper half of the float32, exact for whole numbers up to 255.
        return b"".join(struct.pack("<f", number)[2:] for number in data)
    return struct.pack(f"<{len(data)}{casts.CASTS[dtype]}", *data)
