"""``te-matrix`` on fake workers: ``python -m fakes.harness FOLDER run ...``."""

from __future__ import annotations

import sys
from pathlib import Path

from fakes.planting import Anywhere
from matrix.cli import main
from matrix.lane import local
from matrix.workflow import runners

if __name__ == "__main__":
    folder = Path(sys.argv.pop(1))
    local.WORKER = folder / "worker"
    runners.FetchedSources = lambda *_words, **_options: Anywhere(folder)  # type: ignore[assignment,misc]
    main()
