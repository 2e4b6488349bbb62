"""Checks that a folder lacks no file: no rank, no numbered shard, no file that an index names."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from matrix.checkpoint import json_objects, limits, states
from matrix.checkpoint.errors import CheckpointError, Malformed, incomplete
from matrix.checkpoint.formats import state_shard
from matrix.checkpoint.limits import Budget

RANK = re.compile(r"^mp_rank_(\d+)(?:_(\d+))?(?:_(\d+))?$")
_INDEX = (".safetensors.index.json", ".bin.index.json")


def check(path: Path, files: Sequence[Path], everything: Iterable[Path]) -> None:
    """Check a folder for missing files.

    :param files: the files that are part of the checkpoint.
    :param everything: all files in the folder.
    :raises CheckpointError: one is missing.
    """
    _check_ranks(path, files)
    _check_shards(path, files)
    for file in everything:
        if file.name.endswith(_INDEX):
            _check_weight_map(file)


def _check_shards(path: Path, files: Sequence[Path]) -> None:
    """Check that every extra state kept in numbered shards has all of them."""
    present: dict[tuple[Path, str], set[str]] = defaultdict(set)
    for file in files:
        match = state_shard.NAME.match(file.name)
        if match and states.is_state(file.parent.name) and match["total"].isdigit():
            present[file.parent, match["total"]].add(match["place"])
    for (folder, total), places in present.items():
        lost = [n for n in range(min(int(total), limits.FILES)) if str(n) not in places]
        if lost:
            raise incomplete(
                path, f"{folder.relative_to(path)}/shard_{lost[0]}_{total}.pt is missing"
            )


def _check_ranks(path: Path, files: Sequence[Path]) -> None:
    """Check that the ``mp_rank_*`` folders are numbered without a gap."""
    ranks: dict[Path, set[int]] = defaultdict(set)
    width = 2
    for folder in {file.parent for file in files}:
        if match := RANK.match(folder.name):
            ranks[folder.parent].add(int(match[1]))
            width = len(match[1])
    for folder, numbers in ranks.items():
        lost = [n for n in range(min(max(numbers), limits.FILES)) if n not in numbers]
        if lost:
            place = (folder / f"mp_rank_{lost[0]:0{width}d}").relative_to(path)
            raise incomplete(path, f"{place} is missing, though later ranks are there")


def _check_weight_map(index: Path) -> None:
    """Check that every file named by a Hugging Face index exists."""
    try:
        if index.stat().st_size > limits.HEADER_BYTES:
            raise Malformed("it is larger than any")
        named = set(json_objects.read(index.read_bytes(), Budget())["weight_map"].values())
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise CheckpointError(f"{index} is not an index of shards", do="Restore it") from error
    for name in sorted(map(str, named)):
        if not (index.parent / name).is_file():
            raise incomplete(index.parent, f"{name} is missing, which {index.name} names")
