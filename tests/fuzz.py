"""`nox -s fuzz`: coverage-guided fuzzing of everything that reads a checkpoint's bytes.

Nothing but a refusal may come of any input, no call may be made that a pickle asks for,
and no input may take long or much memory. Options go to libFuzzer, e.g. -max_total_time=60.
"""

from __future__ import annotations

import io
import pickle
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["matrix.doctor"]):
    from matrix.doctor import distributed, emit, nodes, pickles, safetensors, states, torchfile
    from matrix.doctor.limits import Budget, CheckpointError, Malformed
    from matrix.doctor.scan import Scan

_FORBIDDEN = {"os.system", "os.exec", "os.posix_spawn", "subprocess.Popen", "import", "exec"}
_OPTIONS = ["-max_len=65536", "-timeout=10", "-rss_limit_mb=1500"]
_armed = False


def _watch(event: str, arguments: tuple[object, ...]) -> None:
    # A text's encoding may have Python import a codec of its own.
    if _armed and event in _FORBIDDEN and "encodings" not in str(arguments[0]):
        raise AssertionError(f"reading a checkpoint led to {event}{arguments}")


def one(data: bytes) -> None:
    """Read one input as each of the formats."""
    global _armed  # noqa: PLW0603
    _armed = True
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
    Scan(Path("x"), source.kind).take("x", source)
    written = emit.emit(source.root, source.protocol)
    if not nodes.same(pickles.read(written).root, source.root):
        raise AssertionError("what was emitted is not what was read")


def _state(data: bytes) -> None:
    states.of_payload("x._extra_state", "x", data, Budget())


def _safetensors(data: bytes) -> None:
    stream = io.BytesIO(data)
    list(safetensors.states_of(safetensors.read(stream), stream, "x"))


def _index(data: bytes) -> None:
    _SCRATCH.write_bytes(data)
    distributed.read(_SCRATCH)


_SCRATCH = Path(tempfile.mkdtemp(prefix="te-matrix-fuzz-")) / ".metadata"


def seeds(folder: Path) -> None:
    """Write the inputs to start from: recorded checkpoints and plain pickles."""
    from formats import recorded_bytes

    for release in ("1.5", "1.7", "1.14", "2.17.1"):
        data = recorded_bytes(release, "attention-only")
        (folder / release).write_bytes(data)
        root = torchfile.of_bytes(data)
        (folder / f"{release}.pkl").write_bytes(emit.emit(root.root, 2))
    for protocol in range(6):
        value = {"a": [1, 2.0, b"x", {3}, (None, True)], "b": frozenset("ab")}
        (folder / f"plain{protocol}").write_bytes(pickle.dumps(value, protocol))


def main() -> None:
    folder = Path(tempfile.mkdtemp(prefix="te-matrix-corpus-"))
    seeds(folder)
    for seed in folder.iterdir():
        one(seed.read_bytes())  # whatever is imported late is imported now
    sys.addaudithook(_watch)
    given = [option for option in sys.argv[1:] if option.startswith("-")]
    found = f"-artifact_prefix={tempfile.gettempdir()}/te-matrix-"
    atheris.Setup([sys.argv[0], *_OPTIONS, found, *given, str(folder)], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
