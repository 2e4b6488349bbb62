"""JSON that is almost right: a document with some of its values changed as the input says."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from typing import Any

_ODD: list[Any] = [
    None, True, -1, 0, 2**70, 1e308, float("nan"), float("inf"), "", "x", "1.7", "\u2028",
    "\ud800", [], {}, [None], [[]], {"": {}}, ["x", "x"], "2.18.0@cdcdcdcd", "error", "loaded",
]  # fmt: skip
_MARK = b"\x00"
"""What an input begins with that alters; any other is taken as it is."""


def seeds(documents: list[Any]) -> Iterator[bytes]:
    """Yield every document as it is, and inputs that alter each of them."""
    for number, document in enumerate(documents):
        yield json.dumps(document).encode()
        yield _MARK + bytes([number]) * 16


def altered(data: bytes, documents: list[Any]) -> bytes:
    """Return the bytes that an input stands for."""
    if not data.startswith(_MARK):
        return data
    chance = random.Random(data)  # any two inputs alter in ways of their own
    document = copy.deepcopy(chance.choice(documents))
    for _change in range(chance.randint(1, 4)):
        _alter(document, chance)
    return json.dumps(document).encode()


def _alter(document: Any, chance: random.Random) -> None:
    """Change one value anywhere in ``document``, each as likely as the others."""
    places = list(_places(document))
    if places:
        _change(*chance.choice(places), chance)


def _places(here: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every container in a document, itself among them, with each of its keys."""
    if not isinstance(here, (dict, list)):
        return
    for key in list(here) if isinstance(here, dict) else range(len(here)):
        yield here, key
        yield from _places(here[key])


def lines(data: bytes) -> bytes:
    """Return an input that is a JSON list as JSON Lines; any other as it is."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return data
    if not isinstance(found, list):
        return data
    return b"".join(json.dumps(one, separators=(",", ":")).encode() + b"\n" for one in found)


def _change(here: Any, key: Any, chance: random.Random) -> None:
    match chance.randint(0, 3):
        case 0:
            del here[key]
        case 1 if isinstance(here, list):
            here.append(copy.deepcopy(here[key]))
        case 2:
            values = list(here.values() if isinstance(here, dict) else here)
            here[key] = copy.deepcopy(chance.choice(values))
        case _:
            here[key] = copy.deepcopy(chance.choice(_ODD))
