"""Checks that a folder lacks no file: no rank, no numbered shard, nothing of another step."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from matrix.checkpoint import file_kinds, states
from matrix.checkpoint.errors import CheckpointError, incomplete
from matrix.checkpoint.formats import state_shard

RANK = re.compile(r"mp_rank_(?P<tensor>\d+)(_(?P<pipeline>\d+))?(_(?P<expert>\d+))?")
"""Megatron-LM's folders of ranks: tensor, pipeline and expert, each only where it is split."""
DEEPSPEED = re.compile(r".*(mp_rank|layer|expp_rank)_.*_(model|optim)_states\.pt")
"""Names of DeepSpeed's files."""

_FOLDERS = (
    RANK,
    re.compile(r"tp_rank_(?P<tensor>\d+)_pp_rank_(?P<pipeline>\d+)"),  # NeMo
)
_FILES = (
    re.compile(r"mp_rank_(?P<tensor>\d+)_model_states\.pt"),
    re.compile(r"(bf16_)?zero_pp_rank_(?P<data>\d+)_mp_rank_(?P<tensor>\d+)_optim_states\.pt"),
    re.compile(r"zero_pp_rank_(?P<data>\d+)_mp_rank_(?P<tensor>\d+)_model_states\.pt"),
    re.compile(r"expp_rank_(?P<expert>\d+)_mp_rank_(?P<tensor>\d+)_optim_states\.pt"),
    re.compile(r"layer_(?P<some>\d+)-model_(?P<tensor>\d+)-model_states\.pt"),
    re.compile(
        r"layer_(?P<some>\d+)_expert_(?P<each>\d+)_mp_rank_(?P<tensor>\d+)_model_states\.pt"
    ),
)
"""DeepSpeed's. Layers without parameters have no file, so the numbers of layers have gaps."""
_COUNTED = re.compile(r"(?P<name>.+)-(?P<number>\d+)-of-(?P<total>\d+)(?P<end>\.\w+)")
"""Hugging Face's shards, numbered from 1."""
_MODEL = re.compile(r"model.*\.(pt|ckpt)")
"""The files that every rank has; others, such as an optimizer's, only some may have."""
_STEP = re.compile(r"(iter_|global_step|checkpoint-)\d+")
"""Folders of one step of training each: Megatron-LM's, DeepSpeed's, Hugging Face's."""
_LATEST = ("latest", "latest_checkpointed_iteration.txt")

Sizes = Mapping[str, int]
"""Numbers of ranks that the checkpoint itself states: tensor, pipeline, expert, data."""


def check(path: Path, files: Sequence[Path], everything: Iterable[Path]) -> None:
    """Check a folder for missing files, and that it is one checkpoint only.

    :param files: the files that are part of the checkpoint.
    :param everything: all files in the folder.
    :raises CheckpointError: one is missing, or there are several checkpoints.
    """
    _check_steps(path, files, everything)
    check_ranks(path, files, {})
    _check_shards(path, files)
    _check_counted(path, files)


def check_ranks(path: Path, files: Sequence[Path], sizes: Sizes) -> None:
    """Check that ranks are numbered without a gap, up to the sizes that the checkpoint states.

    :raises CheckpointError: a rank is missing, or a rank lacks a file that others have.
    """
    folders = {file.parent for file in files} - {path}
    for place in (*_lost(folders, _FOLDERS, sizes), *_lost(files, _FILES, sizes)):
        raise missing(path, place)
    _check_same_files(path, files)


def missing(path: Path, place: Path) -> CheckpointError:
    """Return the error for a file or folder that a checkpoint lacks.

    :param place: where it should be; there may be something else.
    """
    name = place.relative_to(path)
    if place.is_symlink() and place.is_dir():
        return CheckpointError(
            f"{path} is not whole: {name} is a link to a folder",
            why="links to folders are not followed, for they may lead in a circle",
            do="Put the folder itself there",
        )
    with contextlib.suppress(OSError):
        if what := file_kinds.special(place.stat().st_mode):
            return incomplete(path, f"{name} is {what}")
    return incomplete(path, f"{name} is missing")


def _check_same_files(path: Path, files: Sequence[Path]) -> None:
    """Check that every rank has the files of the model that another rank has."""
    ranks: dict[Path, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for file in files:
        if file.parent != path and any(p.fullmatch(file.parent.name) for p in _FOLDERS):
            ranks[file.parent.parent][file.parent.name].add(file.name)
    for parent, names in sorted(ranks.items()):
        wanted = {n for own in names.values() for n in own if _MODEL.fullmatch(n)}
        for rank, own in sorted(names.items()):
            for lost in sorted(wanted - own):
                raise missing(path, parent / rank / lost)


@dataclasses.dataclass
class _Numbered:
    """Files or folders whose names differ in numbers alone."""

    names: tuple[str, ...]
    """What the numbers count, in their order."""
    pieces: tuple[str, ...]
    """The text before, between and after the numbers."""
    widths: list[int]
    present: set[tuple[int, ...]] = dataclasses.field(default_factory=set)

    def name(self, numbers: tuple[int, ...]) -> str:
        """Return the name that has these numbers."""
        digits = (f"{n:0{width}d}" for n, width in zip(numbers, self.widths, strict=True))
        return "".join(itertools.chain(*zip(self.pieces, (*digits, ""), strict=True)))

    def lost(self, sizes: Sizes) -> Iterator[tuple[int, ...]]:
        """Yield the numbers that are missing of a whole grid."""
        axes = [self._axis(place, name, sizes) for place, name in enumerate(self.names)]
        return (numbers for numbers in _grid(axes) if numbers not in self.present)

    def _axis(self, place: int, name: str, sizes: Sizes) -> Sequence[int]:
        found = {numbers[place] for numbers in self.present}
        if name == "some":
            return sorted(found)
        return range(max(max(found) + 1, sizes.get(name, 0)))


def _grid(axes: Sequence[Sequence[int]]) -> Iterator[tuple[int, ...]]:
    """Yield the points of a grid one by one; ``itertools.product`` would hold every axis whole."""
    if not axes:
        yield ()
        return
    for first in axes[0]:
        for rest in _grid(axes[1:]):
            yield (first, *rest)


def _lost(places: Iterable[Path], patterns: Sequence[re.Pattern[str]], sizes: Sizes) -> list[Path]:
    """Return, of every group of numbered names, the first that is missing."""
    groups: dict[tuple[Path, tuple[str, ...], tuple[str, ...]], _Numbered] = {}
    for place in places:
        for match in filter(None, (pattern.fullmatch(place.name) for pattern in patterns)):
            spans = [(match.span(name), name) for name, text in match.groupdict().items() if text]
            names = _named(tuple(name for _span, name in spans), sizes)
            ends = [0, *itertools.chain(*(span for span, _name in spans)), len(place.name)]
            pieces = tuple(place.name[ends[n] : ends[n + 1]] for n in range(0, len(ends), 2))
            digits = [place.name[start:end] for (start, end), _name in spans]
            group = groups.setdefault(
                (place.parent, names, pieces), _Numbered(names, pieces, [*map(len, digits)])
            )
            group.widths[:] = map(min, group.widths, map(len, digits))
            group.present.add(tuple(map(int, digits)))
            break
    return [
        parent / group.name(numbers)
        for (parent, *_key), group in sorted(groups.items())
        for numbers in itertools.islice(group.lost(sizes), 1)
    ]


def _named(names: tuple[str, ...], sizes: Sizes) -> tuple[str, ...]:
    """Return what the numbers of a rank count: without pipeline ranks, the second is of experts."""
    if names == ("tensor", "pipeline") and sizes.get("pipeline") == 1:
        return ("tensor", "expert")
    return names


def _check_shards(path: Path, files: Sequence[Path]) -> None:
    """Check that every extra state kept in numbered shards has all of them."""
    present: dict[tuple[Path, str], set[str]] = defaultdict(set)
    for file in files:
        match = state_shard.NAME.match(file.name)
        if match and states.is_state(file.parent.name):
            present[file.parent, match["total"]].add(match["place"])
    for (folder, total), places in sorted(present.items()):
        extents = [int(extent) for extent in total.split(".") if extent.isdecimal()]
        if math.prod(extents) <= len(places):
            continue
        for numbers in _grid([*map(range, extents)]):
            place = ".".join(map(str, numbers))
            if place not in places:
                raise missing(path, folder / f"shard_{place}_{total}.pt")


def _check_counted(path: Path, files: Sequence[Path]) -> None:
    """Check that no shard ``NAME-00001-of-00003`` is missing."""
    present = set(files)
    seen = set()
    for file in sorted(present):
        match = _COUNTED.fullmatch(file.name)
        group = match and (file.parent, match["name"], match["total"], match["end"])
        if match is None or group in seen:
            continue
        seen.add(group)
        width = len(match["number"])
        for number in range(1, int(match["total"]) + 1):
            name = f"{match['name']}-{number:0{width}d}-of-{match['total']}{match['end']}"
            if file.parent / name not in present:
                raise missing(path, file.parent / name)


def _check_steps(path: Path, files: Sequence[Path], everything: Iterable[Path]) -> None:
    """Check that the files are of one step of training, and of the one that is the latest."""
    steps: dict[Path, set[str]] = defaultdict(set)
    for file in files:
        for parent in file.relative_to(path).parents:
            if _STEP.fullmatch(parent.name):
                steps[path / parent.parent].add(parent.name)
    latest = {file.parent: name for file in everything if (name := _latest(file))}
    for folder, names in sorted(steps.items()):
        newest = latest.get(folder)
        if newest and newest not in names:
            raise missing(path, folder / newest)
        if len(names) > 1:
            shown = ", ".join(sorted(names)[:5])
            raise CheckpointError(
                f"{path} holds {len(names)} checkpoints: {shown}",
                why="each is of another step of training",
                do=f"Name one of them, such as {folder / (newest or max(names, key=_number))}",
            )


def _number(step: str) -> int:
    return int(re.sub(r"\D", "", step))


def _latest(file: Path) -> str | None:
    """Return the folder of the latest step, where a file says so."""
    if file.name not in _LATEST:
        return None
    with file.open("rb") as stream:
        text = stream.read(100).decode("ascii", "replace").strip()
    name = f"iter_{int(text):07d}" if text.isdecimal() else text
    return name if _STEP.fullmatch(name) else None
