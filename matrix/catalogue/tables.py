"""Read TOML tables strictly: all mistakes are reported at once, with file and line."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from matrix.errors import TableError
from matrix.system import shipped


class Row(BaseModel):
    """Base of the records that tables hold: unknown keys are refused, values are immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


Table = TypeVar("Table", bound=BaseModel)


def packaged(name: str) -> Path:
    """Return the path of a table that ships with the package."""
    return shipped.PACKAGE / "catalogue" / "data" / name


def load(path: Path, kind: type[Table]) -> Table:
    """Return the contents of a TOML file as a record.

    :param kind: the type of the record.
    :raises TableError: the file is missing, is not TOML, or does not match ``kind``; the
        message names every mistake with its line.
    """
    text = _read(path)
    try:
        return kind.model_validate_json(_as_json(tomllib.loads(text)))
    except ValidationError as error:
        mistakes = [_mistake(path, text, item) for item in error.errors()]
        raise TableError("\n".join(mistakes)) from error
    except (ValueError, RecursionError) as error:
        raise TableError(f"{path} is not TOML: {error}") from error


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise TableError(f"{path} cannot be read: {error}") from error


def _as_json(data: dict[str, Any]) -> str:
    # In strict mode pydantic accepts dates and tuples from JSON only.
    return json.dumps(data, default=str)


def _mistake(path: Path, text: str, item: Any) -> str:
    where = ".".join(str(part) for part in item["loc"])
    given = "" if item["type"] == "missing" else f", not {item['input']!r}"
    return f"{path}:{line_of(text, item['loc'])}: {where}: {item['msg']}{given}"


def line_of(text: str, loc: Sequence[int | str]) -> int:
    """Return the line number, from 1, of a value in the text of a TOML file.

    :param loc: keys and indices from the top, e.g. ``("rule", 3, "outcome")``. For a value
        that the text lacks, the line of its table's header is returned.
    """
    lines = text.splitlines()
    start, rest = _header(lines, loc)
    if rest and isinstance(rest[0], str):
        key = re.compile(rf"\s*{re.escape(rest[0])}\s*=")
        for number in range(start, len(lines)):
            if number > start and lines[number].lstrip().startswith("["):
                break
            if key.match(lines[number]):
                return number + 1
    return start + 1


def _header(lines: list[str], loc: Sequence[int | str]) -> tuple[int, Sequence[int | str]]:
    """Return the index of the table's header line, and the part of ``loc`` below it."""
    if len(loc) >= 2 and isinstance(loc[1], int):
        headers = [n for n, line in enumerate(lines) if line.strip() == f"[[{loc[0]}]]"]
        if loc[1] < len(headers):
            return headers[loc[1]], loc[2:]
    if len(loc) >= 2:
        name = f"[{loc[0]}.{loc[1]}]"
        for number, line in enumerate(lines):
            if line.strip() == name:
                return number, loc[2:]
    return 0, loc
