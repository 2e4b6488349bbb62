"""Evidence: the record of one save or one load, enough to judge it again offline.

A record's key says what was asked: release source, checkpoint, scenario, variant,
lane, observation version. Its observation says what was seen. The environment it
was seen in is provenance and belongs to neither.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from packaging.version import Version
from pydantic import BaseModel, ConfigDict, WithJsonSchema

OBSERVATION = 2
"""Raised by hand when the meaning of a measurement changes; it is part of every key."""

FORMAT = 1
"""Version of the records' form; a reader refuses a newer one."""


ROUNDING = 2.0**-3
"""How far two releases' outputs may be apart, as a part of the largest magnitude.

The spacing of FP8 E4M3 (three bits of mantissa), in which attention reads and writes:
another order of summation may round to a neighbour. Wrong scales are off by factors.
"""

RECIPES_SINCE = Version("2.0")
"""The first release whose FP8 extra states hold the recipe; see ``forms.toml``."""


class Record(BaseModel):
    """Base of everything that is stored: closed and immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="strings")


Number = Annotated[
    float,
    WithJsonSchema(
        {"anyOf": [{"type": "number"}, {"enum": ["NaN", "Infinity", "-Infinity"]}]},
    ),
]
"""A number; what JSON has none for is written as a word."""


class Tensor(Record):
    """One metadata tensor: dtype, shape, digest of all values, and its first row."""

    dtype: str
    shape: tuple[int, ...]
    digest: str
    first: tuple[Number, ...]
    default: bool = False


class Site(Record):
    """One TE module's FP8 metadata, by tensor name (``forward.scale`` ...)."""

    path: str
    name: str
    attention: bool
    tensors: dict[str, Tensor]


class Entry(Record):
    """One entry of a state dict: what kind of thing it is."""

    kind: str
    dtype: str | None = None
    shape: tuple[int, ...] | None = None
    fields: tuple[str, ...] | None = None


class Device(Record):
    """A GPU and its software, as the release's own process saw them.

    ``capability`` is the compute capability, "9.0"; ``cudnn`` the number that cuDNN gives.
    """

    gpu: str
    capability: str
    driver: str
    cuda: str
    cudnn: str


class Provenance(Record):
    """Where, when and with what a record was obtained.

    ``source`` names the release's code by commit or SHA-256, ``worker`` is the digest of
    the worker's files, ``te`` is the version that the release itself reports, ``image``
    the id of the container image where the runner is ``docker``, ``backend`` the attention
    that a save was trained with, e.g. ``FusedAttention/FP8``.
    """

    release: str
    source: str
    worker: str
    torch: str
    python: str
    machine: str
    harness: str
    runner: str
    te: str | None = None
    image: str | None = None
    device: Device | None = None
    backend: str | None = None
    recorded_at: str
    seconds: float


class Save(Record):
    """A release saved a checkpoint.

    ``output_digest`` is the SHA-256 of the file, kept with the checkpoints, that holds the
    module's output as it was saved: bf16, from the gpu lane only.
    """

    record: Literal["save"] = "save"
    key: str
    format: int = FORMAT
    release: str
    source_digest: str
    scenario: str
    scenario_digest: str
    lane: str
    observation: int = OBSERVATION
    state_digest: str
    keys: dict[str, Entry]
    sites: tuple[Site, ...]
    file_digest: str
    output_digest: str | None = None
    provenance: Provenance

    def observed(self) -> str:
        """Return a digest of what was seen, the environment and the file's bytes left out."""
        return _digest([self.state_digest, self.model_dump(include={"keys", "sites"})])

    def attention(self) -> dict[str, Site]:
        """Return the attention's sites by name; empty up to 1.5."""
        return {site.name: site for site in self.sites if site.attention}


class Failure(Record):
    """An exception that a load raised in TE or PyTorch."""

    type: str
    message: str
    frames: tuple[str, ...] = ()
    traceback: str = ""


class Moved(Record):
    """Whether a training step after the load moved each of a site's tensors."""

    path: str
    name: str
    moved: dict[str, bool]


class Output(Record):
    """The loaded module's output beside the saving module's, on the same input.

    ``largest_difference`` and ``largest``, the largest magnitude that the saving module
    gave, are in the output's own unit. Both depend on the kernels of the day.
    """

    largest_difference: Number
    largest: Number

    @property
    def same(self) -> bool:
        """Whether the two are the same but for rounding."""
        return self.largest_difference <= ROUNDING * self.largest


class Load(Record):
    """A release loaded a checkpoint, or failed to.

    ``changed_keys`` are entries of the caller's state dict that the load changed, added or
    removed; ``lost_recipes`` the modules that do not hold the recipe of their saved state.
    """

    record: Literal["load"] = "load"
    key: str
    format: int = FORMAT
    release: str
    source_digest: str
    saved_by: str
    state_digest: str
    scenario: str
    scenario_digest: str
    variant: str
    lane: str
    observation: int = OBSERVATION
    stage: Literal["deserialize", "load_state_dict", "first_step"]
    error: Failure | None = None
    missing_keys: tuple[str, ...] = ()
    unexpected_keys: tuple[str, ...] = ()
    changed_keys: tuple[str, ...] = ()
    lost_recipes: tuple[str, ...] = ()
    sites: tuple[Site, ...] = ()
    after_load: tuple[Moved, ...] | None = None
    output: Output | None = None
    provenance: Provenance

    def observed(self) -> str:
        """Return a digest of what was seen.

        Left out are the environment, an error's wording and frames, which change with
        the versions of Python and PyTorch, and outputs, which change with cuDNN's.
        """
        seen = self.model_dump(
            include={
                "stage",
                "missing_keys",
                "unexpected_keys",
                "changed_keys",
                "lost_recipes",
                "sites",
                "after_load",
            }
        )
        return _digest([seen, self.error.type if self.error else None])

    def attention(self) -> dict[str, Site]:
        """Return the attention's sites by name; empty up to 1.5."""
        return {site.name: site for site in self.sites if site.attention}


class Attempt(Record):
    """A save or load that gave no evidence, and why. Every one is kept."""

    record: Literal["attempt"] = "attempt"
    key: str
    kind: Literal["gap", "infra", "unavailable"]
    message: str
    detail: str = ""
    at: str


class Manifest(Record):
    """What a finished shard leaves in its store."""

    shard: int
    of: int
    split: str
    """Digest of the plan and of how it was dealt out."""
    cells: int

    @property
    def name(self) -> str:
        """Readable: ``3/8``."""
        return f"{self.shard}/{self.of}"


_canonical = json.JSONEncoder(sort_keys=True).encode


def _digest(value: Any) -> str:
    return hashlib.sha256(_canonical(value).encode()).hexdigest()


def save_key(source: str, scenario: str, lane: str) -> str:
    """Return the key of a save.

    :param source: digest of the release's source.
    :param scenario: digest of the scenario.
    """
    return _digest(["save", source, scenario, lane, OBSERVATION])


def load_key(source: str, state: str, scenario: str, variant: str, lane: str) -> str:
    """Return the key of a load.

    :param source: digest of the loading release's source.
    :param state: semantic digest of the checkpoint.
    :param scenario: digest of the scenario.
    """
    return _digest(["load", source, state, scenario, variant, lane, OBSERVATION])


def attempt_key(saver: str, loader: str, scenario: str, variant: str, lane: str) -> str:
    """Return the key that failed attempts at one cell share. Without a loader: at a save."""
    return _digest(["attempt", saver, loader, scenario, variant, lane, OBSERVATION])


def outcome(save: Save, load: Load) -> str:
    """Return what became of the attention's FP8 metadata.

    ``none``: the loader has none. ``loaded``: every tensor that both sides have is
    bit-equal to the checkpoint's, module by module. ``defaults``: every tensor is
    the FAQ's default. ``partial``: anything between, a recipe that was lost, a state dict
    that the load changed, or an output that is not the saving module's; :func:`flaws` says
    what.
    """
    if load.error is not None:
        return "error"
    if load.changed_keys:
        return "partial"
    found = load.attention()
    if not found:
        return "none"
    if all(tensor.default for site in found.values() for tensor in site.tensors.values()):
        return "defaults"
    return "partial" if flaws(save, load) else "loaded"


def flaws(save: Save, load: Load) -> list[str]:
    """Return what keeps a load that raised nothing from being whole, in words."""
    found, saved = load.attention(), save.attention()
    changed = [f"the load changed {key} of the caller's state dict" for key in load.changed_keys]
    apart = sorted(found.keys() ^ saved.keys()) if found else []
    absent = [f"{name}: only one side has it" for name in apart]
    differing = [
        f"{name}: {tensor} is not the checkpoint's"
        for name in sorted(found.keys() & saved.keys())
        for tensor in _differing(found[name].tensors, saved[name].tensors)
    ]
    return [*changed, *absent, *differing, *_lost_recipes(load), *_unlike(load)]


def _unlike(load: Load) -> list[str]:
    if load.output is None or load.output.same:
        return []
    difference, largest = load.output.largest_difference, load.output.largest
    return [f"its output differs from the saving module's by {difference:g} of {largest:g}"]


def _differing(found: dict[str, Tensor], saved: dict[str, Tensor]) -> list[str]:
    # From 2.0 on there is no scale_inv; what one side lacks cannot be compared.
    shared = found.keys() & saved.keys()
    needed = {name for name in found if not name.endswith("scale_inv")}
    return sorted(
        name
        for name in needed | shared
        if name not in shared or found[name].digest != saved[name].digest
    )


def _lost_recipes(load: Load) -> list[str]:
    """Releases up to 1.14 keep no recipe, and have none to lose."""
    if Version(load.release.partition("@")[0]) < RECIPES_SINCE:
        return []
    return [f"{path}: the recipe is not the checkpoint's" for path in load.lost_recipes]


def after_load(load: Load) -> str:
    """Return whether the metadata lives on: ``updates``, ``frozen`` or ``untested``.

    ``updates`` means that one training step rolled every amax history and moved
    every scale, forward and backward; a single tensor that stays makes it ``frozen``.
    """
    if not load.after_load:
        return "untested"
    return "updates" if all(all(site.moved.values()) for site in load.after_load) else "frozen"


def agree(records: Iterable[Save | Load]) -> bool:
    """Tell whether records under one key saw the same."""
    first, *others = records
    return not others or len({record.observed() for record in (first, *others)}) == 1
