"""Inert values (:mod:`nodes`) written as a pickle; the reverse of :mod:`pickles`."""

from __future__ import annotations

import io
import struct

from matrix.checkpoint import limits
from matrix.checkpoint.errors import Malformed
from matrix.checkpoint.nodes import Call, Elements, Global, Map, Node, Persistent

_BATCH = 1000


def emit(root: Node, protocol: int) -> bytes:
    """Return a pickle of an inert value; an object that the tree shares, the pickle shares.

    :param protocol: the pickle protocol; protocols before 2 are written as 2.
    :raises Malformed: it is nested too deeply, or the protocol cannot represent it.
    """
    emitter = _Emitter(max(2, protocol))
    emitter.value(root, 0)
    return emitter.finish()


class _Emitter:
    """Writes opcodes of protocol 2, and those of later protocols where values need them."""

    def __init__(self, protocol: int) -> None:
        self._protocol = protocol
        self._out = io.BytesIO()
        self._out.write(b"\x80" + bytes([protocol]))
        self._memo: dict[int, int] = {}
        self._kept: list[Node] = []  # keeps ids in _memo unique

    def finish(self) -> bytes:
        return self._out.getvalue() + b"."

    def value(self, node: Node, depth: int) -> None:
        """Write one value."""
        if depth > limits.DEPTH:
            raise Malformed(f"nested more than {limits.DEPTH} deep")
        if id(node) in self._memo:
            self._get(self._memo[id(node)])
        else:
            self._write(node, depth + 1)

    def _write(self, node: Node, depth: int) -> None:
        match node:
            case None | bool() | int() | float():
                self._number(node)
            case str():
                data = node.encode("utf-8", "surrogatepass")
                self._put(node, b"X" + struct.pack("<I", len(data)) + data)
            case bytes() | bytearray():
                self._bytes(node)
            case tuple():
                self._tuple(node, depth)
            case list():
                self._put(node, b"]")
                self._appended(node, depth)
            case Map(pairs):
                self._put(node, b"}")
                self._set(pairs, depth)
            case Elements():
                self._elements(node, depth)
            case Global():
                self._global(node)
            case Persistent():
                self.value(node.id, depth)
                self._put(node, b"Q")
            case Call():
                self._call(node, depth)
            case _:
                raise Malformed(f"a {type(node).__name__} cannot be pickled again")

    def _put(self, node: Node, opcodes: bytes = b"") -> None:
        """Write the opcodes that make a value, and memoize it."""
        self._out.write(opcodes)
        number = self._memo[id(node)] = len(self._memo)
        self._kept.append(node)
        self._memo_opcode(b"q", b"r", number)

    def _get(self, number: int) -> None:
        self._memo_opcode(b"h", b"j", number)

    def _memo_opcode(self, short: bytes, long: bytes, number: int) -> None:
        small = number < 256
        self._out.write(short + bytes([number]) if small else long + struct.pack("<I", number))

    def _number(self, number: float | None) -> None:
        if number is None or isinstance(number, bool):
            self._out.write({None: b"N", True: b"\x88", False: b"\x89"}[number])
        elif isinstance(number, float):
            self._out.write(b"G" + struct.pack(">d", number))
        else:
            self._integer(number)

    def _integer(self, number: int) -> None:
        if 0 <= number < 1 << 8:
            self._out.write(b"K" + bytes([number]))
        elif 0 <= number < 1 << 16:
            self._out.write(b"M" + struct.pack("<H", number))
        elif -(1 << 31) <= number < 1 << 31:
            self._out.write(b"J" + struct.pack("<i", number))
        else:
            data = number.to_bytes(number.bit_length() // 8 + 1, "little", signed=True)
            if len(data) > 255:
                raise Malformed("a number of more than 255 bytes")
            self._out.write(b"\x8a" + bytes([len(data)]) + data)

    def _bytes(self, data: bytes | bytearray) -> None:
        self._need(3 if isinstance(data, bytes) else 5)
        size = struct.pack("<Q", len(data))
        if isinstance(data, bytearray):
            self._put(data, b"\x96" + size + data)
        elif len(data) >> 32:
            self._put(data, b"\x8e" + size + data)
        else:
            self._put(data, b"B" + size[:4] + data)

    def _need(self, protocol: int) -> None:
        if self._protocol < protocol:
            raise Malformed(f"something in it needs pickle protocol {protocol}")

    def _tuple(self, items: tuple[Node, ...], depth: int) -> None:
        if not items:
            self._out.write(b")")
            return
        if len(items) > 3:
            self._out.write(b"(")
        for item in items:
            self.value(item, depth)
        self._close(
            items,
            {1: b"\x85", 2: b"\x86", 3: b"\x87"}.get(len(items), b"t"),
            b"1" if len(items) > 3 else b"0" * len(items),
        )

    def _close(self, node: Node, opcodes: bytes, drop: bytes) -> None:
        """Make a value of the items written, unless it contains itself and exists already."""
        if id(node) in self._memo:
            self._out.write(drop)
            self._get(self._memo[id(node)])
        else:
            self._put(node, opcodes)

    def _appended(self, items: list[Node], depth: int) -> None:
        for start in range(0, len(items), _BATCH):
            self._out.write(b"(")
            for item in items[start : start + _BATCH]:
                self.value(item, depth)
            self._out.write(b"e")

    def _set(self, pairs: list[tuple[Node, Node]], depth: int) -> None:
        for start in range(0, len(pairs), _BATCH):
            self._out.write(b"(")
            for key, value in pairs[start : start + _BATCH]:
                self.value(key, depth)
                self.value(value, depth)
            self._out.write(b"u")

    def _elements(self, node: Elements, depth: int) -> None:
        self._need(4)
        if node.kind == "set":
            self._put(node, b"\x8f")
        self._out.write(b"(")
        for item in node.items:
            self.value(item, depth)
        if node.kind == "set":
            self._out.write(b"\x90")
        else:
            self._close(node, b"\x91", b"1")

    def _global(self, node: Global) -> None:
        text = f"{node.module}\n{node.name}\n"
        if text.count("\n") != 2 or "\\" in text or not text.isascii():
            raise Malformed(f"{node!s} is no name")
        self._put(node, b"c" + text.encode())

    def _call(self, node: Call, depth: int) -> None:
        self.value(node.function, depth)
        self.value(node.arguments, depth)
        if node.keywords is not None:
            self._need(4)
            self.value(node.keywords, depth)
            opcode = b"\x92"
        else:
            opcode = {"REDUCE": b"R", "NEWOBJ": b"\x81"}[node.how]
        if id(node) in self._memo:
            raise Malformed("something is made from itself")
        self._put(node, opcode)
        self._appended(node.items, depth)
        self._set(node.pairs, depth)
        for state in node.state:
            self.value(state, depth)
            self._out.write(b"b")
