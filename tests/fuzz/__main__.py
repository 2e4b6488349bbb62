"""`nox -s fuzz`: coverage-guided fuzzing of everything that reads what others wrote.

    PYTHONPATH=tests python -m fuzz TARGET [libFuzzer's options]

A target is a module beside this one. Nothing but the project's own named errors may come of
any input, and none may take long or much memory.
"""

from __future__ import annotations

import importlib
import sys
import tempfile
from pathlib import Path

import atheris

_OPTIONS = ["-max_len=65536", "-timeout=10", "-rss_limit_mb=1500"]


def main() -> None:
    """Fuzz one target, from its own seeds; options override what stands here."""
    name, *options = sys.argv[1:]
    with atheris.instrument_imports(include=["matrix"], exclude=["matrix.worker"]):
        target = importlib.import_module(f"fuzz.{name}")
    folder = Path(tempfile.mkdtemp(prefix=f"te-matrix-{name}-"))
    for number, seed in enumerate(target.seeds()):
        target.one(seed)
        (folder / str(number)).write_bytes(seed)
    getattr(target, "begin", bool)()
    found = f"-artifact_prefix={tempfile.gettempdir()}/te-matrix-{name}-"
    atheris.Setup([sys.argv[0], *_OPTIONS, found, *options, str(folder)], target.one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
