"""Prepares a process for forking, so that its children copy little of its memory.

A child shares the pages of its parent until it writes to them, and changing a reference count
is writing. A short-lived child spends most of its time with copying pages.
"""

import gc
import sys


def prepare_to_fork() -> None:
    """Keep the garbage collector and the type cache from writing to existing memory."""
    gc.disable()
    gc.collect()
    # A collection in a child would write to, and so copy, every page.
    gc.freeze()
    clear_type_cache()


def clear_type_cache() -> None:
    """Clear the interpreter's cache of attribute lookups.

    After the imports it holds thousands of names. A child that overwrites an entry changes the
    reference count of the old name, and so copies its page.
    """
    # Only CPython has it, and from 3.13 on under another name as well.
    clear = getattr(sys, "_clear_type_cache", None)
    if clear is not None:
        clear()
