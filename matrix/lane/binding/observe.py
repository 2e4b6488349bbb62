"""Observes bindings: what a compiled extension, or the stand-in for it, exports and does.

A program of its own, because two extensions of one name cannot live in one process: it forks
for each. Run as ``python observe.py`` it reads one JSON object per line, ``module`` (the
extension's name), ``version``, ``file`` (the compiled extension; absent for the stand-in) and
``pickles`` (members of ``DType`` pickled elsewhere, in hexadecimal; see :func:`_pickles`), and
writes one JSON object per line: ``facts``, or ``failure`` and the reason.
"""

from __future__ import annotations

import copy
import json
import os
import pickle
import re
import sys
import types
from collections.abc import Callable, Iterator
from operator import eq, lt, ne
from pathlib import Path
from typing import Any

PROTOCOLS = (2, 3, 4, 5)


def main() -> None:
    """Answer the requests on standard input, one after the other."""
    import torch  # noqa: F401  every child has it

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        answers.write(_in_child(json.loads(line)) + "\n")
        answers.flush()


def _in_child(request: dict[str, Any]) -> str:
    read_end, write_end = os.pipe()
    if (child := os.fork()) == 0:
        os.close(read_end)
        with os.fdopen(write_end, "w") as stream:
            stream.write(json.dumps(_answer(request)))
        os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end) as stream:
        said = stream.read()
    _pid, status = os.waitpid(child, 0)
    if status or not said:
        return json.dumps({"failure": f"the process ended with status {status}"})
    return said


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    try:
        module = _load(request)
        return {"facts": facts(module, request.get("pickles") or {})}
    except Exception as error:
        return {"failure": f"{type(error).__name__}: {error}"}


def _load(request: dict[str, Any]) -> types.ModuleType:
    # Only now: importing the stand-in in the parent would be seen by every child.
    if "file" in request:
        from matrix.worker.standin import compiled

        return compiled.load(request["module"], Path(request["file"]))
    from matrix.worker.standin import extension

    return extension.load(request["module"], request["version"])


def facts(module: Any, foreign: dict[str, dict[str, str]]) -> dict[str, Any]:
    """Return what a binding exports and how the parts that checkpoints meet behave.

    :param foreign: pickles of members of ``DType`` made by another binding.
    """
    held = {name: getattr(module, name) for name in _names(module)}
    return {
        "functions": {name: _signatures(value) for name, value in held.items() if _called(value)},
        "enumerations": {
            name: _enumeration(value) for name, value in held.items() if _is_enumeration(value)
        },
        "classes": sorted(name for name, value in held.items() if _is_plain_class(value)),
        "constants": {
            name: value for name, value in held.items() if isinstance(value, (int, str, float))
        },
        "submodules": sorted(name for name, value in held.items() if _is_submodule(value)),
        "star": sorted(_starred(module)),
        "pickles": _pickles(module.DType),
        "reads": _reads(foreign),
        "tensor_meta": _tensor_meta(module),
    }


def _names(module: Any) -> list[str]:
    return sorted(name for name in dir(module) if not name.startswith("__"))


def _starred(module: Any) -> list[str]:
    into: dict[str, Any] = {}
    exec(f"from {module.__name__} import *", into)
    return [name for name in into if name != "__builtins__"]


def _called(value: Any) -> bool:
    return callable(value) and not isinstance(value, type)


def _is_enumeration(value: Any) -> bool:
    return isinstance(value, type) and hasattr(value, "__members__")


def _is_plain_class(value: Any) -> bool:
    return isinstance(value, type) and not _is_enumeration(value)


def _is_submodule(value: Any) -> bool:
    return isinstance(value, types.ModuleType)


def _signatures(function: Any) -> list[str]:
    """Return the parameters of each overload, as pybind11 writes them, without their types."""
    lines = (function.__doc__ or "").splitlines()
    name = re.escape(function.__name__)
    heads = [re.match(rf"(?:\d+\. )?{name}\((.*)\) -> ", line) for line in lines]
    return [", ".join(_parameters(head.group(1))) for head in heads if head]


def _parameters(text: str) -> Iterator[str]:
    """Yield the names of parameters, each with its default if it has one."""
    for part in _split(text):
        name, _, kind = part.partition(":")
        default = re.search(r" = (.*)$", kind)
        yield name.strip() + (f"={default.group(1)}" if default else "")


def _split(text: str) -> list[str]:
    """Split at the commas that are in no brackets."""
    parts, depth, start = [], 0, 0
    for place, sign in enumerate(text):
        depth += (sign in "([{<") - (sign in ")]}>")
        if sign == "," and depth == 0:
            parts.append(text[start:place])
            start = place + 1
    return [part.strip() for part in (*parts, text[start:]) if part.strip()]


class _Stranger:
    """Equal to nothing that a binding knows."""


def _enumeration(kind: Any) -> dict[str, Any]:
    members = {name: int(member) for name, member in kind.__members__.items()}
    name, number = next(iter(members.items()))
    member = kind.__members__[name]
    others: dict[str, Any] = {
        "its number": number,
        "another number": number + 1,
        "a float": float(number),
    }
    others |= {"None": None, "a text": name, "another object": _Stranger()}
    return {
        "members": members,
        "equals": {what: _told(eq, member, other) for what, other in others.items()},
        "is equalled by": {what: _told(eq, other, member) for what, other in others.items()},
        "differs from": {what: _told(ne, member, other) for what, other in others.items()},
        "equals itself made anew": _told(lambda: member == kind(number)),
        "is less than itself": _told(lt, member, member),
        "hash is its number": _told(lambda: hash(member) == number),
        "as index": _told(lambda: list(range(300))[member] == number),
        "text": _told(lambda: f"{member} {member!r} {kind(299)!r} {member.name} {member.value}"),
        "takes attributes": _told(setattr, member, "more", 1),
        "has __dict__": _told(hasattr, member, "__dict__"),
        "made of nothing": _told(kind),
        "made of a text": _told(kind, name),
        "copied": _told(lambda: copy.copy(member) == member and copy.deepcopy(member) == member),
        "pickle": _told(lambda: pickle.dumps(member, 2).hex()),
    }


def _told(ask: Callable[..., Any], *values: Any) -> str:
    """Return what something answers, or the class of the exception that it raises."""
    try:
        return str(ask(*values))
    except Exception as error:
        return type(error).__name__


def _pickles(dtype: Any) -> dict[str, dict[str, str]]:
    """Return the pickle of each member of ``DType`` by protocol and name, in hexadecimal."""
    members = dtype.__members__.items()
    return {
        str(protocol): {name: pickle.dumps(member, protocol).hex() for name, member in members}
        for protocol in PROTOCOLS
    }


def _reads(foreign: dict[str, dict[str, str]]) -> dict[str, dict[str, str]]:
    """Return the names of the members that pickles of another binding are read as."""
    return {
        protocol: {name: _told(_read, text) for name, text in members.items()}
        for protocol, members in foreign.items()
    }


def _read(text: str) -> str:
    return str(pickle.loads(bytes.fromhex(text)).name)


def _tensor_meta(module: Any) -> dict[str, str]:
    import torch

    kind = module.FP8TensorMeta
    fields = ("scale", "scale_inv", "amax_history")
    meta, other = kind(), torch.ones(2)

    def kept(field: str) -> bool:
        setattr(meta, field, other)
        return getattr(meta, field) is other

    found = {"fields before they are set": str([getattr(kind(), field) for field in fields])}
    found |= {f"{field} is the tensor that was set": _told(kept, field) for field in fields}
    found |= {
        f"scale is set to {value!r}": _told(setattr, kind(), "scale", value)
        for value in (3, None, "text")
    }
    return found | {
        "an unknown field is set": _told(setattr, kind(), "unknown", other),
        "an unknown field is read": _told(getattr, kind(), "unknown"),
        "a field is deleted": _told(delattr, meta, "scale"),
        "has __dict__": _told(hasattr, meta, "__dict__"),
        "is made of something": _told(kind, 1),
        "is pickled": _told(pickle.dumps, kind()),
        "is copied": _told(copy.copy, kind()),
        "is copied deeply": _told(copy.deepcopy, kind()),
    }


if __name__ == "__main__":
    main()
