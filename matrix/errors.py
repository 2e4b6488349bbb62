"""The errors that te-matrix raises, and its exit codes."""

from __future__ import annotations

import contextlib
import difflib
import re
from collections.abc import Iterable, Iterator
from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of ``te-matrix``; :func:`worst` gives their precedence."""

    OK = 0
    DEVIATES = 1
    USAGE = 2
    INCOMPLETE = 3
    INFRA = 4
    UNSAFE = 5


_PRECEDENCE = (
    ExitCode.USAGE,
    ExitCode.UNSAFE,
    ExitCode.DEVIATES,
    ExitCode.INFRA,
    ExitCode.INCOMPLETE,
)


def worst(codes: Iterable[ExitCode]) -> ExitCode:
    """Return the exit code with the highest precedence; OK when there is none.

    From the highest: usage, unsafe, deviates, infra, incomplete.
    """
    seen = set(codes)
    return next((code for code in _PRECEDENCE if code in seen), ExitCode.OK)


_USERINFO = re.compile(r"(?<=://)[^/\s'\"]+@")
_QUERY = re.compile(r"([?&][^=&\s]*(?:token|key|secret|password|sig)[^=&\s]*=)[^&\s'\"]+", re.I)


def without_credentials(text: str) -> str:
    """Return a text in which the credentials of URLs are replaced by ``***``.

    Credentials are user name and password before the host, and the values of query
    parameters whose names contain token, key, secret, password or sig.
    """
    return _QUERY.sub(r"\1***", _USERINFO.sub("***@", text))


class MatrixError(Exception):
    """Base of all errors. The message contains no credentials of URLs.

    :param what: what happened.
    :param why: the likely cause.
    :param do: what the user can do.
    """

    exit_code = ExitCode.INFRA

    def __init__(self, what: str, why: str = "", do: str = "") -> None:
        sentences = [what, *(part[:1].upper() + part[1:] for part in (why, do) if part)]
        text = ". ".join(sentence.rstrip(".") for sentence in sentences) + "."
        super().__init__(without_credentials(text))


class UsageError(MatrixError):
    """The command line is wrong, or selects nothing."""

    exit_code = ExitCode.USAGE


class TableError(MatrixError):
    """A TOML file is malformed."""

    exit_code = ExitCode.USAGE


class StoreError(MatrixError):
    """A store, report or exported file cannot be read or written, or is malformed."""


class SourceError(MatrixError):
    """The source of a release differs from the catalogue's digest."""


class SourceUnavailable(MatrixError):
    """The source of a release cannot be obtained here."""

    exit_code = ExitCode.INCOMPLETE


class UnobservedError(MatrixError):
    """Something would rest on cells that have no outcome."""

    exit_code = ExitCode.INCOMPLETE


class RunnerError(MatrixError):
    """A runner cannot start workers at all."""


class WorkerError(MatrixError):
    """A worker could not be started, or stopped answering."""


class LostError(WorkerError):
    """A worker that had been started has ended unexpectedly."""


class AnswerError(MatrixError):
    """An answer of a worker is malformed; the worker itself continues."""


class DeviceError(MatrixError):
    """There is no GPU, it lacks what is needed, or no release is installed for it."""


class EngineError(MatrixError):
    """There is no container engine, or it lacks what is needed."""


class GapError(WorkerError):
    """A release needs, to be started, something that the cpu lane does not emulate."""


@contextlib.contextmanager
def os_errors_as(error: type[MatrixError], what: str, do: str = "") -> Iterator[None]:
    """Convert errors of the operating system, e.g. into "FILE cannot be written".

    :param error: the class of the error to raise.
    :param what: what happened, see :class:`MatrixError`.
    :param do: what the user can do.
    :raises MatrixError: the body raised an ``OSError``.
    """
    try:
        yield
    except OSError as found:
        raise error(what, why=str(found), do=do) from found


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a sentence that suggests the known names closest to a name, or lists all."""
    names = list(known)
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.4)
    return f"Did you mean {' or '.join(close)}?" if close else f"Known: {', '.join(names)}"
