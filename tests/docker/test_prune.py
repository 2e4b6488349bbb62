"""Rule: pruning removes what this harness built, and nothing else. Runs last."""

from __future__ import annotations

import io
from typing import Any

from click.testing import CliRunner

from helpers.running import TEST_BASE
from matrix.cli import main
from matrix.lane.containers import images


def test_prune_removes_ours_and_nothing_else(client: Any) -> None:
    foreign, _log = client.images.build(
        fileobj=io.BytesIO(f"FROM {TEST_BASE}\nLABEL somebody=else\n".encode()),
        tag="somebody:else",
        rm=True,
    )
    before = {image.id for image in client.images.list(all=True)}
    ours = {image.id for image in images.built(client)}
    assert ours
    said = CliRunner().invoke(main, ["images", "prune"])
    assert said.exit_code == 0, said.output
    assert f"{len(ours)} images removed" in said.output
    left = {image.id for image in client.images.list(all=True)}
    assert images.built(client) == []
    assert {foreign.id, client.images.get(TEST_BASE).id} <= left
    assert left <= before - ours
    client.images.remove("somebody:else")
