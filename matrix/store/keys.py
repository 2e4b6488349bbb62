"""Keys of records: digests of what was measured, without the environment."""

from __future__ import annotations

import hashlib
import json
from typing import Any

OBSERVATION = 3
"""Version of the measurement, part of every key; raised by hand when its meaning changes."""


_canonical = json.JSONEncoder(sort_keys=True).encode


def digest_of(value: Any) -> str:
    """Return the SHA-256 of a value's JSON with sorted keys."""
    return hashlib.sha256(_canonical(value).encode()).hexdigest()


def save_key(source: str, scenario: str, lane: str) -> str:
    """Return the key of a save.

    :param source: digest of the release's source.
    :param scenario: digest of the scenario at its size.
    :param lane: see ``Plan.lane_key``.
    """
    return digest_of(["save", source, scenario, lane, OBSERVATION])


def load_key(source: str, state: str, scenario: str, variant: str, lane: str) -> str:
    """Return the key of a load.

    :param source: digest of the loading release's source.
    :param state: semantic digest of the checkpoint's state, see ``Save.state_digest``.
    :param scenario: digest of the scenario at its size.
    :param variant: name of the variant.
    :param lane: see ``Plan.lane_key``.
    """
    return digest_of(["load", source, state, scenario, variant, lane, OBSERVATION])


def attempt_key(saver: str, loader: str, scenario: str, variant: str, lane: str) -> str:
    """Return the key of failed attempts at a cell, or at a save.

    :param saver: digest of the saving release's source.
    :param loader: digest of the loading release's source; empty for a save.
    :param scenario: digest of the scenario at its size.
    :param variant: name of the variant; empty for a save.
    :param lane: see ``Plan.lane_key``.
    """
    return digest_of(["attempt", saver, loader, scenario, variant, lane, OBSERVATION])
