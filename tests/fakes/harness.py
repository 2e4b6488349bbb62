"""``te-matrix`` on fake workers: ``python -m fakes.harness FOLDER run ...``."""

from __future__ import annotations

import sys
from pathlib import Path

from fakes.planting import Anywhere
from matrix.cli import main, opening
from matrix.lane import local

if __name__ == "__main__":
    folder = Path(sys.argv.pop(1))
    local.WORKER = folder / "worker"
    opening.FetchedSources = lambda *_words, **_options: Anywhere(folder)  # type: ignore[assignment,misc]
    main()
