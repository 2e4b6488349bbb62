"""Writing a safetensors file anew, its extra states edited."""

from __future__ import annotations

import json
from typing import Any, BinaryIO

from matrix.checkpoint import safetensors
from matrix.checkpoint.writing import Copied, Edits, copy_range


def write(stream: BinaryIO, edits: Edits, out: BinaryIO, copied: Copied) -> None:
    """Write a safetensors file with edits applied, tensors in the order of their data."""
    header = safetensors.read(stream)
    order = sorted(header.tensors.items(), key=lambda item: item[1]["data_offsets"])
    entries: dict[str, Any] = {"__metadata__": header.metadata} if header.metadata else {}
    parts: list[tuple[int, int] | bytes] = []
    place = 0
    for key, entry in order:
        edit = edits.get(("", key))
        if edit is not None and edit.new_key is None:
            continue
        payload = edit.payload if edit else None
        first, last = entry["data_offsets"]
        size = last - first if payload is None else len(payload)
        new = {**entry, "data_offsets": [place, place + size]}
        if payload is not None:
            new |= {"dtype": "U8", "shape": [size]}
        entries[str(edit.new_key) if edit else key] = new
        parts.append((header.start + first, size) if payload is None else payload)
        place += size
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    out.write(safetensors.LENGTH.pack(len(text)) + text)
    for part in parts:
        if isinstance(part, bytes):
            out.write(part)
        else:
            stream.seek(part[0])
            copy_range(stream, out, part[1], copied)
