"""The messages between the harness and a worker, as types; what does not fit is an error.

Of an answer only what becomes evidence is looked at, and once: a record is made of its parts
as they are.
"""

from __future__ import annotations

from typing import Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from matrix.catalogue.words import Lane, SaveOutcome, Stage
from matrix.errors import GapError, WorkerError
from matrix.store.records import Device, Failure, Moved, Output, Part, StateEntry

START_TIMEOUT = 180.0
"""Seconds that a release may take to be imported."""

NOT_EMULATED = "not emulated"
"""Kind of the failure that the gaps of an answer are."""

_SHOWN = 3


class Message(BaseModel):
    """Base of all messages: immutable; fields that nobody here knows are passed over."""

    model_config = ConfigDict(frozen=True)


class StartMessage(Message):
    """The first message to a release process: what it is to be."""

    lane: Lane
    source: str | None
    """Where the process sees the folder that holds ``transformer_engine``; None for the one
    that is installed there."""
    version: str
    """Without post-release and build marks."""
    log: str
    """Where the harness keeps what the process prints."""
    timeout: float = START_TIMEOUT
    scratch: tuple[str, ...] = ()
    """In a container: the folders that are emptied before every save and load."""


class WorkerFailure(Message):
    """Why a worker has no answer: an exception of its own, a crash or a time-out."""

    message: str
    type: str = ""
    """Class of the exception."""
    kind: str = ""
    """``exception``, ``crash`` or ``timeout``."""
    traceback: str = ""
    gaps: tuple[str, ...] = ()
    """Operations that the cpu lane was asked for and does not emulate."""

    @model_validator(mode="after")
    def _named(self) -> Self:
        if not (self.type or self.kind):
            raise ValueError("neither its type nor its kind is given")
        return self

    def error(self, what: str, do: str = "") -> WorkerError:
        """Return the error that it is, for whoever cannot go on."""
        return (GapError if self.gaps else WorkerError)(what, do=do)

    def __str__(self) -> str:
        return f"{self.type or self.kind}: {self.message}"


class Hello(Message):
    """The first message of a release process: what it has imported, and with what."""

    release: str
    """The version that it was asked to be."""
    te_file: str
    te_version: str
    """What Transformer Engine itself says; empty where it says nothing."""
    torch: str
    python: str
    machine: str
    opt_in: str | None
    """The release's environment variable that lets pickled extra state in."""
    device: Device | None = None
    """The GPU; None in the cpu lane."""
    import_seconds: float = 0.0


class Answer(Message):
    """What all answers have."""

    seconds: float
    gaps: tuple[str, ...] = ()
    backend: str | None = None
    """The attention backend that ran; None in the cpu lane."""


class SaveAnswer(Answer):
    """The answer to ``save``."""

    outcome: SaveOutcome
    error: Failure | None
    flaws: tuple[str, ...]
    state_digest: str
    keys: dict[str, StateEntry]
    parts: tuple[Part, ...]


class LoadAnswer(Answer):
    """The answer to ``load``."""

    stage: Stage
    error: Failure | None
    missing_keys: tuple[str, ...]
    unexpected_keys: tuple[str, ...]
    changed_keys: tuple[str, ...]
    changed_weights: tuple[str, ...]
    lost_recipes: tuple[str, ...]
    parts: tuple[Part, ...]
    after_load: tuple[Moved, ...] | None
    output: Output | None = None


class Reply(Message):
    """A message in reply to a request: a failure, or an answer of which only ``gaps`` is sure."""

    failure: WorkerFailure | None = None
    answer: dict[str, Any] = {}
    seconds: Any = None

    @model_validator(mode="before")
    @classmethod
    def _one_of_two(cls, message: dict[str, Any]) -> dict[str, Any]:
        part = "failure" if "failure" in message else "answer"
        if not isinstance(message.get(part), dict):
            raise ValueError("it holds neither an answer nor a failure")
        return {part: message[part], "seconds": message.get("seconds")}

    @model_validator(mode="after")
    def _gaps_are_texts(self) -> Self:
        if not isinstance(self.gaps, list) or not all(isinstance(gap, str) for gap in self.gaps):
            raise ValueError("its gaps are no texts")
        return self

    @property
    def gaps(self) -> list[str]:
        """Operations that the answer would need, and that the cpu lane does not emulate."""
        gaps: list[str] = self.answer.get("gaps", [])
        return gaps


AnyAnswer = TypeVar("AnyAnswer", SaveAnswer, LoadAnswer)


def read_answer(kind: type[AnyAnswer], reply: Reply) -> AnyAnswer | WorkerFailure:
    """Return the answer in a reply, or why there is none. With gaps it is none.

    :raises pydantic.ValidationError: it is not what was asked for.
    """
    if reply.gaps:
        message = "; ".join(reply.gaps)
        return WorkerFailure(kind=NOT_EMULATED, message=message, gaps=tuple(reply.gaps))
    return reply.failure or kind.model_validate({**reply.answer, "seconds": reply.seconds})


def wrong(error: ValidationError) -> str:
    """Return in one line what is wrong with a message, field by field."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    return "; ".join(
        f"{'.'.join(map(str, one['loc'])) or 'message'}: {one['msg']}" for one in found[:_SHOWN]
    )
