"""Types of the records of saves and loads, which suffice to judge them again offline.

The key of a record identifies what was measured: release source, checkpoint, scenario,
variant, lane, observation version. Its observation is what was seen. The environment is
provenance, and part of neither.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, WithJsonSchema

from matrix.catalogue.words import AttemptKind, Lane, RunnerName, SaveOutcome, Stage
from matrix.store.keys import OBSERVATION, digest_of

FORMAT = 2
"""Version of the records' format; a reader refuses a newer one."""

ROUNDING = 2.0**-3
"""Largest difference of outputs that counts as rounding, as a fraction of their magnitude.

It is the spacing of FP8 E4M3 (three bits of mantissa), the format of attention's inputs and
outputs: another order of summation may round to a neighbour. Wrong scales differ by factors.
"""


class Record(BaseModel):
    """Base of the stored records: unknown fields are refused, values are immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="strings")


Number = Annotated[
    float,
    WithJsonSchema(
        {"anyOf": [{"type": "number"}, {"enum": ["NaN", "Infinity", "-Infinity"]}]},
    ),
]
"""A number; NaN and infinities are written as text, as JSON has no numbers for them."""


class Tensor(Record):
    """One tensor of FP8 metadata."""

    dtype: str
    """Data type, e.g. ``float32``."""
    shape: tuple[int, ...]
    """Length of each dimension."""
    digest: str
    """SHA-256 of all values."""
    first: tuple[Number, ...]
    """The first row, at most 16 values; of a tensor with one dimension its first values."""
    default: bool = False
    """Whether all values are the defaults: 1 in scales, 0 in amax histories."""
    resized: bool = False
    """Of a load: whether it is the saved amax history with rows cut off, or zeros added."""


class Part(Record):
    """FP8 metadata of one submodule that holds, or would hold, FP8 state."""

    path: str
    """Path of the module in the model, e.g. ``core_attention.fused_attention``."""
    name: str
    """Name of the module that is the same in all releases, e.g. ``core_attention``."""
    attention: bool
    """Whether the module computes attention."""
    tensors: dict[str, Tensor]
    """Tensors by name, e.g. ``forward.scale``."""


class StateEntry(Record):
    """Type of one entry of a state dict."""

    kind: str
    """Type of the entry, e.g. ``Tensor``; of an extra state its form, e.g. ``byte tensor``."""
    dtype: str | None = None
    """Data type of a tensor, e.g. ``bfloat16``."""
    shape: tuple[int, ...] | None = None
    """Length of each dimension of a tensor."""
    fields: tuple[str, ...] | None = None
    """Keys of the mapping that an extra state holds."""


class Device(Record):
    """A GPU and its software, as the release's own process saw them."""

    gpu: str
    """Name of the GPU."""
    capability: str
    """Compute capability, e.g. ``9.0``."""
    driver: str
    """Version of the driver."""
    cuda: str
    """Version of CUDA that PyTorch was built with."""
    cudnn: str
    """Version of cuDNN, as the number that cuDNN reports."""


class Provenance(Record):
    """Where, when and with what software a record was obtained."""

    release: str
    """Name of the release that saved or loaded."""
    source: str
    """Where its code was obtained, with commit or SHA-256."""
    worker: str
    """SHA-256 of the worker program's files."""
    torch: str
    """Version of PyTorch."""
    python: str
    """Version of Python."""
    machine: str
    """Processor architecture, e.g. ``x86_64``."""
    harness: str
    """Version of te-matrix."""
    runner: RunnerName
    """Where the release's process ran."""
    te: str | None = None
    """Version that the release itself reports."""
    image: str | None = None
    """Id of the container image, where the runner is ``docker``."""
    binding: Literal["real"] | None = None
    """``real`` where the cpu lane ran on the release's own compiled extension."""
    device: Device | None = None
    """The GPU, in the gpu lane."""
    backend: str | None = None
    """Attention backend that a save was trained with, e.g. ``FusedAttention/FP8``."""
    recorded_at: str
    """When the record was made, in ISO 8601."""
    seconds: float
    """Seconds that the save or load took."""


class Failure(Record):
    """An exception that Transformer Engine or PyTorch raised during a save or a load."""

    type: str
    """Name of the exception's class."""
    message: str
    """Message of the exception."""
    frames: tuple[str, ...] = ()
    """The innermost frames as ``file:function``, outermost first."""
    traceback: str = ""
    """The end of the traceback as text."""

    @property
    def line(self) -> str:
        """Class and message in one line."""
        return f"{self.type}: {' '.join(self.message.split())}"


class Save(Record):
    """A checkpoint that a release saved."""

    record: Literal["save"] = "save"
    """Kind of the record."""
    key: str
    """Key of the record, see ``matrix.store.keys.save_key``."""
    format: int = FORMAT
    """Version of the record's format."""
    release: str
    """Name of the release that saved."""
    source_digest: str
    """Digest of its source, see ``releases.toml``."""
    scenario: str
    """Name of the scenario."""
    scenario_digest: str
    """Digest of the scenario at its size."""
    lane: Lane
    """What executed the release."""
    observation: int = OBSERVATION
    """Version of the measurement."""
    outcome: SaveOutcome = SaveOutcome.SAVED
    """Whether the state dict is what the module held."""
    error: Failure | None = None
    """The exception that the save raised."""
    flaws: tuple[str, ...] = ()
    """In what the state dict is not what the module held, one sentence each."""
    state_digest: str
    """Digest of the state dict: keys, kinds, dtypes, shapes and values."""
    keys: dict[str, StateEntry]
    """Entries of the state dict by key."""
    parts: tuple[Part, ...]
    """FP8 metadata of the saving model, part by part."""
    file_digest: str | None = None
    """SHA-256 of the checkpoint file; None where the save raised an exception."""
    output_digest: str | None = None
    """SHA-256 of the file, kept with the checkpoints, of the saving module's output in bf16.

    From the gpu lane only.
    """
    provenance: Provenance
    """The environment."""

    def seen(self) -> tuple[object, ...]:
        """Return what was observed, without the environment and the file's bytes."""
        return self.state_digest, self.outcome, self.flaws, self.keys, self.parts, _type(self.error)

    def observed(self) -> str:
        """Return a digest of the observation."""
        seen = self.model_dump(include={"outcome", "flaws", "keys", "parts"})
        return digest_of([self.state_digest, seen, _type(self.error)])

    def attention(self) -> dict[str, Part]:
        """Return the parts of attention by name; empty for releases up to 1.5."""
        return {part.name: part for part in self.parts if part.attention}


class Moved(Record):
    """Which FP8 metadata of a module a training step after the load changed."""

    path: str
    """Path of the module in the model."""
    name: str
    """Name of the module that is the same in all releases."""
    moved: dict[str, bool]
    """Whether the step changed the tensor, by name of the tensor."""


class Output(Record):
    """Comparison of the loaded and the saving module's output for the same input.

    Both values depend on the GPU kernels that were installed.
    """

    largest_difference: Number
    """Largest absolute difference between the two outputs."""
    largest: Number
    """Largest magnitude in the saving module's output."""

    @property
    def same(self) -> bool:
        """Whether the outputs differ by no more than rounding."""
        return self.largest_difference <= ROUNDING * self.largest


_OBSERVED_OF_LOADS = (
    "stage",
    "missing_keys",
    "unexpected_keys",
    "changed_keys",
    "changed_weights",
    "lost_recipes",
    "parts",
    "after_load",
)


class Load(Record):
    """A load of a checkpoint, whether it succeeded or raised an exception."""

    record: Literal["load"] = "load"
    """Kind of the record."""
    key: str
    """Key of the record, see ``matrix.store.keys.load_key``."""
    format: int = FORMAT
    """Version of the record's format."""
    release: str
    """Name of the release that loaded."""
    source_digest: str
    """Digest of its source, see ``releases.toml``."""
    saved_by: str
    """Name of the release whose checkpoint was loaded."""
    state_digest: str
    """Digest of the checkpoint's state dict, as in the record of the save."""
    scenario: str
    """Name of the scenario."""
    scenario_digest: str
    """Digest of the scenario at its size."""
    variant: str
    """Name of the variant, or ``control:NAME``."""
    lane: Lane
    """What executed the release."""
    observation: int = OBSERVATION
    """Version of the measurement."""
    stage: Stage
    """The last step of the load that was begun."""
    error: Failure | None = None
    """The exception that the load raised."""
    missing_keys: tuple[str, ...] = ()
    """Keys that the loading model has and the checkpoint lacks."""
    unexpected_keys: tuple[str, ...] = ()
    """Keys that the checkpoint has and the loading model lacks."""
    changed_keys: tuple[str, ...] = ()
    """Entries of the caller's state dict that the load changed, added or removed."""
    changed_weights: tuple[str, ...] = ()
    """Parameters and buffers that are not, or at the first step no longer, the checkpoint's."""
    lost_recipes: tuple[str, ...] = ()
    """Paths of modules that do not hold the recipe of their saved state after the load."""
    parts: tuple[Part, ...] = ()
    """FP8 metadata of the loaded model as before its first FP8 step, module by module."""
    after_load: tuple[Moved, ...] | None = None
    """What a training step after the load changed; absent where none was run."""
    output: Output | None = None
    """Comparison with the saving module's output, from the gpu lane only."""
    provenance: Provenance
    """The environment."""

    def seen(self) -> tuple[object, ...]:
        """Return what was observed.

        It leaves out the environment, the message and frames of an exception, which change
        with the versions of Python and PyTorch, and outputs, which change with cuDNN's.
        """
        return *(getattr(self, name) for name in _OBSERVED_OF_LOADS), _type(self.error)

    def observed(self) -> str:
        """Return a digest of the observation."""
        seen = self.model_dump(include=set(_OBSERVED_OF_LOADS))
        return digest_of([seen, _type(self.error)])

    def attention(self) -> dict[str, Part]:
        """Return the parts of attention by name; empty for releases up to 1.5."""
        return {part.name: part for part in self.parts if part.attention}


class Attempt(Record):
    """A save or load that produced no evidence."""

    record: Literal["attempt"] = "attempt"
    """Kind of the record."""
    key: str
    """Key of the record, see ``matrix.store.keys.attempt_key``."""
    kind: AttemptKind
    """Why there is no evidence."""
    message: str
    """What happened, in one line or a few."""
    detail: str = ""
    """The end of the process's output, or a traceback."""
    lacking: str = ""
    """Name of the release that could not be obtained or started, where that is why."""
    at: str
    """When the attempt failed, in ISO 8601."""


class Manifest(Record):
    """A note in a store that it holds all that one shard of a plan had to do."""

    shard: int
    """Number of the shard, from 1."""
    of: int
    """Number of shards."""
    split: str
    """Digest of the plan and of its division into shards."""
    cells: int
    """Number of loads that the shard had to do."""

    @property
    def name(self) -> str:
        """The shard as options name it, e.g. ``3/8``."""
        return f"{self.shard}/{self.of}"


def _type(error: Failure | None) -> str | None:
    return error.type if error else None


def agree(records: Iterable[Save | Load]) -> bool:
    """Return whether records under one key have the same observation."""
    first, *others = (record.seen() for record in records)
    return all(other == first for other in others)
