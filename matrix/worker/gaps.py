"""Asks the cpu lane's stand-in, where it is in use, what it could not emulate."""

import sys
from typing import List


def met() -> List[str]:
    """Return the operations met and not emulated in this process; empty on a GPU."""
    gap = sys.modules.get("matrix.worker.standin.gap")
    return gap.met() if gap is not None else []
