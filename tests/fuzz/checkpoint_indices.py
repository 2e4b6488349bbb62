"""Indices of distributed checkpoints and headers of safetensors, altered value by value."""

from __future__ import annotations

import io
import json
import pickle
import random
import struct
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from fuzz.altering import altered
from helpers.formats import layered, recorded_state, torch_dist
from helpers.formats import safetensors as save_safetensors
from matrix.checkpoint import emit, layout, nodes, pickles
from matrix.checkpoint.errors import CheckpointError, Malformed
from matrix.checkpoint.formats import safetensors
from matrix.checkpoint.limits import Budget

_FOLDER = Path(tempfile.mkdtemp(prefix="te-matrix-fuzz-"))
_ODD: list[Any] = [None, -1, 0, 1 << 70, 1 << 7000, "", "../x", "/etc/passwd", "x" * 5000, b"", [],
                   (), nodes.Map(), nodes.Global("posix", "system"), 1.5]  # fmt: skip


def _distributed() -> Path:
    state = layered(recorded_state("2.17.1"), 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch_dist(state, _FOLDER)


_CHECKPOINT = _distributed()
_INDEX = (_CHECKPOINT / ".metadata").read_bytes()
_SAFETENSORS = save_safetensors(layered(recorded_state("2.17.1"), 1), _FOLDER).read_bytes()
(_LENGTH,) = struct.unpack_from("<Q", _SAFETENSORS)
_HEADER, _TENSORS = json.loads(_SAFETENSORS[8 : 8 + _LENGTH]), _SAFETENSORS[8 + _LENGTH :]


def one(data: bytes) -> None:
    """Read an input as an index and as a header; a zero byte says to alter good ones."""
    made = data[:1] == b"\0"
    index = _altered_index(random.Random(data)) if made else data
    header = altered(data, [_HEADER]) if made else data
    _read_index(index)
    _read_header(struct.pack("<Q", len(header)) + header + _TENSORS)


def _read_index(index: bytes) -> None:
    (_CHECKPOINT / ".metadata").write_bytes(index)
    try:
        layout.find(_CHECKPOINT).read()
    except CheckpointError as error:
        assert "\n" not in str(error)


def _read_header(whole: bytes) -> None:
    stream = io.BytesIO(whole)
    try:
        list(safetensors.states_of(safetensors.read_header(stream), stream, "x", Budget()))
    except Malformed as error:
        assert "\n" not in str(error)


def _altered_index(chance: random.Random) -> bytes:
    """Return the index with a few of its values changed, wherever they are."""
    root = pickles.read(_INDEX).root
    for _change in range(chance.randint(1, 3)):
        maps = [n for n in nodes.every(root) if isinstance(n, nodes.Map) and n.pairs]
        pairs = chance.choice(maps).pairs
        place = chance.randrange(len(pairs))
        key, value = pairs[place]
        match chance.randrange(4):
            case 0:
                pairs[place] = key, chance.choice(_ODD)
            case 1:
                pairs[place] = chance.choice(_ODD), value
            case 2:
                del pairs[place]
            case _:
                pairs[place] = key, chance.choice(maps).pairs[0][1] if maps else None
    try:
        return emit.emit(root, 4)
    except Malformed:
        return pickle.dumps(None)


def seeds() -> Iterator[bytes]:
    """Yield the index, the header, and inputs that alter them."""
    yield _INDEX
    yield json.dumps(_HEADER).encode()
    assert torch.__version__
    for number in range(20):
        yield b"\0%d" % number
