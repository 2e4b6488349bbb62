"""What the program :mod:`matrix.lane.binding.observe` tells of an extension."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pydantic import BaseModel, ConfigDict

from matrix.errors import WorkerError
from matrix.system import shipped

Pickles = dict[str, dict[str, str]]
"""By protocol and member of ``DType``, in hexadecimal."""


class Facts(BaseModel):
    """The exports of an extension and their behaviour; see ``observe.facts``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    functions: dict[str, list[str]]
    """Parameters of the overloads of each function."""
    enumerations: dict[str, dict[str, Any]]
    """Members and behaviour of each enumeration."""
    classes: list[str]
    """Names of the other classes."""
    constants: dict[str, int | float | str]
    """Plain values."""
    submodules: list[str]
    """Names of submodules."""
    star: list[str]
    """Names that ``import *`` brings."""
    pickles: Pickles
    """The members of ``DType``, pickled."""
    reads: Pickles
    """The names of the members that the other extension's pickles are read as."""
    tensor_meta: dict[str, str]
    """How ``FP8TensorMeta`` behaves."""

    @property
    def kinds(self) -> dict[str, str]:
        """What each exported name is, e.g. ``function``."""
        return {
            **dict.fromkeys(self.functions, "function"),
            **dict.fromkeys(self.enumerations, "enumeration"),
            **dict.fromkeys(self.classes, "class"),
            **dict.fromkeys(self.constants, "constant"),
            **dict.fromkeys(self.submodules, "submodule"),
        }


@dataclasses.dataclass(frozen=True)
class Observed:
    """What is known of a release's extension."""

    release: str
    """Name of the release."""
    compiled: Facts
    """What its compiled extension exports and does."""
    asked: frozenset[str]
    """The names that the release's Python code asks for."""


class Observer:
    """The program that observes extensions. Leaving the context ends it."""

    def __enter__(self) -> Self:
        program = Path(__file__).with_name("observe.py")
        self._process = subprocess.Popen(
            [sys.executable, str(program)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={"PYTHONPATH": str(shipped.PACKAGE.parent), "PATH": "/usr/bin:/bin"},
        )
        return self

    def observe(
        self, module: str, version: str, file: Path | None, foreign: Pickles | None = None
    ) -> Facts:
        """Observe one extension.

        :param module: its name.
        :param version: the release's version.
        :param file: the compiled extension; None for the stand-in.
        :param foreign: pickles of another extension that it is to read.
        :raises WorkerError: it cannot be imported or observed.
        """
        request = {"module": module, "version": version, "pickles": foreign or {}}
        request |= {"file": str(file)} if file else {}
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline() or '{"failure": "it ended"}')
        if "failure" in answer:
            what = f"the extension of {version} cannot be observed"
            raise WorkerError(what, why=str(answer["failure"]))
        return Facts.model_validate(answer["facts"])

    def __exit__(
        self, kind: type[BaseException] | None, error: object, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()
