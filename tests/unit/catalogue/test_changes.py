"""Rule: the table of changes reads back as it was written, and holds no mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest

from matrix.catalogue import changes, releases
from matrix.catalogue.changes import Change, Changes, Effect, Exemption
from matrix.errors import StoreError, TableError

EFFECT = Effect(
    role="loader",
    variant="plain",
    before="error",
    now="loaded",
    modules=("Linear",),
    recipes=("DelayedScaling",),
    partners="1.0-1.14",
    cells=3,
    errors=("KeyError at load_state_dict: 'recipe' \"quoted\" \\ and \x1b",),
    tested=("linear/plain/1.13->2.4",),
)
CHANGE = Change(
    release="2.4",
    after="2.3",
    basis="commit",
    commit="a" * 40,
    date="2025-05-19T23:25:57+02:00",
    subject="Enhance recipe compatibility — ü (#1724)",
    pulls=(1724,),
    main="b" * 40,
    files=("transformer_engine/pytorch/module/base.py",),
    effect=(EFFECT, EFFECT.model_copy(update={"role": "saver", "errors": ()})),
)
TABLE = Changes(
    change=(CHANGE, Change(release="2.5", after="2.4", basis="unknown", why="w", effect=(EFFECT,))),
    exempt=(Exemption(reference="#1", entries=("frozen",), reason="because"),),
)


def test_what_is_written_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "new" / "changes.toml"
    changes.write(path, TABLE)
    assert changes.load(path) == TABLE


def test_the_comment_at_the_top_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "changes.toml"
    path.write_text("# What it is.\n\n[[change]]\nrelease = 1\n")
    changes.write(path, TABLE)
    assert path.read_text().startswith("# What it is.\n\n[[change]]\n")
    assert changes.load(path) == TABLE


def test_an_empty_table(tmp_path: Path) -> None:
    changes.write(tmp_path / "changes.toml", Changes())
    assert changes.load(tmp_path / "changes.toml") == Changes()


def test_a_mistake_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "changes.toml"
    changes.write(path, TABLE)
    path.write_text(path.read_text().replace('basis = "commit"', 'basis = "guess"'))
    with pytest.raises(TableError, match=r"changes\.toml:4: change\.0\.basis"):
        changes.load(path)


def test_a_table_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be written"):
        changes.write(tmp_path, TABLE)


def test_the_packaged_table_is_of_neighbouring_releases() -> None:
    names = releases.load().names()
    for row in changes.load().change:
        assert names.index(row.release) == names.index(row.after) + 1
        assert (row.basis == "unknown") == (row.commit is None)
        assert (row.basis == "commit") == (row.why is None)
        assert bool(row.left) == (row.basis in ("range", "version"))
