"""Everything that reads a checkpoint's bytes: a refusal, and no call that a pickle asks for."""

from __future__ import annotations

import io
import pickle
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from helpers.builders import recorded_bytes
from matrix.checkpoint import emit, nodes, pickles, states, torchfile
from matrix.checkpoint.contents import Contents
from matrix.checkpoint.errors import CheckpointError, Malformed
from matrix.checkpoint.formats import distributed_index, safetensors, torch_save
from matrix.checkpoint.limits import Budget
from matrix.checkpoint.states import ExtraState
from matrix.checkpoint.words import StateContainer

_FORBIDDEN = {"os.system", "os.exec", "os.posix_spawn", "subprocess.Popen", "import", "exec"}
_armed = False
_watching = False


def _watch(event: str, arguments: tuple[object, ...]) -> None:
    # A text's encoding may have Python import a codec of its own.
    if _armed and event in _FORBIDDEN and "encodings" not in str(arguments[0]):
        raise AssertionError(f"reading a checkpoint led to {event}{arguments}")


def one(data: bytes) -> None:
    """Read one input as each of the formats."""
    global _armed  # noqa: PLW0603
    _armed = _watching
    try:
        for read in (_torch, _state, _safetensors, _index):
            try:
                read(data)
            except (Malformed, CheckpointError):
                continue
    finally:
        _armed = False


def _torch(data: bytes) -> None:
    source = torchfile.of_bytes(data)
    torch_save.add(source, "x", Contents())
    written = emit.emit(source.root, source.protocol)
    if not nodes.same(pickles.read(written).root, source.root):
        raise AssertionError("what was emitted is not what was read")


def _state(data: bytes) -> None:
    state = ExtraState("x._extra_state", "x", StateContainer.BYTE_TENSOR)
    states.of_content(state, data, Budget())


def _safetensors(data: bytes) -> None:
    stream = io.BytesIO(data)
    list(safetensors.states_of(safetensors.read_header(stream), stream, "x", Budget()))


def _index(data: bytes) -> None:
    _SCRATCH.write_bytes(data)
    distributed_index.read(_SCRATCH)


_SCRATCH = Path(tempfile.mkdtemp(prefix="te-matrix-fuzz-")) / ".metadata"


def seeds() -> Iterator[bytes]:
    """Yield recorded checkpoints and plain pickles."""
    for release in ("1.5", "1.7", "1.14", "2.17.1"):
        data = recorded_bytes(release, "attention-only")
        yield data
        yield emit.emit(torchfile.of_bytes(data).root, 2)
    for protocol in range(6):
        value = {"a": [1, 2.0, b"x", {3}, (None, True)], "b": frozenset("ab")}
        yield pickle.dumps(value, protocol)


def begin() -> None:
    """From now on no input may lead to a call; whatever is imported late has been."""
    global _watching  # noqa: PLW0603
    _watching = True
    sys.addaudithook(_watch)
