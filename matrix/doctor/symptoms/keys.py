"""The keys that a text lists as missing, unexpected or of another size."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Iterable, Mapping, Sequence

from matrix.catalogue.state_keys import EXTRA_STATE, WRAPPERS
from matrix.doctor.symptoms.table import KeyKind, KeyList
from matrix.system.counting import first_of

_QUOTED = re.compile(r"'([^']+)'")
_BARE = re.compile(
    r"[\w./]*?(?:_extra_state\d*(?:/shard_[\d_]+)?|\.(?:weight|bias)(?=[a-rt-z]))|[\w./]+"
)
_PARAMETER = re.compile(r"\.(?:weight|bias)")
SHOWN = 3


@dataclasses.dataclass(frozen=True)
class Keys:
    """Keys that a checkpoint or a model lacks, by what a text says of them.

    The names are PyTorch's: missing keys are those of the model that the checkpoint lacks.
    """

    states: Mapping[str, Mapping[str, None]]
    """Keys of extra states by ``missing``, ``unexpected``, ``size``, in the order of the text."""
    ordinary: Mapping[str, Mapping[str, None]]
    """Keys of weights and buffers, likewise."""

    def kinds(self, what: str, table: Sequence[KeyKind]) -> set[str]:
        """Return the kinds of the extra states in one of the lists."""
        return {kind_of(key, table) for key in self.states.get(what, ())}

    @property
    def weights(self) -> str:
        """A sentence on the keys of weights; empty where the text lists none."""
        parts = [
            f"{MEANINGS[what]}: {_shown(keys)}" for what, keys in self.ordinary.items() if keys
        ]
        return "; ".join(parts)

    @property
    def prefix(self) -> str:
        """What keys of one list have before those of the other, such as ``module.``; else empty."""
        lists = self.ordinary.get("missing", {}), self.ordinary.get("unexpected", {})
        for longer, shorter in (lists, reversed(lists)):
            for other in itertools.islice(shorter, SHOWN):
                for key in longer:
                    if key.endswith(f".{other}"):
                        return key.removesuffix(other)
        return ""


MEANINGS = {
    "missing": "the model has weights or other values that the checkpoint lacks",
    "unexpected": "the checkpoint has weights or other values that the model lacks",
    "size": "weights have another shape in the model than in the checkpoint",
}


def _shown(keys: Iterable[str]) -> str:
    return first_of(list(keys), SHOWN)


def kind_of(key: str, table: Sequence[KeyKind]) -> str:
    """Return the kind of the module that a key of an extra state belongs to."""
    names = key.partition(EXTRA_STATE)[0].rstrip(".").split(".")
    module = ".".join(name for name in names if name not in WRAPPERS).lower()
    return next((kind.name for kind in table if re.search(kind.pattern, module)), "other")


def find(text: str, lists: Sequence[KeyList]) -> Keys:
    """Return the keys that a squeezed text lists.

    A key that is the extra state of the whole model, without a path, gets the name of the model's
    class before it, where the text has that.
    """
    states: dict[str, dict[str, None]] = {}
    ordinary: dict[str, dict[str, None]] = {}
    for row in lists:
        for found in row.regex.finditer(text):
            for key in _keys(found[1]):
                if EXTRA_STATE in key:
                    states.setdefault(row.what, {})[_owned(key, text, found.start())] = None
                else:
                    ordinary.setdefault(row.what, {})[key] = None
    return Keys(states, ordinary)


def _keys(listed: str) -> list[str]:
    """Return the keys in a list.

    Without quotation marks a key ends only where an extra state does, or a parameter. What
    follows the last one may be the next words of the text, unless it is a parameter for certain.
    """
    if "'" in listed:
        return _QUOTED.findall(listed)
    found = [key.strip(".") for key in _BARE.findall(listed)]
    certain = [key for key in found[1:] if EXTRA_STATE in key or _PARAMETER.search(key)]
    return [key for key in found[:1] if "." in key or EXTRA_STATE in key] + certain


_OWNER = re.compile(r"inloadingstate_dictfor(\w{1,100}):")
PATTERNS = {"quoted": _QUOTED, "bare": _BARE, "parameter": _PARAMETER, "owner": _OWNER}
"""The patterns of this module by name, for the script of the report's page."""


def _owned(key: str, text: str, end: int) -> str:
    if key != EXTRA_STATE:
        return key
    owners = _OWNER.findall(text, max(0, end - 2000), end)
    return f"{owners[-1]}.{key}" if owners else key
