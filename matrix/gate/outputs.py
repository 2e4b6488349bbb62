"""The gate's result for CI services: GitHub annotations and summary, GitLab code quality."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from matrix.errors import ExitCode, StoreError, os_errors_as
from matrix.gate.policies import Check
from matrix.report import overview, rendering
from matrix.report.document import Report
from matrix.report.places import places
from matrix.system.counting import counted

MAX_ANNOTATIONS = 10
"""The number of errors that GitHub shows for one step."""

MAX_GROUPS = 50
"""The most groups in a summary; GitHub refuses summaries larger than one mebibyte."""

MAX_TEXT = 1500
"""The most characters of one text in a listing, an annotation or a summary."""

_SEVERITY = {ExitCode.DEVIATES: "critical", ExitCode.INFRA: "major", ExitCode.INCOMPLETE: "minor"}


@dataclasses.dataclass(frozen=True)
class FailureGroup:
    """Failing checks that have the same exit code and the same reason."""

    code: ExitCode
    reason: str
    checks: tuple[Check, ...]

    def where(self, order: Sequence[str]) -> str:
        """Return the savers and loaders by scenario and variant, or else the checks' ids.

        :param order: the names of all releases, oldest first.
        """
        cells = [check.cell for check in self.checks if check.cell]
        return "; ".join(places(cells, order) or [check.id for check in self.checks])


def group_failures(checks: Iterable[Check]) -> list[FailureGroup]:
    """Group failing checks by exit code and reason: deviations first, then the largest groups."""
    found: dict[tuple[ExitCode, str], list[Check]] = {}
    for check in checks:
        if check.code != ExitCode.OK:
            found.setdefault((check.code, check.reason), []).append(check)
    groups = [FailureGroup(*key, tuple(members)) for key, members in found.items()]
    return sorted(groups, key=lambda group: (list(_SEVERITY).index(group.code), -len(group.checks)))


def totals(checks: Sequence[Check]) -> str:
    """Return the number of checks in each state, on one line."""
    states = Counter(check.state.value for check in checks).most_common()
    told = ", ".join(f"{count} {state}" for state, count in states)
    return f"{counted(len(checks), 'check')}: {told}"


def lines(groups: Sequence[FailureGroup], order: Sequence[str]) -> Iterator[str]:
    """Yield groups as lines of text, at most :data:`MAX_GROUPS` of them."""
    for group in groups[:MAX_GROUPS]:
        reason = " ".join(group.reason.split())[:300]
        yield f"{counted(len(group.checks), 'check')}: {reason}"
        yield f"    {_cut(group.where(order))}"
    if len(groups) > MAX_GROUPS:
        yield f"... and {len(groups) - MAX_GROUPS} more reasons; the report has them all"


def _cut(text: str) -> str:
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]} … (the report has it all)"


def workflow_commands(groups: Sequence[FailureGroup], order: Sequence[str]) -> Iterator[str]:
    """Yield a GitHub workflow command for each group, as many as GitHub shows."""
    for group in groups[:MAX_ANNOTATIONS]:
        title = f"te-matrix: {counted(len(group.checks), 'failed check')}"
        text = f"{group.reason[:MAX_TEXT]}\n{_cut(group.where(order))}"
        yield f"::error title={_escaped_property(title)}::{_escaped_message(text)}"


def _escaped_message(text: str) -> str:
    """Escape the message of a workflow command, so that no text in it starts another one."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _escaped_property(text: str) -> str:
    return _escaped_message(text).replace(":", "%3A").replace(",", "%2C")


def summary(
    report: Report, groups: Sequence[FailureGroup], code: ExitCode, order: Sequence[str]
) -> str:
    """Return the gate's result as Markdown, for a step summary or a comment."""
    return rendering.render(
        "summary.md.j2",
        report=report,
        tables=overview.tables(report),
        code=int(code),
        answer=rendering.verdict_words(code),
        problems=[
            {
                "count": len(group.checks),
                "reason": group.reason,
                "where": _cut(group.where(order)),
            }
            for group in groups[:MAX_GROUPS]
        ],
        more=max(0, len(groups) - MAX_GROUPS),
    )


def code_quality(checks: Iterable[Check]) -> str:
    """Return a GitLab code quality report (JSON), with one issue for each failing check."""
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
    """Write files, and create their folders.

    :param texts: the content of each file.
    :raises StoreError: a file cannot be written.
    """
    for path, text in texts.items():
        with os_errors_as(StoreError, f"{path} cannot be written", "Name a place that can"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")


def append(path: Path, text: str) -> None:
    """Append text to GitHub's step summary file.

    :raises StoreError: the file cannot be written.
    """
    do = "Unset GITHUB_STEP_SUMMARY"
    with (
        os_errors_as(StoreError, f"{path} cannot be written", do),
        path.open("a", encoding="utf-8") as stream,
    ):
        stream.write(text)
