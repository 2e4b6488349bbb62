"""Storages that are added to a file of ``torch.save``, and the tensors that lie in them."""

from __future__ import annotations

from collections.abc import Iterable

from matrix.checkpoint import encoding, nodes, objects, torch_legacy
from matrix.checkpoint.copying import Content
from matrix.checkpoint.errors import Malformed
from matrix.checkpoint.nodes import Call, Global, Node
from matrix.checkpoint.torchfile import TorchFile
from matrix.checkpoint.words import TorchKind

_DIGITS = 19
"""A longer number is not the next of any that PyTorch counts."""
_INT64 = 8


class AddedStorages:
    """The storages that are added to one file.

    :param source: the file.
    """

    def __init__(self, source: TorchFile) -> None:
        self._source = source
        self._legacy = source.storages.kind is not TorchKind.ZIP
        self._next = 1 + max(_numbers(storage_keys(source.root)), default=0)
        self.storages: dict[str, Content] = {}
        """Their contents, by key."""

    def add(
        self, dtype: str, shape: tuple[int, ...], content: Content, location: str = "cpu"
    ) -> Call:
        """Return a tensor that fills a new storage.

        :param dtype: its element type, such as ``uint8``.
        :param location: the device that its storage was on, such as ``cuda:0``.
        """
        key = str(self._next)
        self._next += 1
        self.storages[key] = content
        storage = torch_legacy.storage_id(
            dtype, key, content.count, legacy=self._legacy, location=location
        )
        return encoding.tensor_call(storage, shape)

    def number(self, node: Node) -> int:
        """Return the number that a tensor with one int64 holds.

        :raises Malformed: it is another tensor.
        """
        found = objects.tensor(node)
        if found is None or (found.dtype, found.count) != ("int64", 1):
            raise Malformed(f"a {objects.describe(node)} in the place of a tensor of one int64")
        data = self._source.storage(found, _INT64)
        return int.from_bytes(data, "little" if self._source.little else "big", signed=True)

    def tensor(self, number: int) -> Call:
        """Return a tensor that holds a number as its only int64."""
        order = "little" if self._source.little else "big"
        data = number.to_bytes(_INT64, order, signed=True)  # type: ignore[arg-type]
        return self.add("int64", (), Content.of(data, _INT64))


def storage_keys(root: Node) -> set[str]:
    """Return the keys of the storages that a pickle refers to."""
    found = set()
    for node in nodes.every(root):
        if isinstance(node, nodes.Persistent):
            match node.id:
                case ("storage", Global(), str() as key, *_):
                    found.add(key)
    return found


def _numbers(keys: Iterable[str]) -> Iterable[int]:
    return (int(key) for key in keys if key.isdecimal() and len(key) < _DIGITS)
