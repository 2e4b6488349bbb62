"""Evidence: the record of one save or one load, enough to judge it again offline.

A record's key says what was asked: release source, checkpoint, scenario, variant,
lane, observation version. Its observation says what was seen. The environment it
was seen in is provenance and belongs to neither.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, WithJsonSchema

from matrix.catalogue.words import AttemptKind, Lane, RunnerName, Stage
from matrix.store.keys import OBSERVATION, digest_of

FORMAT = 1
"""Version of the records' form; a reader refuses a newer one."""


ROUNDING = 2.0**-3
"""How far two releases' outputs may be apart, as a part of the largest magnitude.

The spacing of FP8 E4M3 (three bits of mantissa), in which attention reads and writes:
another order of summation may round to a neighbour. Wrong scales are off by factors.
"""


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


class StateEntry(Record):
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
    runner: RunnerName
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
    lane: Lane
    observation: int = OBSERVATION
    state_digest: str
    keys: dict[str, StateEntry]
    sites: tuple[Site, ...]
    file_digest: str
    output_digest: str | None = None
    provenance: Provenance

    def observed(self) -> str:
        """Return a digest of what was seen, the environment and the file's bytes left out."""
        return digest_of([self.state_digest, self.model_dump(include={"keys", "sites"})])

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
    lane: Lane
    observation: int = OBSERVATION
    stage: Stage
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
        return digest_of([seen, self.error.type if self.error else None])

    def attention(self) -> dict[str, Site]:
        """Return the attention's sites by name; empty up to 1.5."""
        return {site.name: site for site in self.sites if site.attention}


class Attempt(Record):
    """A save or load that gave no evidence, and why. Every one is kept."""

    record: Literal["attempt"] = "attempt"
    key: str
    kind: AttemptKind
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


def agree(records: Iterable[Save | Load]) -> bool:
    """Tell whether records under one key saw the same."""
    first, *others = records
    return not others or len({record.observed() for record in (first, *others)}) == 1
