"""Release notes of a candidate on checkpoints: what its users have to know, and nothing else."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal

from matrix.catalogue import ranges, releases
from matrix.catalogue.words import CellStatus, Outcome, Standing
from matrix.judge import endings as endings_of
from matrix.judge import ways
from matrix.judge.endings import Ending
from matrix.report import traits
from matrix.report.cells import ReportCell
from matrix.report.document import Report
from matrix.report.traits import NO_RECIPE, Traits

Markup = Literal["rst", "md"]
"""The markup of the notes."""
MARKUPS: tuple[Markup, ...] = ("rst", "md")
"""All of them."""

_PLAIN = "plain"
_MEANINGS = {
    CellStatus.FROZEN: "load, and later training steps never update their FP8 metadata",
    CellStatus.RESETS: "load, and their FP8 metadata is silently reset to defaults",
    CellStatus.CHANGED: "load, and what is loaded is not what was saved",
}
_NOTHING = "Nothing that their users have to know."


@dataclasses.dataclass(frozen=True)
class _Harm:
    """What goes wrong with some checkpoints, and what helps."""

    what: str
    helps: tuple[str, ...]


def text(report: Report, opt_in: str | None, faq: Iterable[str], markup: Markup) -> str:
    """Return the release notes of the first candidate of a report.

    :param report: the report on a candidate, with its qualification.
    :param opt_in: the environment variable that makes it accept pickled extra state.
    :param faq: lines with the patch of the FAQ, see :func:`quoted`, or on why there is none.
    """
    assert report.qualification is not None
    match = report.qualification.matches[0]
    version = match.name.partition("@")[0]
    reads = [cell for cell in report.cells if cell.loaded_by == match.name != cell.saved_by]
    read_by = [cell for cell in report.cells if cell.saved_by == match.name != cell.loaded_by]
    order = releases.order([row.name for row in report.releases])
    told = {row.name: traits.of(row) for row in report.scenarios}
    heading = _heading(markup)
    lines = [
        heading(f"Checkpoints of Transformer Engine {version}", 1),
        heading(f"Checkpoints of other releases in {version}", 2),
        *(_bullets(reads, told, order, "saved_by", opt_in, markup) or [_NOTHING]),
        "",
        heading(f"Checkpoints of {version} in other releases", 2),
        *(_bullets(read_by, told, order, "loaded_by", None, markup) or [_NOTHING]),
        "",
        heading(f"Changed from {match.baseline}", 2),
        *(_changes(report, markup) or ["Nothing."]),
        "",
        heading("A patch of the FAQ", 2),
        *(line.replace(match.name, version) for line in faq),
    ]
    return "\n".join(lines) + "\n"


def _heading(markup: Markup) -> Callable[[str, int], str]:
    def heading(title: str, level: int) -> str:
        if markup == "md":
            return f"{'#' * level} {title}\n"
        return f"{title}\n{'=-'[level - 1] * len(title)}\n"

    return heading


def _code(text_: str, markup: Markup) -> str:
    return f"`{text_}`" if markup == "md" else f"``{text_}``"


def _bullets(
    cells: Iterable[ReportCell],
    told: Mapping[str, Traits],
    order: Sequence[str],
    partner: str,
    opt_in: str | None,
    markup: Markup,
) -> list[str]:
    """Return what goes wrong as bullets: kinds of checkpoints that fare alike stand together."""
    pairs: dict[tuple[str, str], dict[str, ReportCell]] = {}
    for cell in cells:
        pairs.setdefault((cell.scenario, getattr(cell, partner)), {})[cell.variant] = cell
    found: dict[_Harm, dict[str, set[str]]] = {}
    for (scenario, release), by_variant in pairs.items():
        harm = _harm(by_variant, opt_in, markup)
        if harm is not None:
            found.setdefault(harm, {}).setdefault(scenario, set()).add(release)
    lines = []
    for harm, scenarios in found.items():
        lines.append(f"- {_subject(scenarios, told, order)}: they {harm.what}.")
        lines += [f"  {help_}" for help_ in harm.helps]
    return lines


def _harm(by_variant: Mapping[str, ReportCell], opt_in: str | None, markup: Markup) -> _Harm | None:
    """Return what goes wrong without any measure, and the measures after which it does not."""
    plain = by_variant.get(_PLAIN)
    endings = {name: endings_of.of(cell) for name, cell in by_variant.items()}
    if plain is None or endings[_PLAIN].goes_well:
        return None
    return _Harm(_what(plain, endings[_PLAIN].status, markup), _helps(endings, opt_in, markup))


def _helps(endings: Mapping[str, Ending], opt_in: str | None, markup: Markup) -> tuple[str, ...]:
    across = ways.across(endings)
    if across is None:
        return ()
    if across.remaps:
        return (f"Rewrite them with {_code(ways.REMAP, markup)} first.",)
    setting = _code(f"{opt_in}=1", markup)
    return (f"Set {setting} for the load, if you trust the file.",) if opt_in else ()


def _what(cell: ReportCell, status: CellStatus, markup: Markup) -> str:
    if status == CellStatus.FAILS:
        return f"do not load ({_code(cell.error_type or 'an exception', markup)})"
    if status == CellStatus.UNKNOWN and isinstance(cell.outcome, Outcome):
        return "cannot be trained on under their recipe, which the loading release lacks"
    return _MEANINGS.get(status, f"have no outcome ({cell.outcome.value})")


def _subject(
    scenarios: Mapping[str, set[str]], told: Mapping[str, Traits], order: Sequence[str]
) -> str:
    """Return releases and kinds of checkpoints as text."""
    by_releases: dict[str, list[Traits]] = {}
    for scenario, names in scenarios.items():
        by_releases.setdefault(ranges.text(names, order), []).append(told[scenario])
    return "; ".join(f"{names} ({_kinds(of)})" for names, of in by_releases.items())


def _kinds(found: Iterable[Traits]) -> str:
    by_kind: dict[str, list[str]] = {}
    for one in found:
        kind = one.checkpoint if one.recipe == NO_RECIPE else one.kind
        by_kind.setdefault(kind, []).append(one.module)
    return "; ".join(
        f"{', '.join(dict.fromkeys(modules))}, {kind}" for kind, modules in by_kind.items()
    )


def _changes(report: Report, markup: Markup) -> list[str]:
    assert report.qualification is not None
    lines = []
    for standing in (Standing.WORSE, Standing.BETTER, Standing.CHANGED):
        for group in report.qualification.of(standing):
            reason = f" ({_code(group.reason, markup)})" if group.reason else ""
            lines.append(f"- {standing.value}: {group.change}{reason}")
            lines += [f"  {line}" for line in group.where]
    return lines


def quoted(code: str, language: str, markup: Markup) -> list[str]:
    """Return lines that show code as it is.

    :param language: the name of its language, for highlighting.
    """
    lines = code.rstrip().splitlines()
    if markup == "md":
        return [f"```{language}", *lines, "```"]
    return [f".. code-block:: {language}", "", *(f"   {line}".rstrip() for line in lines)]
