"""Evidence: the record of one save or one load, enough to judge it again offline.

A record's key says what was asked: release source, checkpoint, scenario, variant,
lane, observation version. Its observation says what was seen. The environment it
was seen in is provenance and belongs to neither.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

OBSERVATION = 1
"""Raised by hand when the meaning of a measurement changes; it is part of every key."""

FORMAT = 1
"""Version of the records' form; a reader refuses a newer one."""


class Record(BaseModel):
    """Base of everything that is stored: closed and immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Tensor(Record):
    """One metadata tensor: dtype, shape, digest of all values, and its first row."""

    dtype: str
    shape: tuple[int, ...]
    digest: str
    first: tuple[float, ...]
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
    the id of the container image where the runner is ``docker``.
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
    recorded_at: str
    seconds: float


class Save(Record):
    """A release saved a checkpoint."""

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


class Load(Record):
    """A release loaded a checkpoint, or failed to."""

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
    sites: tuple[Site, ...] = ()
    after_load: tuple[Moved, ...] | None = None
    provenance: Provenance

    def observed(self) -> str:
        """Return a digest of what was seen.

        Left out are the environment and an error's wording and frames, which
        change with the versions of Python and PyTorch.
        """
        seen = self.model_dump(
            include={"stage", "missing_keys", "unexpected_keys", "sites", "after_load"}
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
    the FAQ's default. ``partial``: anything between.
    """
    if load.error is not None:
        return "error"
    found, saved = load.attention(), save.attention()
    if not found:
        return "none"
    tensors = [tensor for site in found.values() for tensor in site.tensors.values()]
    if all(tensor.default for tensor in tensors):
        return "defaults"
    same = found.keys() == saved.keys() and all(
        _same(found[name].tensors, saved[name].tensors) for name in found
    )
    return "loaded" if same else "partial"


def _same(found: dict[str, Tensor], saved: dict[str, Tensor]) -> bool:
    # From 2.0 on there is no scale_inv; what one side lacks cannot be compared.
    shared = found.keys() & saved.keys()
    needed = {name for name in found if not name.endswith("scale_inv")}
    return needed <= shared and all(found[n].digest == saved[n].digest for n in shared)


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
