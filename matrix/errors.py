"""Every error of the harness, and every exit code."""

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


_PRECEDENCE = (ExitCode.USAGE, ExitCode.DEVIATES, ExitCode.INFRA, ExitCode.INCOMPLETE)


def worst(codes: Iterable[ExitCode]) -> ExitCode:
    """Return the exit code that outranks the others; OK when there is none."""
    seen = set(codes)
    return next((code for code in _PRECEDENCE if code in seen), ExitCode.OK)


_USERINFO = re.compile(r"(?<=://)[^/\s'\"]+@")
_QUERY = re.compile(r"([?&][^=&\s]*(?:token|key|secret|password|sig)[^=&\s]*=)[^&\s'\"]+", re.I)


def without_credentials(text: str) -> str:
    """Return a text with ``***`` for what stands before the host of a URL in it.

    The same for the values of a query's fields that are called token, key, secret,
    password or signature.
    """
    return _QUERY.sub(r"\1***", _USERINFO.sub("***@", text))


class MatrixError(Exception):
    """What happened, why that is likely, and what to do. It repeats no URL's credentials."""

    exit_code = ExitCode.INFRA

    def __init__(self, what: str, why: str = "", do: str = "") -> None:
        sentences = [what, *(part[:1].upper() + part[1:] for part in (why, do) if part)]
        text = ". ".join(sentence.rstrip(".") for sentence in sentences) + "."
        super().__init__(without_credentials(text))


class UsageError(MatrixError):
    """A command line that cannot mean anything."""

    exit_code = ExitCode.USAGE


class TableError(MatrixError):
    """A TOML file that does not hold what it should."""

    exit_code = ExitCode.USAGE


class StoreError(MatrixError):
    """A store that cannot be read or written, or a record in it that is not one."""


class SourceError(MatrixError):
    """A release whose source was found, but is not what the catalogue says."""


class SourceUnavailable(MatrixError):
    """A release whose source cannot be had here."""

    exit_code = ExitCode.INCOMPLETE


class RunnerError(MatrixError):
    """A runner that cannot start any worker at all."""


class WorkerError(MatrixError):
    """A worker that could not be started, or that stopped answering."""


class LostError(WorkerError):
    """A worker that had started, and is gone."""


class AnswerError(MatrixError):
    """A worker's answer that does not have the form of an answer; the worker itself goes on."""


class DeviceError(MatrixError):
    """No GPU, or one that cannot do what is asked, or nothing to run on it."""


class EngineError(MatrixError):
    """No container engine, or one that cannot do what is asked."""


class GapError(WorkerError):
    """A release that cannot be started without something the cpu lane does not emulate."""


@contextlib.contextmanager
def os_errors_as(error: type[MatrixError], what: str, do: str = "") -> Iterator[None]:
    """Turn an operating system's error into one of the harness, e.g. "FILE cannot be written".

    :param what: what happened, as the first sentence of the error.
    :param do: what the user can do.
    """
    try:
        yield
    except OSError as found:
        raise error(what, why=str(found), do=do) from found


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a sentence with the known names closest to ``name``."""
    names = list(known)
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.4)
    return f"Did you mean {' or '.join(close)}?" if close else f"Known: {', '.join(names)}"
