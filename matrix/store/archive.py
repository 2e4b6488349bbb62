"""Exported evidence: one file of JSON Lines with header and footer, written and read."""

from __future__ import annotations

import gzip
import json
import lzma
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, Field

from matrix import __version__
from matrix.errors import StoreError, os_errors_as
from matrix.store.records import FORMAT, Load, Record, Save
from matrix.store.store import parse

_SCHEMA: Literal["te-matrix-evidence"] = "te-matrix-evidence"
_DIGITS = 64  # of a SHA-256
_START = '{"record":"'
_KEY = '","key":"'

_COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": lambda data: gzip.compress(data, mtime=0),
    ".xz": lambda data: lzma.compress(data, preset=9),
}
_DECOMPRESS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.decompress,
    ".xz": lzma.decompress,
}
SUFFIXES = (".jsonl", *(f".jsonl{suffix}" for suffix in _COMPRESS))
"""Suffixes of exported files; the second part of one tells how it is compressed."""


class ArchiveHeader(Record):
    """The first line of an exported file."""

    schema_: Literal["te-matrix-evidence"] = Field(default=_SCHEMA, alias="schema")
    """Name of the kind of file."""
    format: int = FORMAT
    """Version of the records' format."""
    harness: str
    """Version of te-matrix that wrote the file."""
    recorded_at: str
    """When the file was written, as a date or time in ISO 8601."""

    model_config = ConfigDict(serialize_by_alias=True)


class ArchiveFooter(Record):
    """The last line of an exported file, which shows that the file is complete."""

    records: int
    """Number of records between header and footer."""


def write(path: Path, records: Iterable[Save | Load], recorded_at: str) -> int:
    """Write records to a file, and return their number.

    The same records give the same bytes, whatever their order.

    :param path: a name that ends in ``.gz`` or ``.xz`` makes a compressed file.
    :param recorded_at: see :attr:`ArchiveHeader.recorded_at`.
    :raises StoreError: the file cannot be written.
    """
    lines = sorted(record.model_dump_json(exclude_none=True) for record in records)
    header = ArchiveHeader(harness=__version__, recorded_at=recorded_at).model_dump_json()
    footer = ArchiveFooter(records=len(lines)).model_dump_json()
    text = "\n".join([header, *lines, footer]) + "\n"
    data = text.encode()
    with os_errors_as(StoreError, f"{path} cannot be written", do="Name another file"):
        path.parent.mkdir(parents=True, exist_ok=True)
        compress = _COMPRESS.get(path.suffix)
        path.write_bytes(compress(data) if compress else data)
    return len(lines)


def is_exported(place: str) -> bool:
    """Return whether a path names an exported file; its suffix decides."""
    return place.endswith(SUFFIXES)


class Archive:
    """The records of an exported file, parsed on first use.

    :raises StoreError: the file cannot be read, or is not a complete exported file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lines: dict[str, list[tuple[int, str]]] = defaultdict(list)
        self._parsed: dict[str, list[Any]] = {}
        body = _body(path)
        for number, line in body:
            self._index(number, line)

    def _index(self, number: int, line: str) -> None:
        key = _key(line)
        if key is None:
            raise _refusal(self.path, number, "is not a record")
        if any(line == other for _number, other in self._lines[key]):
            raise _refusal(self.path, number, "repeats an earlier line")
        self._lines[key].append((number, line))

    def saves(self, key: str) -> list[Save]:
        """Return the saves under a key.

        :raises StoreError: a line is not a save.
        """
        return self._parse(Save, key)

    def loads(self, key: str) -> list[Load]:
        """Return the loads under a key.

        :raises StoreError: a line is not a load.
        """
        return self._parse(Load, key)

    def repeats(self, key: str, record: Save | Load) -> bool:
        """Return whether the file's only record under a key says what another one says.

        Lines are compared as text, up to the environment, so that none is parsed. Where it
        returns False they may agree all the same.
        """
        lines = self._lines.get(key, ())
        told = record.model_dump_json(exclude_none=True, exclude={"provenance"})
        return len(lines) == 1 and lines[0][1].startswith(f'{told[:-1]},"provenance":')

    def records(self) -> list[Save | Load]:
        """Return all records.

        :raises StoreError: a line is not a record.
        """
        return [
            parse(Save if '"record":"save"' in line else Load, line, f"{self.path}:{number}")
            for lines in self._lines.values()
            for number, line in lines
        ]

    def _parse(self, kind: type[Any], key: str) -> list[Any]:
        if key not in self._parsed:
            self._parsed[key] = [
                parse(kind, line, f"{self.path}:{number}")
                for number, line in self._lines.get(key, ())
            ]
        return self._parsed[key]


def _key(line: str) -> str | None:
    """Return the key of a record; None where a line is none.

    Of a line as this program writes it, the key is cut out: parsing all of tens of thousands
    of lines takes seconds, and a command needs a few of them. They are parsed when they are
    used.
    """
    if line.startswith(_START) and line.endswith("}"):
        _kind, found, rest = line[len(_START) : len(_START) + 100].partition(_KEY)
        key, quote, _rest = rest.partition('"')
        if found and quote and len(key) == _DIGITS and "\\" not in key:
            return key
    try:
        key = json.loads(line)["key"]
        return key if isinstance(key, str) else None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _body(path: Path) -> list[tuple[int, str]]:
    """Return the lines between header and footer with their numbers, and check those two."""
    # Not splitlines(): JSON does not escape the other line separators that a message may hold.
    lines = _text(path).removesuffix("\n").split("\n")
    header = _object(path, 1, lines[0] if lines else "")
    if header.get("schema") != _SCHEMA:
        raise _refusal(path, 1, f"is not the header of {_SCHEMA}")
    form = header.get("format", 0)
    if not isinstance(form, int) or form > FORMAT:
        raise _refusal(path, 1, f"has format {form}; this program reads {FORMAT}")
    footer = _object(path, len(lines), lines[-1])
    if footer.get("records") != len(lines) - 2:
        raise _refusal(path, len(lines), "is not a footer that counts the records: torn file")
    return list(enumerate(lines[1:-1], start=2))


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
        decompress = _DECOMPRESS.get(path.suffix)
        return (decompress(data) if decompress else data).decode()
    except (OSError, EOFError, UnicodeDecodeError, zlib.error, lzma.LZMAError) as error:
        raise StoreError(
            f"{path} cannot be read: {error}", do="Restore it from its source"
        ) from error


def _object(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise _refusal(path, number, "is not JSON") from error
    if not isinstance(found, dict):
        raise _refusal(path, number, "is not an object")
    return found


def _refusal(path: Path, number: int, what: str) -> StoreError:
    return StoreError(f"{path}:{number} {what}", do="Restore the file from its source")
