"""Exceptions during saves and loads: whose they are, and what is reported of them."""

import os
import re
import traceback
from typing import Any, Dict, List

_HERE = os.path.dirname(os.path.abspath(__file__)) + os.sep
_STANDIN = _HERE + "standin" + os.sep


def is_ours(raised: BaseException) -> bool:
    """Tell whether an exception came from the worker itself, or from lack of memory.

    Frames of the stand-in do not count: they are between TE and PyTorch, and exceptions of the
    stand-in itself are noted as gaps.
    """
    if isinstance(raised, MemoryError):
        return True
    files = [frame.filename for frame in traceback.extract_tb(raised.__traceback__)]
    own = [file for file in files if not file.startswith(_STANDIN)]
    return not own or own[-1].startswith(_HERE)


def describe(raised: BaseException) -> Dict[str, Any]:
    """Return class, message, innermost frames and the end of the traceback."""
    lines = traceback.format_exception(type(raised), raised, raised.__traceback__)
    return {
        "type": type(raised).__name__,
        "message": _without_addresses(str(raised))[:4000],
        "frames": _frames(raised),
        "traceback": _without_addresses("".join(lines[-5:]))[-3000:],
    }


def _frames(raised: BaseException) -> List[str]:
    """Return the innermost frames as ``file:function``, release-relative.

    Those of the stand-in are left out: on a device they are not there.
    """
    frames = [
        frame
        for frame in traceback.extract_tb(raised.__traceback__)
        if not frame.filename.startswith(_STANDIN)
    ][-5:]
    return ["{}:{}".format(_relative(frame.filename), frame.name) for frame in frames]


def _relative(path: str) -> str:
    for root in ("transformer_engine/", "torch/", "worker/"):
        if root in path:
            return root + path.rpartition(root)[2]
    return path.rpartition("/")[2]


def _without_addresses(text: str) -> str:
    """Replace what differs between two runs of the same thing: folders and addresses."""
    roots = r"((?:transformer_engine|torch|worker)/)"
    text = re.sub(r"(?<=['\"])/[^'\"\n]*?/" + roots, r"\1", text)
    return re.sub(r"0x[0-9a-f]{6,}", "0x...", text)
