"""What pipelines show of a gate: GitHub annotations and summary, GitLab code quality, text."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from matrix.errors import ExitCode, StoreError
from matrix.gate.policies import Check
from matrix.report import rendering
from matrix.report.document import Report
from matrix.report.places import places

MAX_ANNOTATIONS = 10
"""GitHub shows no more errors of one step."""

MAX_GROUPS = 50
"""Groups that a summary lists; GitHub refuses one of more than a mebibyte."""

MAX_TEXT = 1500
"""Characters that one text of an annotation or a summary may have."""

_SEVERITY = {ExitCode.DEVIATES: "critical", ExitCode.INFRA: "major", ExitCode.INCOMPLETE: "minor"}


@dataclasses.dataclass(frozen=True)
class FailureGroup:
    """Failing checks with one code and one reason."""

    code: ExitCode
    reason: str
    checks: tuple[Check, ...]

    def where(self, order: Sequence[str]) -> str:
        """Return which savers and loaders, by scenario and variant, or the checks' names.

        :param order: every release there is, oldest first.
        """
        cells = [check.cell for check in self.checks if check.cell]
        return "; ".join(places(cells, order) or [check.id for check in self.checks])


def group_failures(checks: Iterable[Check]) -> list[FailureGroup]:
    """Group the failing checks by reason, deviations first, then the most frequent."""
    found: dict[tuple[ExitCode, str], list[Check]] = {}
    for check in checks:
        if check.code != ExitCode.OK:
            found.setdefault((check.code, check.reason), []).append(check)
    groups = [FailureGroup(*key, tuple(members)) for key, members in found.items()]
    return sorted(groups, key=lambda p: (list(_SEVERITY).index(p.code), -len(p.checks)))


def totals(checks: Sequence[Check]) -> str:
    """Return how many checks there are in which state, on one line."""
    counted = Counter(check.state.value for check in checks).most_common()
    return f"{len(checks)} checks: {', '.join(f'{count} {state}' for state, count in counted)}"


def lines(found: Sequence[FailureGroup], order: Sequence[str]) -> Iterator[str]:
    """Yield the problems as lines to read, the first fifty."""
    for problem in found[:MAX_GROUPS]:
        reason = " ".join(problem.reason.split())[:300]
        yield f"{len(problem.checks)} checks: {reason}"
        yield f"    {problem.where(order)}"
    if len(found) > MAX_GROUPS:
        yield f"... and {len(found) - MAX_GROUPS} more reasons; the report has them all"


def workflow_commands(found: Sequence[FailureGroup], order: Sequence[str]) -> Iterator[str]:
    """Yield GitHub workflow commands, one error for each problem, as many as GitHub shows."""
    for problem in found[:MAX_ANNOTATIONS]:
        title = f"te-matrix: {len(problem.checks)} checks fail"
        text = f"{problem.reason[:MAX_TEXT]}\n{problem.where(order)[:MAX_TEXT]}"
        yield f"::error title={_property(title)}::{_data(text)}"


def _data(text: str) -> str:
    """Escape a workflow command's message: no text may begin a command of its own."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def summary(
    report: Report, found: Sequence[FailureGroup], code: ExitCode, order: Sequence[str]
) -> str:
    """Return the gate's answer as Markdown, for a step summary or a comment."""
    return rendering.render(
        "summary.md.j2",
        report=report,
        code=int(code),
        answer=rendering.verdict_words(code),
        problems=[
            {"count": len(p.checks), "reason": p.reason, "where": p.where(order)[:MAX_TEXT]}
            for p in found[:MAX_GROUPS]
        ],
        more=max(0, len(found) - MAX_GROUPS),
    )


def code_quality(checks: Iterable[Check]) -> str:
    """Return GitLab's code quality report: one issue for each failing check."""
    issues = [
        {
            "description": f"{check.id}: {' '.join(check.reason.split())[:500]}",
            "check_name": f"te-matrix/{check.code.name.lower()}",
            "fingerprint": hashlib.sha256(f"{check.code} {check.id}".encode()).hexdigest(),
            "severity": _SEVERITY[check.code],
            "location": {"path": check.id, "lines": {"begin": 1}},
        }
        for check in checks
        if check.code != ExitCode.OK
    ]
    return json.dumps(issues, indent=1) + "\n"


def write(texts: Mapping[Path, str]) -> None:
    """Write files, their folders made where they are missing.

    :raises StoreError: one cannot be written.
    """
    for path, text in texts.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise StoreError(
                f"{path} cannot be written", why=str(error), do="Name a place that can"
            ) from error


def append(path: Path, text: str) -> None:
    """Add text to GitHub's step summary file.

    :raises StoreError: it cannot be written.
    """
    try:
        with path.open("a", encoding="utf-8") as stream:
            stream.write(text)
    except OSError as error:
        raise StoreError(
            f"{path} cannot be written", why=str(error), do="Unset GITHUB_STEP_SUMMARY"
        ) from error
