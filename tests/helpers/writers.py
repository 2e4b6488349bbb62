"""Eight writers of one store, in processes of their own; run by a test of shared stores.

    python -m helpers.writers URL WRITERS

Arguments: the store's URL, and the number of writers. Each prints its process id, writes all
records of a small synthetic matrix in an order of its own, a checkpoint of its own, and an
attempt; the last one is to be killed while it uploads its checkpoint.
"""

from __future__ import annotations

import os
import random
import sys
import tempfile
import traceback
from pathlib import Path

from helpers.builders import TODAY
from helpers.synthetic import a_plan, records
from matrix.store.records import Attempt, Load
from matrix.store.store import Store

RELEASES = 4
LARGE = 40 << 20  # more than the sockets between can hold


def checkpoint(number: int) -> bytes:
    return b"checkpoint %d" % number


def last_checkpoint(number: int) -> bytes:
    return checkpoint(number) * (LARGE // len(checkpoint(number)))


def write(url: str, number: int, writers: int) -> None:
    store = Store(url)
    store.prepare()
    everything = records(a_plan(RELEASES))
    random.Random(number).shuffle(everything)
    last = number == writers - 1
    for record in everything:
        store.add(record)
    if number == 0:
        seen = next(r for r in everything if isinstance(r, Load))
        store.add(seen.model_copy(update={"missing_keys": ("seen by one writer only",)}))
    store.add_attempt(Attempt(key="k", kind="infra", message=f"{number}", at=str(TODAY)))
    with tempfile.NamedTemporaryFile() as file:
        data = last_checkpoint(number) if last else checkpoint(number)
        Path(file.name).write_bytes(data)
        store.add_checkpoint(Path(file.name))


def main() -> None:
    url, writers = sys.argv[1], int(sys.argv[2])
    children = []
    for number in range(writers):
        child = os.fork()
        if child == 0:
            try:
                write(url, number, writers)
                os._exit(0)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
        children.append(child)
    print(*children, flush=True)
    print(*(os.waitpid(child, 0)[1] for child in children), flush=True)


if __name__ == "__main__":
    main()
