"""The opcodes of pickles, apart from the few that :class:`machine.Machine` executes itself.

Each is a function of the machine and the position behind the opcode; it returns the position
behind the opcode's argument. What they mean is documented in Python's ``pickletools``.
"""

from __future__ import annotations

import codecs
import pickletools
import struct
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING

from matrix.checkpoint import limits
from matrix.checkpoint.errors import Malformed, Refused
from matrix.checkpoint.nodes import NOTHING, Call, Elements, Map, Node

if TYPE_CHECKING:
    from matrix.checkpoint.machine import Machine

UINT = struct.Struct("<I")
_USHORT = struct.Struct("<H")
_INT = struct.Struct("<i")
_ULONG = struct.Struct("<Q")
_DOUBLE = struct.Struct(">d")

Operation = Callable[["Machine", int], int]


def _unknown(machine: Machine, place: int) -> int:
    raise Malformed(f"not a pickle: byte {place - 1} is no opcode")


# Plain values.


def _constant(make: Callable[[], Node]) -> Operation:
    def push(machine: Machine, place: int) -> int:
        machine.stack.append(make())
        return place

    return push


def _number(form: struct.Struct) -> Operation:
    def push(machine: Machine, place: int) -> int:
        machine.stack.extend(form.unpack_from(machine.data, place))
        return place + form.size

    return push


def _sized(form: struct.Struct, make: Callable[[Machine, bytes], Node]) -> Operation:
    """Return the operation of an opcode whose argument is a size, then as many bytes."""

    def push(machine: Machine, place: int) -> int:
        size: int = form.unpack_from(machine.data, place)[0]
        if size < 0:
            raise Malformed(f"a negative size at byte {place}")
        place += form.size
        machine.stack.append(make(machine, machine.slice(place, size)))
        return place + size

    return push


def _line(make: Callable[[Machine, bytes], Node]) -> Operation:
    """Return the operation of an opcode whose argument is a line of text."""

    def push(machine: Machine, place: int) -> int:
        line, place = machine.line(place)
        machine.stack.append(make(machine, line))
        return place

    return push


def _long(_machine: Machine, data: bytes) -> int:
    if len(data) > limits.INTEGER_BYTES:
        # Above 4300 digits Python refuses to print a number.
        raise Refused(f"an integer of {len(data)} bytes, which no checkpoint has")
    return int.from_bytes(data, "little", signed=True)


def _decimal(read: Callable[[bytes], Node]) -> Callable[[Machine, bytes], Node]:
    def parse(_machine: Machine, line: bytes) -> Node:
        if len(line) > 2 * limits.INTEGER_BYTES:
            raise Refused(f"a number of {len(line)} characters, which no checkpoint has")
        return read(line)

    return parse


def _int(line: bytes) -> int:
    return line == b"01" if line in (b"00", b"01") else int(line, 0)


def _string(_machine: Machine, line: bytes) -> str:
    if len(line) < 2 or line[:1] not in (b"'", b'"') or line[:1] != line[-1:]:
        raise Malformed("a text without its quotes")
    with warnings.catch_warnings():
        # Python warns of invalid escapes.
        warnings.simplefilter("ignore")
        return bytes(codecs.escape_decode(line[1:-1])[0]).decode("latin-1")


def _unicode(machine: Machine, line: bytes) -> str:
    machine.budget.spend(3 * len(line))
    return str(line, "raw-unicode-escape")


# Containers.


def _tuple(machine: Machine, place: int) -> int:
    items = tuple(machine.above_mark())
    machine.stack.append(items)
    return place


def _tuple1(machine: Machine, place: int) -> int:
    machine.stack[-1] = (machine.stack[-1],)
    return place


def _tuple3(machine: Machine, place: int) -> int:
    third, second = machine.stack.pop(), machine.stack.pop()
    machine.stack[-1] = (machine.stack[-1], second, third)
    return place


def _list(machine: Machine, place: int) -> int:
    items = machine.above_mark()
    machine.stack.append(items)
    return place


def _dict(machine: Machine, place: int) -> int:
    items = machine.above_mark()
    machine.stack.append(Map(machine.pairs(items)))
    return place


def _frozenset(machine: Machine, place: int) -> int:
    items = machine.above_mark()
    machine.stack.append(Elements("frozenset", items))
    return place


def _append(machine: Machine, place: int) -> int:
    item = machine.stack.pop()
    machine.extend([item])
    return place


def _appends(machine: Machine, place: int) -> int:
    items = machine.above_mark()
    machine.extend(items)
    return place


def _setitem(machine: Machine, place: int) -> int:
    value, key = machine.stack.pop(), machine.stack.pop()
    machine.set([key, value])
    return place


def _setitems(machine: Machine, place: int) -> int:
    items = machine.above_mark()
    machine.set(items)
    return place


# Stack and memo.


def _pop(machine: Machine, place: int) -> int:
    if machine.stack:
        machine.stack.pop()
    else:
        machine.above_mark()
    return place


def _pop_mark(machine: Machine, place: int) -> int:
    machine.above_mark()
    return place


def _dup(machine: Machine, place: int) -> int:
    top = machine.stack[-1]
    machine.stack.append(top)
    machine.pushed(top)
    return place


def _memoize(machine: Machine, place: int) -> int:
    machine.memoize()
    return place


def _put(machine: Machine, place: int) -> int:
    line, place = machine.line(place)
    machine.put(_index(line))
    return place


def _get(machine: Machine, place: int) -> int:
    line, place = machine.line(place)
    machine.get(_index(line))
    return place


def _index(line: bytes) -> int:
    if len(line) > 20:
        raise Refused("a place of the memo that no checkpoint has")
    return int(line)


# Classes, functions and calls.


def _global(machine: Machine, place: int) -> int:
    module, name, place = _two_lines(machine, place)
    machine.stack.append(machine.global_(module, name))
    return place


def _two_lines(machine: Machine, place: int) -> tuple[str, str, int]:
    module, place = machine.line(place)
    name, place = machine.line(place)
    return machine.text(module), machine.text(name), place


def _stack_global(machine: Machine, place: int) -> int:
    name, module = machine.stack.pop(), machine.stack.pop()
    if not isinstance(name, str) or not isinstance(module, str):
        raise Malformed(f"a class or function whose name is no text, at byte {place - 1}")
    machine.budget.spend(len(module) + len(name))
    machine.stack.append(machine.global_(module, name))
    return place


def _extension(form: struct.Struct) -> Operation:
    def push(machine: Machine, place: int) -> int:
        (number,) = form.unpack_from(machine.data, place)
        machine.stack.append(machine.global_("copyreg", f"extension {number}"))
        return place + form.size

    return push


def _reduce(machine: Machine, place: int) -> int:
    arguments = machine.stack.pop()
    machine.stack[-1] = machine.call("REDUCE", machine.stack[-1], arguments)
    return place


def _newobj(machine: Machine, place: int) -> int:
    arguments = machine.stack.pop()
    machine.stack[-1] = machine.call("NEWOBJ", machine.stack[-1], arguments)
    return place


def _newobj_ex(machine: Machine, place: int) -> int:
    keywords, arguments = machine.stack.pop(), machine.stack.pop()
    machine.stack[-1] = machine.call("NEWOBJ", machine.stack[-1], arguments, keywords)
    return place


def _inst(machine: Machine, place: int) -> int:
    module, name, place = _two_lines(machine, place)
    arguments = tuple(machine.above_mark())
    machine.stack.append(machine.call("REDUCE", machine.global_(module, name), arguments))
    return place


def _obj(machine: Machine, place: int) -> int:
    if not machine.stack:
        raise Malformed(f"an object without its class, at byte {place - 1}")
    function, *arguments = machine.above_mark()
    machine.stack.append(machine.call("REDUCE", function, tuple(arguments)))
    return place


def _build(machine: Machine, place: int) -> int:
    state, onto = machine.stack.pop(), machine.stack[-1]
    if not isinstance(onto, Call):
        raise machine.unfit(onto, "a state is set on")
    if onto.state is NOTHING:
        onto.state = []
    onto.state.append(state)
    return place


def _persid(machine: Machine, place: int) -> int:
    line, place = machine.line(place)
    machine.stack.append(machine.persistent(line.decode("ascii")))
    return place


def _binpersid(machine: Machine, place: int) -> int:
    machine.stack[-1] = machine.persistent(machine.stack[-1])
    return place


# The pickle itself.


def _proto(machine: Machine, place: int) -> int:
    machine.protocol = machine.data[place]
    if machine.protocol > 5:
        raise Malformed(f"pickle protocol {machine.protocol} is not known")
    return place + 1


def _frame(_machine: Machine, place: int) -> int:
    return place + 8


def _buffer(_machine: Machine, _place: int) -> int:
    raise Refused("a pickle with out-of-band buffers, which no checkpoint file has")


_BYTE = struct.Struct("<B")
_BY_NAME: dict[str, tuple[Operation, int]] = {
    # With its cost: the memory of its value beside its argument, no less than its time is worth.
    "NONE": (_constant(lambda: None), 20),
    "NEWTRUE": (_constant(lambda: True), 20),
    "NEWFALSE": (_constant(lambda: False), 20),
    "EMPTY_TUPLE": (_constant(tuple), 20),
    "EMPTY_LIST": (_constant(list), 80),
    "EMPTY_DICT": (_constant(Map), 130),
    "EMPTY_SET": (_constant(lambda: Elements("set", [])), 140),
    "INT": (_line(_decimal(_int)), 100),
    "LONG": (_line(_decimal(lambda line: int(line.removesuffix(b"L"), 0))), 100),
    "FLOAT": (_line(_decimal(float)), 100),
    "BININT": (_number(_INT), 48),
    "BININT2": (_number(_USHORT), 48),
    "BINFLOAT": (_number(_DOUBLE), 48),
    "LONG1": (_sized(_BYTE, _long), 60),
    "LONG4": (_sized(_INT, _long), 60),
    "STRING": (_line(_string), 150),
    "UNICODE": (_line(_unicode), 100),
    "BINSTRING": (_sized(_INT, lambda _m, data: data.decode("latin-1")), 76),
    "SHORT_BINSTRING": (_sized(_BYTE, lambda _m, data: data.decode("latin-1")), 76),
    "BINUNICODE": (_sized(UINT, lambda m, data: m.text(data)), 76),
    "SHORT_BINUNICODE": (_sized(_BYTE, lambda m, data: m.text(data)), 76),
    "BINUNICODE8": (_sized(_ULONG, lambda m, data: m.text(data)), 76),
    "BINBYTES": (_sized(UINT, lambda _m, data: data), 64),
    "SHORT_BINBYTES": (_sized(_BYTE, lambda _m, data: data), 64),
    "BINBYTES8": (_sized(_ULONG, lambda _m, data: data), 64),
    "BYTEARRAY8": (_sized(_ULONG, lambda _m, data: bytearray(data)), 96),
    "TUPLE": (_tuple, 64),
    "TUPLE1": (_tuple1, 64),
    "TUPLE3": (_tuple3, 72),
    "LIST": (_list, 80),
    "DICT": (_dict, 130),
    "FROZENSET": (_frozenset, 140),
    "APPEND": (_append, 100),
    "APPENDS": (_appends, 100),
    "ADDITEMS": (_appends, 100),
    "SETITEM": (_setitem, 100),
    "SETITEMS": (_setitems, 100),
    "POP": (_pop, 20),
    "POP_MARK": (_pop_mark, 20),
    "DUP": (_dup, 20),
    "MEMOIZE": (_memoize, 36),
    "PUT": (_put, 64),
    "GET": (_get, 64),
    "GLOBAL": (_global, 100),
    "STACK_GLOBAL": (_stack_global, 64),
    "EXT1": (_extension(_BYTE), 200),
    "EXT2": (_extension(_USHORT), 200),
    "EXT4": (_extension(_INT), 200),
    "REDUCE": (_reduce, 104),
    "NEWOBJ": (_newobj, 104),
    "NEWOBJ_EX": (_newobj_ex, 104),
    "INST": (_inst, 300),
    "OBJ": (_obj, 200),
    "BUILD": (_build, 100),
    "PERSID": (_persid, 120),
    "BINPERSID": (_binpersid, 64),
    "PROTO": (_proto, 20),
    "FRAME": (_frame, 20),
    "NEXT_BUFFER": (_buffer, 20),
    "READONLY_BUFFER": (_buffer, 20),
}
_CODES = {opcode.name: ord(opcode.code) for opcode in pickletools.opcodes}
OPERATIONS: list[Operation] = [_unknown] * 256
"""By opcode."""
COSTS = [20] * 256
"""By opcode."""
for _opcode, (_operation, _cost) in _BY_NAME.items():
    OPERATIONS[_CODES[_opcode]] = _operation
    COSTS[_CODES[_opcode]] = _cost
# The machine executes these two itself.
COSTS[_CODES["MARK"]], COSTS[_CODES["TUPLE2"]] = 80, 64
