"""Files beside the recorded evidence, derived from it so that a command need not read all of it."""

from __future__ import annotations

import lzma
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from matrix.catalogue.words import Lane
from matrix.errors import StoreError
from matrix.store import recorded

Contents = TypeVar("Contents", bound=BaseModel)


def read(lane: Lane, name: str, kind: type[Contents]) -> Contents:
    """Return the contents of a file of a lane.

    :param kind: the type of the contents.
    :raises StoreError: the file is missing, or cannot be read.
    """
    file = recorded.folder(lane) / name
    try:
        return kind.model_validate_json(lzma.decompress(file.read_bytes()))
    except (OSError, EOFError, lzma.LZMAError, ValidationError) as error:
        raise StoreError(f"{file} cannot be read: {error}", do="Restore it") from error


def write(lane: Lane, name: str, text: str) -> None:
    """Write a file of a lane.

    :param text: the contents as JSON.
    :raises OSError: it cannot be written.
    """
    (recorded.folder(lane) / name).write_bytes(lzma.compress(text.encode(), preset=9))
