"""Keys: what a record is kept under, a digest of all that was asked."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from matrix.catalogue.words import Lane

OBSERVATION = 2
"""Raised by hand when the meaning of a measurement changes; it is part of every key."""


_canonical = json.JSONEncoder(sort_keys=True).encode


def digest_of(value: Any) -> str:
    """Return the SHA-256 of a value's canonical JSON."""
    return hashlib.sha256(_canonical(value).encode()).hexdigest()


def save_key(source: str, scenario: str, lane: Lane) -> str:
    """Return the key of a save.

    :param source: digest of the release's source.
    :param scenario: digest of the scenario.
    """
    return digest_of(["save", source, scenario, lane, OBSERVATION])


def load_key(source: str, state: str, scenario: str, variant: str, lane: Lane) -> str:
    """Return the key of a load.

    :param source: digest of the loading release's source.
    :param state: semantic digest of the checkpoint.
    :param scenario: digest of the scenario.
    """
    return digest_of(["load", source, state, scenario, variant, lane, OBSERVATION])


def attempt_key(saver: str, loader: str, scenario: str, variant: str, lane: Lane) -> str:
    """Return the key that failed attempts at one cell share. Without a loader: at a save."""
    return digest_of(["attempt", saver, loader, scenario, variant, lane, OBSERVATION])
