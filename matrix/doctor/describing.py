"""The kinds of extra states in recorded checkpoints, as they were saved and rewritten.

What a variant of the matrix rewrites is written here again, and read as a user's file would be, so
that evidence on the variant is found for a file that ``remap`` has written.
"""

from __future__ import annotations

import dataclasses
import operator
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from matrix.catalogue import forms, releases, scenarios
from matrix.catalogue.forms import Form
from matrix.catalogue.releases import Catalogue, Release
from matrix.catalogue.scenarios import SizedScenario, Variant
from matrix.checkpoint import edits, kinds, layout, norms
from matrix.checkpoint.contents import Contents
from matrix.checkpoint.dropping import ATTENTION_STATES
from matrix.checkpoint.errors import CheckpointError
from matrix.checkpoint.kinds import ATTENTION, Kind
from matrix.doctor import telling
from matrix.doctor.likes import Likes, RecordedKind, RecordedStates
from matrix.lane import checkpoint_files
from matrix.store.records import Save

_States = tuple[tuple[str, int], ...]
"""The kind of each state by its key, as an index."""


@dataclasses.dataclass(frozen=True)
class _Group:
    """What is the same of saves that are listed together."""

    scenario: str
    states: _States
    traits: tuple[str, ...] = ()
    variant: str = ""
    loaders: tuple[str, ...] = ()


def describe(saves: Iterable[Save], checkpoint: Callable[[str], bytes | None]) -> Likes:
    """Return the extra states of saves, and of what variants rewrite them into.

    Saves of scenarios with another transport than ``torch.save`` are left out: their files are
    archives of another format, with the states of the scenario that they are derived from.

    :param checkpoint: returns the bytes of a checkpoint by their digest.
    :raises CheckpointError: a checkpoint cannot be read.
    """
    with tempfile.TemporaryDirectory() as folder:
        described = _Described(checkpoint, Path(folder))
        saves = [save for save in saves if described.has_place_for(save)]
        for save in saves:
            described.add(save)
        for save in saves:
            described.add_rewritten(save)
        return described.likes()


class _Described:
    """Numbers the kinds of states, and groups saves with the same.

    :param folder: a folder for copies of checkpoints.
    """

    def __init__(self, checkpoint: Callable[[str], bytes | None], folder: Path) -> None:
        self._checkpoint = checkpoint
        self._folder = folder
        # Read once: tables are parsed at every call, and there are thousands of saves.
        self._scenarios = scenarios.load()
        self._releases = releases.load()
        self._variants = [v for v in scenarios.variants().values() if is_like_a_user(v)]
        self._numbers: dict[RecordedKind, int] = {}
        self._saved: set[tuple[str, frozenset[int]]] = set()
        self._groups: dict[_Group, list[Save]] = {}
        self._contents: dict[Path, Contents] = {}
        self._written: dict[tuple[object, ...], bool] = {}

    def likes(self) -> Likes:
        """Return all that was added."""
        rows = _rows(self._groups, self._releases)
        return Likes(kinds=tuple(self._numbers), saves=tuple(rows))

    def has_place_for(self, save: Save) -> bool:
        """Return whether a save is of a packaged scenario, and has a file of ``torch.save``."""
        sized = self._scenarios.get(save.scenario)
        return (
            sized is not None
            and not sized.scenario.transport.distributed
            and save.file_digest is not None
        )

    def add(self, save: Save) -> None:
        """Add a checkpoint as it was saved."""
        contents = self._read(self._file(save))
        sized = self._scenarios[save.scenario]
        states = self._states(dict(kinds.of_contents(contents)), sized)
        traits = tuple(sorted(map(str, telling.traits(contents))))
        self._groups.setdefault(_Group(save.scenario, states, traits), []).append(save)
        self._saved.add((_loaded_like(sized), _numbers(states)))

    def add_rewritten(self, save: Save) -> None:
        """Add what variants rewrite a checkpoint into, where no release saves the same states."""
        sized = self._scenarios[save.scenario]
        saver = self._releases[save.release]
        for variant in self._variants:
            files: dict[Path, list[Release]] = {}
            for loader in self._releases.releases:
                if not (variant.covers(saver, loader) and variant.applies_to(sized, loader)):
                    continue
                if self._is_written(save, variant, loader):
                    file = self._file(save)
                    new = checkpoint_files.rewritten(file, variant, save.release, loader)
                    files.setdefault(new, []).append(loader)
            for file, loaders in files.items():
                self._add_file(save, sized, variant, file, loaders)

    def _add_file(
        self,
        save: Save,
        sized: SizedScenario,
        variant: Variant,
        file: Path,
        loaders: Sequence[Release],
    ) -> None:
        form = forms.of_variant(str(variant.form), loaders[0].version)
        after = dict(kinds.of_contents(self._read(file)))
        found = {}
        for key, _kind in kinds.of_contents(self._read(self._file(save))):
            # Where a key moves, the state is listed under that which it had.
            moved = key if form.attention_key == "none" else edits.attention_key(key, form)
            for new in (key, moved):
                if new in after:
                    found[key] = after[new]
        states = self._states(found, sized)
        if (_loaded_like(sized), _numbers(states)) not in self._saved:
            names = tuple(loader.name for loader in loaders)
            group = _Group(save.scenario, states, variant=variant.name, loaders=names)
            self._groups.setdefault(group, []).append(save)

    def _is_written(self, save: Save, variant: Variant, loader: Release) -> bool:
        """Return whether ``remap`` writes such a file, where the variant leaves states as they are
        that cannot be rewritten."""
        form = forms.of_variant(str(variant.form), loader.version)
        drops = variant.drops_attention(form)
        place = save.file_digest, form.name, drops
        if place not in self._written:
            # Where there is no attention, its name is not given.
            named = ((ATTENTION_STATES,), ()) if drops else ((),)
            contents = self._read(self._file(save))
            self._written[place] = any(_is_planned(contents, form, drop) for drop in named)
        return self._written[place]

    def _states(self, found: dict[str, Kind], sized: SizedScenario) -> _States:
        return tuple(
            (key, self._numbers.setdefault(_known(kind, sized), len(self._numbers)))
            for key, kind in sorted(found.items(), key=operator.itemgetter(0))
        )

    def _file(self, save: Save) -> Path:
        digest = str(save.file_digest)
        file = self._folder / f"{digest}.pt"
        if not file.exists():
            data = self._checkpoint(digest)
            assert data is not None, f"checkpoint {digest} is not there"
            file.write_bytes(data)
        return file

    def _read(self, file: Path) -> Contents:
        if file not in self._contents:
            self._contents[file] = layout.find(file).read()
        return self._contents[file]


def _is_planned(contents: Contents, form: Form, drop: Sequence[str]) -> bool:
    bare = norms.without_state(contents) if form.operations else ()
    try:
        edits.plan(contents, form, drop=drop, norms=list(bare))
    except CheckpointError:
        return False
    return True


def _numbers(states: _States) -> frozenset[int]:
    return frozenset(number for _key, number in states)


def _loaded_like(sized: SizedScenario) -> str:
    """Return under which recipe, and into which weights, a scenario loads."""
    chosen = sized.scenario
    return f"{chosen.weights}, {chosen.save_recipe}, {chosen.load_recipe}, {chosen.transport}"


def is_like_a_user(variant: Variant) -> bool:
    """Return whether a variant loads a rewritten file as its user would, who says nothing else.

    A model with quantized weights is taken to get quantized ones.
    """
    plain = variant.weights not in (None, "form")
    return (
        variant.form is not None
        and variant.rewrite is None
        and (variant.model == "plain" if plain else variant.model == "as saved")
    )


def _known(kind: Kind, sized: SizedScenario) -> RecordedKind:
    """Return the kind of a state with the module that it is known to be of.

    That is the scenario's, which has no other module with a state inside, or is not one of those
    that a state can be of.
    """
    modules = kind.modules & {sized.scenario.module} or kind.modules
    traits = kind.traits if ATTENTION in modules else kinds.without_style(kind.traits)
    return RecordedKind(traits=traits, modules=modules)


def _rows(groups: dict[_Group, list[Save]], known: Catalogue) -> Iterator[RecordedStates]:
    for group, saves in sorted(groups.items(), key=lambda item: item[0].scenario):
        # Releases of the very same code share the record of one of them.
        digests = {save.source_digest for save in saves}
        same = (release for release in known.releases if release.digest in digests)
        yield RecordedStates(
            scenario=group.scenario,
            savers=tuple(release.name for release in same),
            states=dict(group.states),
            traits=group.traits,
            variant=group.variant,
            loaders=group.loaders,
        )
