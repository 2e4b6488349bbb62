"""What a process does before it forks, so that its children copy little of its memory.

A child shares its parent's pages until it writes to one; reference counts count as
writing. What costs most of a short-lived child's time is the pages that it copies.
"""

import gc
import sys


def settle() -> None:
    """Keep the garbage collector and the interpreter's caches off the memory made so far."""
    gc.disable()
    gc.collect()
    # A collection in a child would touch, and so copy, every page of this process.
    gc.freeze()
    forget_lookups()


def forget_lookups() -> None:
    """Empty the interpreter's cache of attribute lookups.

    It holds the names looked up last, of which importing leaves thousands. A child that
    overwrites such an entry lets go of the name, and copies the page that it lies in.
    """
    # Of CPython alone, and from 3.13 on under another name as well.
    clear = getattr(sys, "_clear_type_cache", None)
    if clear is not None:
        clear()
