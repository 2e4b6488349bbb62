"""Pickles parsed into a tree of inert values (:mod:`nodes`) without executing them.

Nothing is imported and nothing is called. Where a pickle refers to a class or a function,
the tree holds its name; where it calls one, the tree holds the call.
"""

from __future__ import annotations

import dataclasses
import io
import pickletools
import warnings
from collections.abc import Callable, Iterator
from typing import IO, Any, Protocol, cast

from matrix.checkpoint import limits
from matrix.checkpoint.errors import Malformed
from matrix.checkpoint.limits import Budget
from matrix.checkpoint.nodes import Call, Elements, Global, Map, Node, Persistent


class Stream(Protocol):
    """A stream that a pickle can be read from."""

    def read(self, size: int, /) -> bytes:
        """Return the next bytes; fewer at the end."""

    def readline(self) -> bytes:
        """Return the bytes up to and including the next newline."""


@dataclasses.dataclass(slots=True)
class Pickle:
    """One pickle, parsed up to its ``STOP``."""

    root: Node
    protocol: int


class _Mark:
    """The mark that opcodes put on the stack."""


def read(data: bytes, budget: Budget | None = None) -> Pickle:
    """Read a pickle from bytes.

    :param budget: the number of opcodes that may be read; those read are deducted.
    :raises Malformed: it is no pickle, is cut short, or exceeds the limits.
    """
    if len(data) > limits.PICKLE_BYTES:
        raise Malformed(f"a pickle of {len(data)} bytes is more than is ever read")
    return read_stream(io.BytesIO(data), budget)


def read_stream(stream: Stream, budget: Budget | None = None) -> Pickle:
    """Read one pickle from the current position of a stream.

    :param budget: the number of opcodes that may be read; those read are deducted.
    :raises Malformed: it is no pickle, is cut short, or exceeds the limits.
    """
    machine = _Machine()
    budget = budget or Budget()
    most = min(limits.PICKLE_OPCODES, budget.opcodes)
    count = 0
    try:
        with warnings.catch_warnings():
            # Python warns of invalid escapes in texts of protocol 0.
            warnings.simplefilter("ignore")
            for count, (opcode, argument, _at) in enumerate(_opcodes(stream)):
                if count > most:
                    raise Malformed("more opcodes than are ever read")
                if opcode.name == "STOP":
                    break
                machine.run(opcode.name, argument)
    except Malformed:
        raise
    except (ValueError, IndexError, KeyError, OverflowError, UnicodeError) as error:
        raise Malformed(f"not a whole pickle: {_short(error)}") from error
    finally:
        budget.opcodes -= count
    return Pickle(machine.result(), machine.protocol)


def _opcodes(stream: Stream) -> Iterator[tuple[pickletools.OpcodeInfo, Any, int | None]]:
    return pickletools.genops(cast(IO[bytes], stream))


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__


class _Machine:
    """The stack machine that pickles are written for, on inert values."""

    def __init__(self) -> None:
        self.protocol = 0
        self._objects = 0
        self._stack: list[Node] = []
        self._memo: dict[int, Node] = {}

    def run(self, name: str, argument: Any) -> None:
        """Execute one opcode."""
        if name in _OBJECTS:
            self._objects += 1
            if self._objects > limits.PICKLE_OBJECTS:
                raise Malformed("more objects than are ever read")
        if name in _VALUES:
            self._stack.append(argument)
        elif name in _CONSTANTS:
            self._stack.append(_CONSTANTS[name]())
        elif name in _MEMO_READ:
            self._stack.append(self._memo[int(argument)])
        elif name in _MEMO_WRITE:
            self._memo[int(argument)] = self._top()
        else:
            _OPERATIONS[name](self, argument)

    def result(self) -> Node:
        """Return the value that ``STOP`` would return."""
        if len(self._stack) != 1 or isinstance(self._stack[0], _Mark):
            raise Malformed("a pickle that ends with something else than one value")
        return self._stack[0]

    def _top(self) -> Node:
        if not self._stack or isinstance(self._stack[-1], _Mark):
            raise Malformed("an opcode finds nothing on the stack")
        return self._stack[-1]

    def _pop(self) -> Node:
        top = self._top()
        self._stack.pop()
        return top

    def _above_mark(self) -> list[Node]:
        place = next(
            (n for n in range(len(self._stack) - 1, -1, -1) if isinstance(self._stack[n], _Mark)),
            None,
        )
        if place is None:
            raise Malformed("an opcode finds no mark")
        above = self._stack[place + 1 :]
        del self._stack[place:]
        return above

    # Opcodes that do more than push one value, by their names.

    def op_proto(self, argument: int) -> None:
        self.protocol = argument
        if not 0 <= argument <= 5:
            raise Malformed(f"pickle protocol {argument} is not known")

    def op_frame(self, _argument: Any) -> None:
        """Ignore the length of a frame."""

    def op_memoize(self, _argument: Any) -> None:
        self._memo[len(self._memo)] = self._top()

    def op_mark(self, _argument: Any) -> None:
        self._stack.append(_Mark())

    def op_pop(self, _argument: Any) -> None:
        if not self._stack:
            raise Malformed("POP finds nothing on the stack")
        self._stack.pop()

    def op_pop_mark(self, _argument: Any) -> None:
        self._above_mark()

    def op_dup(self, _argument: Any) -> None:
        self._stack.append(self._top())

    def op_tuple(self, _argument: Any) -> None:
        self._stack.append(tuple(self._above_mark()))

    def op_list(self, _argument: Any) -> None:
        self._stack.append(self._above_mark())

    def op_dict(self, _argument: Any) -> None:
        self._stack.append(Map(_pairs(self._above_mark())))

    def op_frozenset(self, _argument: Any) -> None:
        self._stack.append(Elements("frozenset", self._above_mark()))

    def op_tuple1(self, _argument: Any) -> None:
        self._stack.append((self._pop(),))

    def op_tuple2(self, _argument: Any) -> None:
        second, first = self._pop(), self._pop()
        self._stack.append((first, second))

    def op_tuple3(self, _argument: Any) -> None:
        third, second, first = self._pop(), self._pop(), self._pop()
        self._stack.append((first, second, third))

    def op_append(self, _argument: Any) -> None:
        self._extend([self._pop()])

    def op_appends(self, _argument: Any) -> None:
        self._extend(self._above_mark())

    op_additems = op_appends

    def _extend(self, items: list[Node]) -> None:
        onto = self._top()
        if isinstance(onto, list):
            onto.extend(items)
        elif isinstance(onto, (Call, Elements)):
            onto.items.extend(items)
        else:
            raise Malformed(f"something is appended to a {type(onto).__name__}")

    def op_setitem(self, _argument: Any) -> None:
        value, key = self._pop(), self._pop()
        self._set([key, value])

    def op_setitems(self, _argument: Any) -> None:
        self._set(self._above_mark())

    def _set(self, flat: list[Node]) -> None:
        onto = self._top()
        if not isinstance(onto, (Map, Call)):
            raise Malformed(f"an item is set in a {type(onto).__name__}")
        onto.pairs.extend(_pairs(flat))

    def op_global(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        self._stack.append(Global(module, name))

    def op_stack_global(self, _argument: Any) -> None:
        name, module = self._pop(), self._pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise Malformed("STACK_GLOBAL finds no names")
        self._stack.append(Global(module, name))

    def op_ext1(self, argument: int) -> None:
        self._stack.append(Global("copyreg", f"extension {argument}"))

    op_ext2 = op_ext4 = op_ext1

    def op_reduce(self, _argument: Any) -> None:
        arguments, function = self._pop(), self._pop()
        self._stack.append(Call("REDUCE", function, arguments))

    def op_newobj(self, _argument: Any) -> None:
        arguments, function = self._pop(), self._pop()
        self._stack.append(Call("NEWOBJ", function, arguments))

    def op_newobj_ex(self, _argument: Any) -> None:
        keywords, arguments, function = self._pop(), self._pop(), self._pop()
        self._stack.append(Call("NEWOBJ", function, arguments, keywords))

    def op_inst(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        self._stack.append(Call("REDUCE", Global(module, name), tuple(self._above_mark())))

    def op_obj(self, _argument: Any) -> None:
        function, *arguments = self._above_mark()
        self._stack.append(Call("REDUCE", function, tuple(arguments)))

    def op_build(self, _argument: Any) -> None:
        state, onto = self._pop(), self._top()
        if not isinstance(onto, Call):
            raise Malformed(f"BUILD sets the state of a {type(onto).__name__}")
        onto.state.append(state)

    def op_persid(self, argument: str) -> None:
        self._stack.append(Persistent(argument))

    def op_binpersid(self, _argument: Any) -> None:
        self._stack.append(Persistent(self._pop()))

    def op_next_buffer(self, _argument: Any) -> None:
        raise Malformed("a pickle with out-of-band buffers, which no checkpoint file has")

    op_readonly_buffer = op_next_buffer


def _pairs(flat: list[Node]) -> list[tuple[Node, Node]]:
    if len(flat) % 2:
        raise Malformed("a dict has a key without a value")
    return list(zip(flat[::2], flat[1::2], strict=True))


_VALUES = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE"),
    *("BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}
_CONSTANTS: dict[str, Callable[[], Node]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": Map,
    "EMPTY_SET": lambda: Elements("set", []),
}
_OBJECTS = {
    *("EMPTY_DICT", "DICT", "EMPTY_SET", "FROZENSET"),
    *("REDUCE", "NEWOBJ", "NEWOBJ_EX", "INST", "OBJ"),
}
_MEMO_READ = frozenset(("GET", "BINGET", "LONG_BINGET"))
_MEMO_WRITE = frozenset(("PUT", "BINPUT", "LONG_BINPUT"))
# Every opcode that is in none of the sets above has a method with its name.
_OPERATIONS: dict[str, Callable[[_Machine, Any], None]] = {
    opcode.name: getattr(_Machine, f"op_{opcode.name.lower()}")
    for opcode in pickletools.opcodes
    if opcode.name not in _VALUES | _CONSTANTS.keys() | _MEMO_READ | _MEMO_WRITE | {"STOP"}
}
