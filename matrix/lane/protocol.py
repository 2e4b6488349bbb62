"""The messages between the harness and a worker, as types that pydantic validates.

The parts of an answer that become evidence have the types of the records, so that they are
validated once.
"""

from __future__ import annotations

from typing import Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from matrix.catalogue.words import Lane, SaveOutcome, Stage
from matrix.errors import GapError, WorkerError
from matrix.store.records import Device, Failure, Moved, Output, Part, StateEntry

START_TIMEOUT = 180.0
"""Limit for importing a release, in seconds."""

NOT_EMULATED = "not emulated"
"""Kind of the failure that stands for an answer with gaps."""

_SHOWN = 3


class Message(BaseModel):
    """Base of all messages: immutable; unknown fields are ignored."""

    model_config = ConfigDict(frozen=True)


class StartMessage(Message):
    """The first message to a release process: which release to import, and how."""

    lane: Lane
    source: str | None
    """The folder that holds ``transformer_engine``, as the process sees it; None for the
    installed one."""
    version: str
    """The release's version without post-release and build marks."""
    log: str
    """The file for what the process prints."""
    binding: str | None = None
    """The release's own compiled extension, for the cpu lane; None for the stand-in."""
    timeout: float = START_TIMEOUT
    scratch: tuple[str, ...] = ()
    """Folders of a container that are emptied before every save and load."""


class WorkerFailure(Message):
    """Why a worker has no answer: an exception, a crash or a time-out."""

    message: str
    type: str = ""
    """Class name of the exception; empty for none."""
    kind: str = ""
    """``exception``, ``crash``, ``timeout``, or :data:`NOT_EMULATED`."""
    traceback: str = ""
    gaps: tuple[str, ...] = ()
    """Operations that were needed and that the cpu lane does not emulate."""

    @model_validator(mode="after")
    def _named(self) -> Self:
        if not (self.type or self.kind):
            raise ValueError("neither its type nor its kind is given")
        return self

    def error(self, what: str, do: str = "") -> WorkerError:
        """Return the error to raise for this failure.

        :param what: what happened.
        :param do: what the user can do.
        """
        return (GapError if self.gaps else WorkerError)(what, do=do)

    def __str__(self) -> str:
        return f"{self.type or self.kind}: {self.message}"


class Hello(Message):
    """The first message of a release process: what it has imported, and its environment."""

    release: str
    """The version in the start message."""
    te_file: str
    """File of the imported ``transformer_engine``."""
    te_version: str
    """The version that Transformer Engine itself reports; empty if it reports none."""
    torch: str
    python: str
    machine: str
    opt_in: str | None
    """The release's environment variable that permits pickled extra state; None if it has none."""
    modules: tuple[str, ...]
    """Names of the modules that the release exports."""
    recipes: tuple[str, ...]
    """Names of the recipes that the release exports."""
    binding: str | None = None
    """File of the release's own compiled extension; None for the stand-in, and on a GPU."""
    device: Device | None = None
    """The GPU; None in the cpu lane."""
    import_seconds: float = 0.0


class Answer(Message):
    """Fields that all answers have."""

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
    """The reply to a request: a failure, or an answer that is not validated yet."""

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
            raise ValueError("its gaps are not a list of texts")
        return self

    @property
    def gaps(self) -> list[str]:
        """Operations that were needed and that the cpu lane does not emulate."""
        gaps: list[str] = self.answer.get("gaps", [])
        return gaps


AnyAnswer = TypeVar("AnyAnswer", SaveAnswer, LoadAnswer)


def read_answer(kind: type[AnyAnswer], reply: Reply) -> AnyAnswer | WorkerFailure:
    """Return the answer in a reply, or a failure. An answer with gaps is a failure.

    :param kind: class of the expected answer.
    :raises pydantic.ValidationError: the answer is malformed.
    """
    if reply.gaps:
        message = "; ".join(reply.gaps)
        return WorkerFailure(kind=NOT_EMULATED, message=message, gaps=tuple(reply.gaps))
    return reply.failure or kind.model_validate({**reply.answer, "seconds": reply.seconds})


def errors_of(error: ValidationError) -> str:
    """Return the first validation errors of a message as one line of text."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    return "; ".join(
        f"{'.'.join(map(str, one['loc'])) or 'message'}: {one['msg']}" for one in found[:_SHOWN]
    )
