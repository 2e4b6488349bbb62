"""The stack machine that pickles are written for, on inert values.

Python's own ``pickletools`` takes some 20 s for the pickle of a checkpoint of 187,000 tensors.
So opcodes are decoded here and in :mod:`opcodes`.
"""

from __future__ import annotations

import dataclasses
import struct

from matrix.checkpoint import limits
from matrix.checkpoint.errors import Malformed, Refused
from matrix.checkpoint.limits import Budget
from matrix.checkpoint.nodes import NOTHING, Call, Elements, Global, Guarded, Map, Node, Persistent
from matrix.checkpoint.opcodes import COSTS, OPERATIONS, UINT

_UNSET = Guarded("", "a place of the memo that was never written")
_FILES = ("torch.storage._load_from_bytes", "_io.BytesIO", "io.BytesIO")
_TENSORS = tuple(f"torch._utils._rebuild_tensor{end}" for end in ("", "_v2", "_v3"))
_BYTES = ("ByteStorage", "CharStorage", "UntypedStorage")
_NAME_COST = 600  # a name, and what is noted of it
_ARGUMENT = 8  # the most bytes that an opcode's argument takes, apart from text and bytes


class CutShort(Malformed):
    """A pickle goes on beyond the bytes that are there."""


@dataclasses.dataclass(slots=True)
class Pickle:
    """One pickle, parsed up to its ``STOP``."""

    root: Node
    protocol: int
    end: int
    """The number of bytes up to and including its ``STOP``."""
    storages: list[Persistent]
    """Everything that it refers to by a persistent id, as PyTorch's files do to storages."""
    files: list[Call]
    """Calls whose argument may be a file: of ``_load_from_bytes``, and of ``io.BytesIO``."""
    byte_tensors: list[Call]
    """Tensors of single bytes, which may be pickles, as extra states are."""


class Machine:
    """Executes the opcodes of one pickle."""

    def __init__(self, data: bytes, budget: Budget) -> None:
        self.data, self.budget, self.lookups = data, budget, budget.lookups
        self.protocol = 0
        self.place = 0
        """Position of the current opcode."""
        self.stack: list[Node] = []
        """What lies above the last mark."""
        self.below: list[list[Node]] = []
        """What lies below each mark."""
        self.memo: list[Node] = []
        self._unset = 0
        self._names: dict[tuple[str, str], Global] = {}
        self._of_files: list[Global] = []
        self._of_tensors: list[Global] = []
        self._storages: list[Persistent] = []
        self._files: list[Call] = []
        self._byte_tensors: list[Call] = []

    def run(self) -> Pickle:
        """Execute all opcodes up to ``STOP``.

        :raises Malformed: they are no pickle.
        """
        try:
            end = self._loop()
        except (IndexError, struct.error) as error:
            # Beyond the end of the data, or below the bottom of the stack.
            kind = CutShort if len(self.data) - self.place <= 1 + _ARGUMENT else Malformed
            raise kind(
                f"not a whole pickle: cut short, or an opcode lacks a value, at byte {self.place}"
            ) from error
        except Malformed:
            raise
        except (ValueError, OverflowError) as error:
            raise Malformed(f"not a whole pickle at byte {self.place}: {_short(error)}") from error
        if self.below or len(self.stack) != 1:
            raise Malformed("a pickle that ends with something else than one value")
        root, found = self.stack[0], (self._storages, self._files, self._byte_tensors)
        return Pickle(root, self.protocol, end, *found)

    def close(self) -> None:
        """Note functions that are harmless in some calls only, unless all were such calls."""
        for name in self._names.values():
            if isinstance(name, Guarded):
                self.lookups.close(name)

    def _loop(self) -> int:  # noqa: PLR0912
        """Execute opcodes, and return the position behind ``STOP``.

        Nine of ten opcodes are those that it executes itself, without the cost of a call.
        """
        data, memo, budget, costs = self.data, self.memo, self.budget, COSTS
        stack, place, left = self.stack, 0, budget.left
        while True:
            self.place = place
            code = data[place]
            place += 1
            left -= costs[code]
            if left < 0:
                budget.spend(budget.left + 1)
            if code in (0x71, 0x72):  # BINPUT, LONG_BINPUT
                if code == 0x71:
                    index = data[place]
                    place += 1
                else:
                    (index,) = UINT.unpack_from(data, place)
                    place += 4
                if index == len(memo):
                    memo.append(stack[-1])
                else:
                    budget.left = left
                    self.put(index)
                    left = budget.left
            elif code in (0x68, 0x6A):  # BINGET, LONG_BINGET
                if code == 0x68:
                    value = memo[data[place]]
                    place += 1
                else:
                    value = memo[UINT.unpack_from(data, place)[0]]
                    place += 4
                stack.append(value)
                if value.__class__ is Guarded:
                    self.pushed(value)
            elif code == 0x4B:  # BININT1
                stack.append(data[place])
                place += 1
            elif code == 0x28:  # MARK
                self.below.append(stack)
                self.stack = stack = []
            elif code == 0x86:  # TUPLE2
                second = stack.pop()
                stack[-1] = (stack[-1], second)
            elif code == 0x2E:  # STOP
                budget.left = left
                return place
            else:
                budget.left = left
                place = OPERATIONS[code](self, place)
                left, stack = budget.left, self.stack

    def put(self, index: int) -> None:
        """Write the top of the stack into the memo, at any index."""
        memo = self.memo
        if index < 0:
            raise Malformed("a negative place of the memo")
        if index >= len(memo):
            self._unset += index - len(memo)
            self.budget.spend(8 * (index - len(memo)))
            memo.extend([_UNSET] * (index + 1 - len(memo)))
        elif memo[index] is _UNSET:
            self._unset -= 1
        memo[index] = self.stack[-1]

    def memoize(self) -> None:
        """Write the top of the stack into the memo, where Python does: at its count of values."""
        self.put(len(self.memo) - self._unset)

    def get(self, index: int) -> None:
        """Put a value of the memo on the stack."""
        if index < 0:
            raise IndexError
        self.stack.append(self.memo[index])
        self.pushed(self.memo[index])

    def pushed(self, value: Node) -> None:
        """Note that a value was put on the stack again."""
        if value is _UNSET:
            raise Malformed(f"{_UNSET.name} is read, at byte {self.place}")
        if isinstance(value, Guarded):
            value.pushed += 1

    def above_mark(self) -> list[Node]:
        """Return what lies above the last mark, and remove both."""
        above = self.stack
        self.stack = self.below.pop()
        return above

    def slice(self, place: int, size: int) -> bytes:
        """Return bytes of the pickle.

        :raises CutShort: there are fewer.
        """
        if size > len(self.data) - place:
            raise CutShort(f"not a whole pickle: cut short after byte {self.place}")
        self.budget.spend(size)
        return self.data[place : place + size]

    def line(self, place: int) -> tuple[bytes, int]:
        """Return the bytes up to a newline, and the position behind that.

        :raises CutShort: there is none.
        """
        end = self.data.find(b"\n", place)
        if end < 0:
            raise CutShort(f"not a whole pickle: cut short after byte {self.place}")
        self.budget.spend(end - place)
        return self.data[place:end], end + 1

    def text(self, data: bytes) -> str:
        """Return text. One character beyond Latin-1 makes all of them take up to four bytes."""
        if not data.isascii():
            self.budget.spend(3 * len(data))
        return str(data, "utf-8", "surrogatepass")

    def global_(self, module: str, name: str) -> Global:
        """Return the name of a class or function, each time the same object."""
        found = self._names.get((module, name))
        if found is None:
            self.budget.spend(_NAME_COST)
            found = self._names[module, name] = self.lookups.look_up(module, name)
            if str(found) in _FILES:
                self._of_files.append(found)
            elif str(found) in _TENSORS:
                self._of_tensors.append(found)
        if isinstance(found, Guarded):
            found.pushed += 1
        return found

    def call(self, how: str, function: Node, arguments: Node, keywords: Node = None) -> Call:
        """Return a call, and note it."""
        self.lookups.call(function, arguments)
        made = Call(how, function, arguments, keywords, NOTHING, NOTHING, NOTHING)
        if function in self._of_tensors:
            if _of_single_bytes(arguments):
                self._byte_tensors.append(made)
        elif function in self._of_files:
            self._files.append(made)
        return made

    def persistent(self, id_: Node) -> Persistent:
        """Return an object outside the pickle, and note it."""
        self.lookups.persistent(id_)
        self._storages.append(Persistent(id_))
        return self._storages[-1]

    def extend(self, items: list[Node]) -> None:
        """Add items to the list, set or object on top of the stack."""
        onto = self.stack[-1]
        if isinstance(onto, list):
            onto.extend(items)
        elif isinstance(onto, Elements):
            onto.items.extend(items)
        elif isinstance(onto, Call):
            if onto.items is NOTHING:
                onto.items = []
            onto.items.extend(items)
        else:
            raise self.unfit(onto, "something is appended to")

    def set(self, flat: list[Node]) -> None:
        """Set items of the dict or object on top of the stack."""
        onto = self.stack[-1]
        if not isinstance(onto, (Map, Call)):
            raise self.unfit(onto, "an item is set in")
        if onto.pairs is NOTHING:
            onto.pairs = []
        onto.pairs.extend(self.pairs(flat))

    def unfit(self, onto: Node, what: str) -> Refused:
        """Return the error for an opcode that changes something else than this reader knows.

        Python may go on, with nothing to change for one, and run what follows.
        """
        return Refused(f"{what} a {type(onto).__name__}, at byte {self.place}")

    def pairs(self, flat: list[Node]) -> list[tuple[Node, Node]]:
        """Return keys and values in pairs.

        :raises Malformed: a key has no value.
        :raises Refused: a key is longer than any of a checkpoint.
        """
        if len(flat) % 2:
            raise Malformed("a dict has a key without a value")
        self.budget.spend(36 * len(flat))
        for key in flat[::2]:
            if isinstance(key, str) and len(key) > limits.KEY_CHARACTERS:
                raise Refused(f"a key of {len(key)} characters, which no checkpoint has")
        return list(zip(flat[::2], flat[1::2], strict=True))


def _of_single_bytes(arguments: Node) -> bool:
    match arguments:
        case (Persistent(id=("storage", Global(name=name), *_)), *_):
            return name in _BYTES
    return False


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__
