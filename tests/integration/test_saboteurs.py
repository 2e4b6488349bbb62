"""Rule: a planted fault keeps a release from qualifying; one that does nothing is a survivor.

All of them take minutes: ``nox -s saboteurs``. Here are one of each kind and a harmless one.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from saboteurs import table
from saboteurs.table import Saboteur
from saboteurs.trial import Court, shared_host


@pytest.fixture(scope="module")
def court(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Court]:
    (bench,) = [bench for bench in table.load().bench if bench.name == "saver"]
    folder: Path = tmp_path_factory.mktemp("saboteurs")
    with shared_host(folder / "logs") as host:
        yield Court(bench, folder, host)


ROWS = {row.fault: row for row in table.load().saboteur}


@pytest.mark.parametrize(
    "fault",
    [
        "old_state_ignored",
        "strict_ignored",
        "rounded_on_save",
        "bias_left_out",
        "state_dict_raises",
    ],
)
def test_a_saboteur_is_caught(court: Court, fault: str) -> None:
    assert court.try_one(ROWS[fault]).complaints == ()


def test_a_saboteur_that_changes_nothing_survives(court: Court) -> None:
    wound = ROWS["old_state_ignored"].wound
    found = court.try_one(Saboteur(fault="nothing", bench="saver", wound=wound))
    assert found.wounded == ()
    assert found.complaints == ("1.11->X is same: loaded", "exit code 0, not 1")


def test_a_saboteur_is_not_caught_for_another_reason(court: Court) -> None:
    """A fault that only keeps the release from being imported proves nothing."""
    row = ROWS["old_state_ignored"]
    broken = row.model_copy(update={"fault": "opt_in_ignored"})  # 2.16 has no opt-in to import
    complaints = court.try_one(broken).complaints
    assert any("has no outcome: infra" in line and "imported" in line for line in complaints)
    assert "exit code 4, not 1" in complaints
