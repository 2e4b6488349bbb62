"""Rule: whatever ends a rewrite before its time, nothing that looks like a result is left; and it
takes little memory, however large a tensor is."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from helpers import quantized

pytestmark = pytest.mark.integration

SLOWLY = """
import signal, sys, time
from matrix.checkpoint.copying import Output
from matrix.cli import main
if "{tmpfile}" == "no":
    import os
    del os.O_TMPFILE
write = Output.write
def slowly(output, data):
    write(output, data)
    if output.size > 8 << 20:
        print("half way", flush=True)
        time.sleep({seconds})
Output.write = slowly
sys.argv[0] = "te-matrix"
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
main()
"""
"""``te-matrix``, which says when it is in the middle, and then waits after every piece."""
MIB = 1 << 20


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a file that has one quantized weight of 64 MiB."""
    folder = tmp_path_factory.mktemp("large") / "iter_1" / "mp_rank_00"
    folder.mkdir(parents=True)
    return quantized.large(folder / "model_optim_rng.pt", "delayed-scaling", "2.4", 1).parent.parent


def command(path: Path, out: Path, *, tmpfile: str = "yes", seconds: float = 0) -> list[str]:
    program = SLOWLY.format(tmpfile=tmpfile, seconds=seconds)
    options = ["--to", "2.20.2", "--dequantize", "bf16"]
    return [sys.executable, "-c", program, "remap", str(path), str(out), *options]


def of_kind(kind: str, large: Path) -> tuple[Path, str]:
    """The checkpoint, and whether files without a name may be made."""
    file = large / "mp_rank_00" / "model_optim_rng.pt"
    return {"file": (file, "yes"), "named file": (file, "no"), "folder": (large, "yes")}[kind]


KINDS = ["file", "named file", "folder"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_signal_in_the_middle(
    sent: signal.Signals, kind: str, large: Path, tmp_path: Path
) -> None:
    """What a killed run leaves has a name that says so, and is removed by the next run."""
    path, tmpfile = of_kind(kind, large)
    with subprocess.Popen(
        command(path, tmp_path / "new", tmpfile=tmpfile, seconds=60),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        assert running.stdout is not None and running.stdout.readline() == "half way\n"
        running.send_signal(sent)
        _said, complaint = running.communicate(timeout=60)
    left = [file.name for file in tmp_path.iterdir()]
    if sent == signal.SIGINT:
        assert running.returncode == 130
        assert complaint.startswith("te-matrix: interrupted") and "Traceback" not in complaint
        assert left == []
        return
    assert running.returncode == -sent
    assert all(name.startswith(".te-matrix-") for name in left)
    assert len(left) == (0 if kind == "file" else 1)
    again = subprocess.run(command(path, tmp_path / "new", tmpfile=tmpfile), check=False)
    assert again.returncode == 0
    assert [file.name for file in tmp_path.iterdir()] == ["new"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_may_not_grow(kind: str, large: Path, tmp_path: Path) -> None:
    """As on a disk that is full before it was expected to be."""
    path, tmpfile = of_kind(kind, large)
    done = subprocess.run(
        command(path, tmp_path / "new", tmpfile=tmpfile),
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20 * MIB, 20 * MIB)),
    )
    assert done.returncode == 2, done.stderr
    assert "File too large" in done.stderr and done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def on_a_terminal(words: list[str], *, piped: bool) -> tuple[bytes, bytes]:
    """Run a command with standard error on a terminal, and standard output there or in a pipe.

    :returns: what is seen on the terminal, and what was piped.
    """
    master, slave = pty.openpty()
    stdout = subprocess.PIPE if piped else slave
    with subprocess.Popen(words, stdout=stdout, stderr=slave, stdin=slave) as running:
        os.close(slave)
        seen = b""
        with contextlib.suppress(OSError):  # at the end of what a terminal shows
            while part := os.read(master, 1 << 16):
                seen += part
        said = running.stdout.read() if running.stdout else b""
    os.close(master)
    assert running.returncode == 0, seen
    return seen, said


def plain(path: Path, out: Path) -> list[str]:
    return [sys.executable, "-m", "matrix", *command(path, out)[3:]]


def test_progress_is_shown_on_a_terminal_and_not_in_a_pipe(large: Path, tmp_path: Path) -> None:
    count = re.compile(rb"MiB.*?(\d+)/(\d+)")
    for number, piped in enumerate((False, True)):
        seen, said = on_a_terminal(plain(large, tmp_path / f"{number}"), piped=piped)
        counts = [(int(done), int(all_)) for done, all_ in count.findall(seen)]
        assert counts and counts[-1][0] == counts[-1][1] and counts[-1][1] in range(127, 131)
        assert b"MiB" not in said and (b"done: " in said) == piped
    done = subprocess.run(plain(large, tmp_path / "quiet"), capture_output=True, check=True)
    assert b"MiB" not in done.stdout and done.stderr == b""


MEMORY = """
import pathlib, resource, sys
{hide}
from matrix.catalogue import forms
from matrix.checkpoint import edits, layout
from matrix.checkpoint.quantized.changes import WeightChange
from matrix.checkpoint.rewriting import Rewrite, publishing
from matrix.system.progress import Progress
path, out = map(pathlib.Path, sys.argv[1:])
found = layout.find(path)
contents, form = found.read(), forms.load()["2.4"]
edits = edits.plan(contents, form, lenient=True)
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
before = peak()
rewrite = Rewrite(found, edits, form, "copy", WeightChange({change}), contents.quantized.files)
with publishing(rewrite, out, Progress()):
    pass
print(peak() - before)
"""
HIDDEN = (
    'sys.modules["numpy"] = None; import importlib.util; importlib.util.find_spec = lambda _: None'
)


@pytest.mark.parametrize("hide", ["", HIDDEN], ids=["NumPy", "the standard library"])
@pytest.mark.parametrize("change", ['into="2.20.2"', 'dtype="float32"'])
@pytest.mark.parametrize("recipe", ["delayed-scaling", "mxfp8", "block-scaling"])
def test_memory_is_that_of_some_pieces(recipe: str, change: str, hide: str, tmp_path: Path) -> None:
    """A weight of 64 MiB of data; its scales, and its result of 256 MiB, are never there whole."""
    path = quantized.large(tmp_path / "large.pt", recipe, "2.4", 1)
    program = MEMORY.format(hide=hide, change=change)
    words = [sys.executable, "-c", program, str(path), str(tmp_path / "new.pt")]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 60 * 1024
