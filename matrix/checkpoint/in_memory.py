"""State dicts that are in memory, as the same inert values that a checkpoint file is read into.

Nothing is unpickled. PyTorch is not imported: tensors are known by their class, and only the bytes
of extra states are read, through the tensors themselves.
"""

from __future__ import annotations

import ctypes
import functools
import io
import math
import sys
from collections.abc import Iterator, Mapping
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

from matrix.checkpoint import encoding, mappings, objects
from matrix.checkpoint.contents import Contents
from matrix.checkpoint.copying import NewContent, Output
from matrix.checkpoint.errors import CheckpointError, Malformed, refusing_malformed
from matrix.checkpoint.formats import torch_save
from matrix.checkpoint.limits import Budget
from matrix.checkpoint.lookups import Lookups
from matrix.checkpoint.nodes import Call, Global, Guarded, Map, Node, Persistent
from matrix.checkpoint.spans import Span
from matrix.checkpoint.torchfile import TorchFile
from matrix.checkpoint.words import TorchKind
from matrix.system.collector import gc_paused

FORMAT = "state dict in memory"
_DEPTH = 100
"""How deeply containers are looked into; those below are passed over, as a file's would be."""
_TE = "transformer_engine"
_UNTYPED = Global("torch", "UntypedStorage")
_PLACES = {
    dtype: Global("torch", name) for name, (dtype, _size) in reversed(objects.STORAGES.items())
}
"""The classes of storages by the type of their elements."""
_PLAIN = (type(None), bool, int, float, str, bytes, bytearray)
_OPAQUE = (type, ModuleType, FunctionType, MethodType, BuiltinFunctionType)


class InMemory:
    """A state dict in memory, or what a framework keeps one in.

    :param root: the state dict: any nesting of mappings, lists, tuples and objects.
    """

    @gc_paused()
    def __init__(self, root: object) -> None:
        self.root = root
        reader = _Reader()
        self._source = TorchFile(
            reader.node(root), 2, reader.storages, sys.byteorder == "little", reader.budget
        )
        self._mappings = reader.mappings

    @gc_paused()
    def read(self) -> Contents:
        """Return what it holds apart from its weights, as :meth:`layout.Layout.read` does of files.

        :raises CheckpointError: an extra state in it cannot be looked into safely.
        """
        contents = Contents(format=FORMAT)
        with refusing_malformed(
            "the state dict is not read",
            why="an extra state in it is damaged, or was made to do harm",
            do="Leave it out",
        ):
            torch_save.add(self._source, "", contents)
        contents.add_lookups(self._source.budget.lookups)
        return contents

    def places(self) -> Iterator[tuple[str, object]]:
        """Yield every mapping, or object with attributes, and its place as extra states name it."""
        for inside, pairs in mappings.mappings(self._source.root):
            if id(pairs) in self._mappings:
                yield inside, self._mappings[id(pairs)]


class _Reader:
    """Turns objects into inert values, each object once."""

    def __init__(self) -> None:
        self.budget = Budget()
        self.storages = _Storages()
        self.mappings: dict[int, object] = {}
        """Objects by the id of the list of pairs that stands for their items or attributes."""
        self._known: dict[int, tuple[object, Node]] = {}

    def node(self, value: Any, depth: int = 0) -> Node:
        """Return the inert value of an object."""
        if isinstance(value, _PLAIN):
            return value
        if id(value) in self._known:
            return self._known[id(value)][1]
        return self._container(value, depth)

    def _container(self, value: Any, depth: int) -> Node:
        below = depth + 1
        match value:
            case io.BytesIO():
                made: Node = Call("REDUCE", Global("_io", "BytesIO"), (value.getvalue(),))
            case _ if is_sharded(value):
                return self.node(value.data, below)
            case _ if is_tensor(value):
                made = self._rebuilt(value) if _is_of_te(value) else self.storages.add(value)
            case Mapping() | list() if depth < _DEPTH:
                return self._filled(value, below)
            case tuple() if depth < _DEPTH:
                made = tuple(self.node(item, below) for item in value)
            case _:
                return self._object(value, below)
        self._known[id(value)] = value, made
        return made

    def _filled(self, value: Mapping[Any, Any] | list[Any], depth: int) -> Node:
        made: Map | list[Node] = [] if isinstance(value, list) else Map()
        self._known[id(value)] = value, made  # before its items, which may refer to it
        if isinstance(made, list):
            made.extend(self.node(item, depth) for item in value)
        else:
            assert isinstance(value, Mapping)
            self.mappings[id(made.pairs)] = value
            made.pairs.extend((_key(k), self.node(v, depth)) for k, v in value.items())
        return made

    def _object(self, value: Any, depth: int) -> Node:
        """Return an object of any other class, with its attributes."""
        made = Call("NEWOBJ", _name(type(value)), ())
        self._known[id(value)] = value, made
        attributes = attributes_of(value) if depth < _DEPTH else {}
        if attributes:
            state = Map()
            self.mappings[id(state.pairs)] = value
            state.pairs.extend((k, self.node(v, depth)) for k, v in attributes.items())
            made.state.append(state)
        return made

    def _rebuilt(self, value: Any) -> Node:
        """Return a quantized weight of Transformer Engine's as the call that would rebuild it."""
        try:
            function, arguments, *_ = value.__reduce_ex__(2)
        except (TypeError, RuntimeError, NotImplementedError) as error:
            raise CheckpointError(
                f"a {type(value).__qualname__} in the state dict cannot be pickled: {error}"
            ) from error
        lookups = self.budget.lookups
        made = Call("REDUCE", _function(function, lookups), tuple(map(self._argument, arguments)))
        lookups.call(made.function, made.arguments)
        return made

    def _argument(self, value: Any) -> Node:
        if _is_of_te(value) and not is_tensor(value):
            kind = type(value)
            name = self.budget.lookups.look_up(kind.__module__, kind.__qualname__)
            return Call("REDUCE", name, ())
        return self.node(value, _DEPTH)


def _key(key: Any) -> Node:
    return key if isinstance(key, _PLAIN) else Call("NEWOBJ", _name(type(key)), ())


def _name(kind: Any) -> Global:
    return Global(str(kind.__module__), str(kind.__qualname__))


def _function(function: Any, lookups: Lookups) -> Node:
    """Return the name of a function of Transformer Engine's, as a pickle gives it."""
    owner = getattr(function, "__self__", None)
    if isinstance(owner, type):
        found = lookups.look_up(owner.__module__, owner.__qualname__)
        return Call("REDUCE", Guarded("builtins", "getattr"), (found, function.__name__))
    return lookups.look_up(function.__module__, function.__qualname__)


def attributes_of(value: Any) -> dict[str, Any]:
    """Return the attributes of an object, without running any code of its class."""
    if isinstance(value, _OPAQUE):
        return {}
    try:
        found = object.__getattribute__(value, "__dict__")
    except AttributeError:
        return {}
    return dict(found) if isinstance(found, dict) else {}


def is_tensor(value: object) -> bool:
    """Return whether an object is a tensor of PyTorch's, or of a subclass."""
    return _is_tensor(type(value).__mro__)


@functools.cache
def _is_tensor(classes: tuple[type, ...]) -> bool:
    return any((c.__module__, c.__name__) == ("torch", "Tensor") for c in classes)


def is_sharded(value: Any) -> bool:
    """Return whether an object is Megatron-LM's wrapper of a value: a ``ShardedObject``, which
    has the value in ``data``, and its key in a distributed checkpoint in ``key``."""
    return _is_sharded(type(value).__mro__) and hasattr(value, "data") and hasattr(value, "key")


@functools.cache
def _is_sharded(classes: tuple[type, ...]) -> bool:
    return any(c.__name__ in ("ShardedObject", "ShardedTensor") for c in classes)


def _is_of_te(value: object) -> bool:
    return _is_class_of_te(type(value).__mro__)


@functools.cache
def _is_class_of_te(classes: tuple[type, ...]) -> bool:
    return any(c.__module__.partition(".")[0].startswith(_TE) for c in classes)


class _Storages:
    """The tensors of a state dict, as the storages of a file."""

    kind = TorchKind.ZIP

    def __init__(self) -> None:
        self._tensors: dict[str, Any] = {}

    def add(self, tensor: Any) -> Node:
        """Return the inert value of a tensor."""
        key = str(len(self._tensors))
        self._tensors[key] = tensor
        dtype, shape = str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape)
        place = _PLACES.get(dtype, _UNTYPED)
        storage = Persistent(("storage", place, key, "cpu", math.prod(shape)))
        made = encoding.tensor_call(storage, shape)
        if dtype in _PLACES:
            return made
        arguments = (*made.arguments, Global("torch", dtype))
        return Call("REDUCE", Global("torch._utils", "_rebuild_tensor_v3"), arguments)

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __contains__(self, key: object) -> bool:
        return key in self._tensors

    def read(self, key: str, start: int, size: int, limit: int) -> bytes:
        """Return bytes of a tensor; only extra states are ever read.

        :raises Malformed: it has no bytes that can be read, as on the device ``meta``.
        """
        try:
            tensor = self._tensors[key].detach().cpu().contiguous()
            whole = tensor.numel() * tensor.element_size()
            data = ctypes.string_at(tensor.data_ptr(), whole) if whole else b""
            return data[start : start + size]
        except (RuntimeError, NotImplementedError, ValueError, AttributeError) as error:
            raise Malformed(f"its bytes cannot be read: {error}") from error

    def span(self, key: str) -> Span:
        """Refuse: a tensor in memory lies in no file.

        :raises Malformed: always.
        """
        raise Malformed(f"tensor {key} lies in memory, not in a file")

    def write(self, new: NewContent, out: Output) -> Mapping[str, int]:
        """Refuse: a state dict is not written as a file.

        :raises CheckpointError: always.
        """
        raise CheckpointError("a state dict in memory is not written to a file")
