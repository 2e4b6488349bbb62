"""Pickles that run something when they are loaded: each makes the folder that it is given.

Nothing here is loaded but in a process of its own, to prove that it is hostile at all.
"""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections.abc import Callable, Iterator

END = b"."


def text(value: str) -> bytes:
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def name(module: str, attribute: str) -> bytes:
    return f"c{module}\n{attribute}\n".encode()


def binary(data: bytes) -> bytes:
    return b"B" + struct.pack("<I", len(data)) + data


def call(folder: str, function: bytes = name("posix", "mkdir")) -> bytes:
    """The opcodes that call, and leave the result on the stack."""
    return function + text(folder) + b"\x85R"


def reduce(function: bytes, *arguments: bytes) -> bytes:
    return function + b"(" + b"".join(arguments) + b"tR"


def torch_zip(pickled: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("a/data.pkl", pickled)
        archive.writestr("a/version", "3\n")
    return stream.getvalue()


def torch_legacy(*, system: bytes = b"", main: bytes = b"\x80\x02}.", keys: bytes = b"") -> bytes:
    magic = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2)
    info = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}
    return magic + (system or pickle.dumps(info, 2)) + main + (keys or pickle.dumps([], 2))


def byte_tensor(data: bytes) -> bytes:
    """A tensor of bytes whose storage is in the pickle."""
    import torch

    storage = torch.frombuffer(bytearray(data), dtype=torch.uint8).untyped_storage()
    stream = io.BytesIO()
    torch.save(storage, stream, _use_new_zipfile_serialization=False)
    kept = reduce(name("torch.storage", "_load_from_bytes"), binary(stream.getvalue()))
    size = b"J" + struct.pack("<i", len(data))
    hooks = name("collections", "OrderedDict") + b")R"
    rebuild = name("torch._utils", "_rebuild_tensor_v2")
    return reduce(rebuild, kept, b"K\x00", size + b"\x85", b"K\x01\x85", b"\x89", hooks)


def _entry(value: bytes) -> bytes:
    return b"}" + text("k") + value + b"s."


def _proto4(pickled: bytes) -> bytes:
    return b"\x80\x04" + pickled


def _getattr(builtins: str, owner: bytes) -> bytes:
    return reduce(name(builtins, "getattr"), owner, text("mkdir"))


def _os() -> bytes:
    return name("builtins", "__import__") + text("os") + b"\x85R"


def _code(folder: str) -> str:
    return f"__import__('os').mkdir({folder!r})"


PICKLES: dict[str, Callable[[str], bytes]] = {
    "called": lambda f: call(f) + END,
    "a value": lambda f: _entry(call(f)),
    "a key": lambda f: b"}" + call(f) + b"Ns.",
    "in a list": lambda f: b"](" + call(f) + b"e.",
    "in a tuple": lambda f: b"(" + call(f) + b"N" * 4 + b"t.",
    "in a set": lambda f: _proto4(b"\x8f(" + call(f) + b"\x90."),
    "in a frozenset": lambda f: _proto4(b"(" + call(f) + b"\x91."),
    "popped": lambda f: call(f) + b"0}.",
    "popped with its mark": lambda f: b"(" + call(f) + b"1}.",
    "memoised and popped": lambda f: call(f) + b"q\x000}.",
    "overwritten by PUT": lambda f: call(f) + b"q\x000Nq\x00.",
    "overwritten by a later key": lambda f: b"}" + text("k") + call(f) + b"s" + text("k") + b"Ns.",
    "a memoised function": lambda f: name("posix", "mkdir") + b"q\x000h\x00" + text(f) + b"\x85R.",
    "the state of BUILD": lambda f: (
        name("collections", "OrderedDict") + b")R}" + text("a") + call(f) + b"sb."
    ),
    "an item of an object": lambda f: (
        name("collections", "OrderedDict") + b")R" + text("a") + call(f) + b"s."
    ),
    "an argument": lambda f: (
        reduce(name("collections", "deque"), b"](" + call(f) + b"e") + END
    ),
    "INST": lambda f: b"(" + text(f) + b"iposix\nmkdir\n.",
    "OBJ": lambda f: b"(" + name("posix", "mkdir") + text(f) + b"o.",
    "STACK_GLOBAL": lambda f: _proto4(
        text("posix") + text("mkdir") + b"\x93" + text(f) + b"\x85R."
    ),
    "STACK_GLOBAL of memoised names": lambda f: _proto4(
        text("mkdir") + b"\x940" + text("posix") + b"\x94h\x00\x93" + text(f) + b"\x85R."
    ),
    "a dotted name": lambda f: _proto4(
        text("torch") + text("os.mkdir") + b"\x93" + text(f) + b"\x85R."
    ),
    "a dotted module": lambda f: call(f, name("os", "mkdir")) + END,
    "getattr": lambda f: call(f, _getattr("builtins", _os())) + END,
    "getattr of Python 2": lambda f: (
        call(f, _getattr("__builtin__", name("posixpath", "os"))) + END
    ),
    "functools.partial": lambda f: (
        reduce(name("functools", "partial"), name("posix", "mkdir"), text(f)) + b")R."
    ),
    "operator.methodcaller": lambda f: (
        reduce(name("operator", "methodcaller"), text("mkdir"), text(f)) + _os() + b"\x85R."
    ),
    "an ordinary function that calls": lambda f: reduce(
        name("torch._tensor", "_rebuild_from_type_v2"),
        name("posix", "mkdir"), name("torch", "Tensor"), text(f) + b"\x85", b"}",
    ) + END,
    "a guarded function passed on": lambda f: reduce(
        name("torch._tensor", "_rebuild_from_type_v2"),
        name("torch.storage", "_load_from_bytes"), name("torch", "Tensor"),
        binary(torch_zip(call(f) + END)) + b"\x85", b"}",
    ) + END,
    "a file inside": lambda f: reduce(
        name("torch.storage", "_load_from_bytes"), binary(torch_zip(call(f) + b"0}."))
    ) + END,
    "a legacy file inside": lambda f: reduce(
        name("torch.storage", "_load_from_bytes"), binary(torch_legacy(main=call(f) + END))
    ) + END,
    "a file in a file": lambda f: reduce(
        name("torch.storage", "_load_from_bytes"),
        binary(torch_zip(reduce(
            name("torch.storage", "_load_from_bytes"), binary(torch_zip(call(f) + END))
        ) + END)),
    ) + END,
    "a file inside, popped": lambda f: reduce(
        name("torch.storage", "_load_from_bytes"), binary(torch_zip(call(f) + END))
    ) + b"0}.",
    "builtins.exec": lambda f: call(_code(f), name("builtins", "exec")) + END,
    "builtins.eval": lambda f: call(_code(f), name("builtins", "eval")) + END,
    "pickle.loads": lambda f: reduce(name("pickle", "loads"), binary(call(f) + END)) + END,
    "_pickle.loads": lambda f: reduce(name("_pickle", "loads"), binary(call(f) + END)) + END,
    "pathlib.Path.mkdir": lambda f: _proto4(
        text("pathlib") + text("Path.mkdir") + b"\x93"
        + reduce(name("pathlib", "PosixPath"), text(f)) + b"\x85R."
    ),
}  # fmt: skip
"""Pickles by what is special in them, each a function of the folder that it makes."""

FILES: dict[str, Callable[[str], bytes]] = {
    "zip": lambda f: torch_zip(call(f) + b"0}."),
    "legacy, main pickle": lambda f: torch_legacy(main=call(f) + b"0}."),
    "legacy, system information": lambda f: torch_legacy(system=call(f) + b"0}."),
    "legacy, storage keys": lambda f: torch_legacy(keys=call(f) + b"0]."),
    "plain pickle": lambda f: call(f) + b"0}.",
}
"""Files of torch.save by where in them the call is."""

ONLY_NAMED: dict[str, bytes] = {
    "EXT1": b"\x80\x02\x82\x01)R.",
    "EXT2": b"\x80\x02\x83\x01\x00)R.",
    "EXT4": b"\x80\x02\x84\x01\x00\x00\x00)R.",
    "NEWOBJ": b"\x80\x02" + name("subprocess", "Popen") + b")\x81.",
    "NEWOBJ_EX": b"\x80\x04" + name("subprocess", "Popen") + b")}\x92.",
    "looked up": b"\x80\x02" + name("posix", "system") + END,
    "looked up and popped": b"\x80\x02" + name("posix", "system") + b"0}.",
    "a default factory": reduce(name("collections", "defaultdict"), name("posix", "getpid")) + END,
    "another codec": reduce(name("_codecs", "encode"), text("x"), text("zip")) + END,
    "TE's class, another attribute": reduce(
        name("builtins", "getattr"),
        name("transformer_engine.pytorch.tensor.float8_tensor", "Float8Tensor"),
        text("__init_subclass__"),
    ) + END,
    "TE's function, another number of arguments": reduce(
        name(
            "transformer_engine.pytorch.tensor.float8_tensor", "_make_float8_tensor_in_reduce_ex"
        ),
        text("x"),
    ) + END,
    "TE's module, another name": name("transformer_engine.pytorch", "os") + END,
    "a method of an enumeration": reduce(
        name("builtins", "getattr"), name("signal", "Signals"), text("mro")
    ) + END,
    "the result of a call": name("collections", "OrderedDict") + b")R)R.",
    "a constant that is called": name("torch", "float32") + b")R.",
}  # fmt: skip
"""Pickles that name what no honest one does, though loading them here would make no folder."""


def every(folder: str) -> Iterator[tuple[str, bytes]]:
    """Yield files of torch.save that make ``folder``, by name."""
    for kind, make in PICKLES.items():
        pickled = make(folder)
        yield kind, torch_zip(pickled if pickled[:1] == b"\x80" else b"\x80\x02" + pickled)
    for kind, make in FILES.items():
        yield kind, make(folder)
