"""Folders of shards: which files of one make the checkpoint, and whether one is missing."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from matrix.checkpoint import limits, states
from matrix.checkpoint.limits import CheckpointError

_TORCH = (".pt", ".pth", ".bin", ".ckpt", ".distcp")
_RANK = re.compile(r"^mp_rank_(\d+)(?:_(\d+))?(?:_(\d+))?$")
_SHARD = re.compile(r"^shard_(?P<place>[\d.]+)_(?P<total>[\d.]+)\.pt$")
_INDEX = (".safetensors.index.json", ".bin.index.json")


@dataclasses.dataclass(frozen=True)
class Layout:
    """A folder's checkpoint files.

    :param indexes: the ``.metadata`` files of distributed checkpoints.
    :param files: ``torch.save`` and safetensors files, each to be read on its own.
    """

    format: str
    indexes: tuple[Path, ...]
    files: tuple[Path, ...]


def layout(path: Path) -> Layout:
    """Tell which files of a folder are the checkpoint.

    :raises CheckpointError: there are none, or some are missing.
    """
    found = sorted(walk(path))
    indexes = tuple(file for file in found if file.name == ".metadata")
    inside = {index.parent for index in indexes}
    files = tuple(
        file
        for file in found
        if file.suffix in (*_TORCH, ".safetensors")
        and not (file.suffix == ".distcp" and file.parent in inside)
    )
    if lone := [file for file in files if file.suffix == ".distcp"]:
        raise _missing(path, f"{lone[0].relative_to(path)} has no .metadata beside it")
    if not indexes and not files:
        raise CheckpointError(
            f"{path} holds no checkpoint",
            why=f"nothing in it ends in {', '.join(_TORCH)} or .safetensors",
            do="Name the folder that the framework wrote",
        )
    _check_ranks(path, files)
    _check_shards(path, files)
    for index in found:
        if index.name.endswith(_INDEX):
            _check_weight_map(index)
    return Layout(_format(indexes, files), indexes, files)


def walk(path: Path) -> Iterator[Path]:
    """Yield every file in a folder, following links to files and none to folders.

    :raises CheckpointError: there are too many, or a link leads nowhere.
    """
    count = 0
    for folder, _folders, names in os.walk(path, followlinks=False):
        for name in names:
            count += 1
            if count > limits.FILES:
                raise CheckpointError(
                    f"{path} holds more than {limits.FILES} files", do="Name the checkpoint in it"
                )
            file = Path(folder) / name
            if file.is_symlink() and not file.exists():
                raise _missing(path, f"{file.relative_to(path)} is a link that leads nowhere")
            if file.is_file():
                yield file


def _missing(path: Path, what: str) -> CheckpointError:
    return CheckpointError(
        f"{path} is not whole: {what}",
        why="a shard was lost, or is still being written",
        do="Copy the missing file there",
    )


def refuse_links(path: Path) -> None:
    """See that no folder in a folder is a link, for what it leads to would be left out.

    :raises CheckpointError: one is.
    """
    for folder, names, _files in os.walk(path, followlinks=False):
        for name in names:
            place = Path(folder) / name
            if place.is_symlink():
                raise CheckpointError(
                    f"{place} is a link to a folder",
                    why="what is behind it would be missing in the result",
                    do="Replace it by the folder, or remove it",
                )


def shard_key(file: Path) -> str | None:
    """Return the key of a file that holds one extra state, ``<key>/shard_I_N.pt``; else None."""
    return f"{file.parent.name}/{file.stem}" if is_shard(file) else None


def is_shard(file: Path) -> bool:
    """Tell whether a file holds one shard of one extra state."""
    return states.is_state(file.parent.name) and _SHARD.match(file.name) is not None


def _check_shards(path: Path, files: tuple[Path, ...]) -> None:
    """See that every extra state kept in numbered shards has all of them."""
    present: dict[tuple[Path, str], set[str]] = defaultdict(set)
    for file in files:
        match = _SHARD.match(file.name)
        if match and states.is_state(file.parent.name) and match["total"].isdigit():
            present[file.parent, match["total"]].add(match["place"])
    for (folder, total), places in present.items():
        lost = [n for n in range(min(int(total), limits.FILES)) if str(n) not in places]
        if lost:
            raise _missing(
                path, f"{folder.relative_to(path)}/shard_{lost[0]}_{total}.pt is missing"
            )


def _check_ranks(path: Path, files: tuple[Path, ...]) -> None:
    """See that the ``mp_rank_*`` folders are numbered without a gap."""
    ranks: dict[Path, set[int]] = defaultdict(set)
    width = 2
    for folder in {file.parent for file in files}:
        if match := _RANK.match(folder.name):
            ranks[folder.parent].add(int(match[1]))
            width = len(match[1])
    for folder, numbers in ranks.items():
        lost = [n for n in range(min(max(numbers), limits.FILES)) if n not in numbers]
        if lost:
            place = (folder / f"mp_rank_{lost[0]:0{width}d}").relative_to(path)
            raise _missing(path, f"{place} is missing, though later ranks are there")


def _check_weight_map(index: Path) -> None:
    """See that every file of a Hugging Face index is there."""
    try:
        named = set(json.loads(index.read_text())["weight_map"].values())
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{index} is not an index of shards", do="Restore it") from error
    for name in sorted(map(str, named)):
        if not (index.parent / name).is_file():
            raise _missing(index.parent, f"{name} is missing, which {index.name} names")


def _format(indexes: tuple[Path, ...], files: tuple[Path, ...]) -> str:
    if indexes:
        return "distributed checkpoint (torch_dist)"
    if any(_RANK.match(file.parent.name) for file in files):
        return "Megatron-LM mp_rank folders"
    if any(states.is_state(file.parent.name) for file in files):
        return "folder with sharded extra states"
    kinds = {file.suffix for file in files}
    return "safetensors shards" if kinds == {".safetensors"} else "folder of torch.save files"
