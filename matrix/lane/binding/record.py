"""Records what was observed of compiled extensions.

``fixtures/binding.json`` holds all of it, with its provenance; the stand-in's table of exports is
derived from it. Both list each distinct fact once, with the releases that it is true of, and have
a line for each name, so that a new release's changes can be read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matrix.errors import UsageError
from matrix.lane.binding.observation import Facts, Observed
from matrix.system import shipped
from matrix.worker.standin.exports import spelled_out

RECORDED = shipped.PACKAGE.parent / "fixtures" / "binding.json"
EXPORTS = shipped.PACKAGE / "worker" / "standin" / "exports.json"

_LISTS = ("classes", "submodules", "star")
"""Fields of :class:`Facts` that are lists of names."""


def write(seen: Sequence[Observed], provenance: Mapping[str, Any], path: Path = RECORDED) -> None:
    """Write what was observed of compiled extensions.

    :param seen: the releases, oldest first.
    :param provenance: what the extensions were compiled from, and with what.
    """
    by_release = {}
    for one in seen:
        fields = one.compiled.model_dump(exclude={"reads"})
        fields |= {name: dict.fromkeys(fields[name], True) for name in _LISTS}
        by_release[one.release] = fields | {"asked": dict.fromkeys(sorted(one.asked), True)}
    _write(by_release, provenance, path)


def read(path: Path = RECORDED) -> list[Observed]:
    """Return what was recorded, oldest release first."""
    table = json.loads(path.read_text(encoding="utf-8"))
    releases = table["releases"]
    found = []
    for release in releases:
        fields: dict[str, Any] = {
            kind: _true_of(release, table[kind], releases) for kind in table["kinds"]
        }
        asked = frozenset(fields.pop("asked"))
        fields |= {name: sorted(fields[name]) for name in _LISTS}
        found.append(Observed(release, Facts(**fields, reads={}), asked))
    return found


def write_exports(seen: Sequence[Observed], path: Path = EXPORTS) -> None:
    """Write the table that the stand-in is assembled from.

    :raises UsageError: an enumeration behaves as none that the stand-in knows.
    """
    by_release = {one.release: _exports(one) for one in seen}
    _write(by_release, {"derived from": "fixtures/binding.json"}, path)


def _exports(one: Observed) -> dict[str, dict[str, Any]]:
    """Return the exports of one release, by kind and name."""
    facts = one.compiled
    return {
        "functions": dict(facts.functions),
        "enumerations": {
            name: _enumeration(f"{name} of {one.release}", told)
            for name, told in facts.enumerations.items()
        },
        "classes": dict.fromkeys(facts.classes, True),
        "constants": dict(facts.constants),
        "submodules": dict.fromkeys(facts.submodules, True),
        "absent": dict.fromkeys(sorted(one.asked - set(facts.kinds)), True),
    }


_EQUALITY = {
    ("False", "False"): "members",
    ("True", "False"): "numbers",
    ("True", "RuntimeError"): "cast",
}
"""What a member equals, by the answers to comparing it with its number and with None."""


def _enumeration(what: str, told: dict[str, Any]) -> dict[str, Any]:
    equality = _EQUALITY.get((told["equals"]["its number"], told["equals"]["None"]))
    # The opcode before STOP, but for memoising: BUILD or REDUCE.
    last = re.sub(rb"(q.)?\.$", b"", bytes.fromhex(told["pickle"]), flags=re.DOTALL)[-1:]
    pickle = {b"b": "state", b"R": "number"}.get(last)
    if equality is None or pickle is None:
        raise UsageError(
            f"{what} behaves as no enumeration that the stand-in knows",
            do="Teach matrix/worker/standin/enumerations.py how it behaves",
        )
    return {"members": told["members"], "equality": equality, "pickle": pickle}


def _write(
    by_release: Mapping[str, Mapping[str, Mapping[str, Any]]],
    provenance: Mapping[str, Any],
    path: Path,
) -> None:
    releases = list(by_release)
    kinds = list(by_release[releases[0]])
    head = {"provenance": provenance, "releases": releases, "kinds": kinds}
    parts = [f"{json.dumps(name)}: {json.dumps(value)}" for name, value in head.items()]
    for kind in kinds:
        facts = _by_name({release: by_release[release][kind] for release in releases})
        lines = [f"  {json.dumps(name)}: {json.dumps(fact)}" for name, fact in facts.items()]
        parts.append(json.dumps(kind) + ": {\n" + ",\n".join(lines) + "\n}")
    path.write_text("{\n" + ",\n".join(parts) + "\n}\n", encoding="utf-8")


def _by_name(held: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the facts by name and by the releases that they are true of."""
    releases = list(held)
    found: dict[str, dict[str, Any]] = {}
    for name in sorted({name for names in held.values() for name in names}):
        true_of: dict[str, list[str]] = {}
        for release in releases:
            if name in held[release]:
                true_of.setdefault(json.dumps(held[release][name]), []).append(release)
        found[name] = {spans(which, releases): json.loads(fact) for fact, which in true_of.items()}
    return found


def _true_of(
    release: str, facts: Mapping[str, Mapping[str, Any]], releases: list[str]
) -> dict[str, Any]:
    """Return the facts that are true of a release, by name."""
    return {
        name: fact
        for name, by_span in facts.items()
        for span, fact in by_span.items()
        if release in spelled_out(span, releases)
    }


def spans(which: Sequence[str], releases: Sequence[str]) -> str:
    """Return releases as spans of the list of all, e.g. ``1.0-1.8,2.1``."""
    found: list[list[str]] = []
    for release in which:
        place = releases.index(release)
        if found and found[-1][-1] == releases[place - 1]:
            found[-1].append(release)
        else:
            found.append([release])
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else run[0] for run in found)
