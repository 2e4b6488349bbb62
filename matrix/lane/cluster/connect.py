"""Connects to the Dask scheduler that ``--scheduler`` names."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from matrix.errors import EngineError, UsageError

if TYPE_CHECKING:
    from distributed import Client

CONNECT_TIMEOUT = 30


def require() -> None:
    """Check that Dask is installed.

    :raises UsageError: it is not.
    """
    try:
        import distributed  # noqa: F401
    except ImportError as error:
        raise UsageError(
            "--scheduler needs the Python package distributed",
            do="Install this package with its extra `dask`",
        ) from error


@contextlib.contextmanager
def connected(scheduler: str) -> Iterator[Client]:
    """Yield a client that is connected to a scheduler.

    :param scheduler: an address such as ``tcp://host:8786``, a scheduler file, or ``local``
        or ``local:N`` for a cluster of N workers on this machine that ends with the context.
    :raises UsageError: Dask is not installed, or ``scheduler`` is none of these.
    :raises EngineError: no scheduler answers there.
    """
    require()
    from distributed import Client, LocalCluster

    if local := re.fullmatch(r"local(?::([1-9]\d*))?", scheduler):
        count = int(local[1]) if local[1] else None
        with (
            LocalCluster(
                n_workers=count, threads_per_worker=1, dashboard_address="127.0.0.1:0"
            ) as cluster,
            Client(cluster) as client,
        ):
            yield client
        return
    by_file = Path(scheduler).is_file()
    where = {"scheduler_file": scheduler} if by_file else {"address": scheduler}
    try:
        client = Client(**where, timeout=CONNECT_TIMEOUT)
    except ValueError as error:
        raise UsageError(
            f"--scheduler {scheduler} is no scheduler",
            why=str(error),
            do="Give an address like tcp://host:8786, a scheduler file, local or local:N",
        ) from error
    except (OSError, TimeoutError) as error:
        raise EngineError(
            f"no Dask scheduler answers at {scheduler}",
            why=str(error) or f"nothing came within {CONNECT_TIMEOUT} s",
            do="See that it runs and can be reached from here",
        ) from error
    with client:
        yield client
