"""Rule: each variant shows one way; who keeps a recipe loads the very same checkpoints."""

from __future__ import annotations

import pytest

from helpers.agreement import save_of
from matrix.catalogue import releases, scenarios, tables, ways
from matrix.catalogue.scenarios import class_of
from matrix.catalogue.ways import _Ways
from matrix.errors import TableError

INSTEAD = ways.own_recipe().instead.items()


@pytest.mark.parametrize(("changed", "kept"), INSTEAD)
def test_who_keeps_the_recipe_loads_the_same_checkpoints(changed: str, kept: str) -> None:
    one, other = (scenarios.load()[name].scenario for name in (changed, kept))
    same = one.model_copy(
        update={name: getattr(other, name) for name in ("name", "summary", "faq", "device")}
    )
    recipes = {"save_recipe": other.save_recipe, "load_recipe": other.load_recipe}
    assert same.model_copy(update=recipes) == other
    assert class_of(one.save_recipe) == class_of(other.load_recipe)
    for name in releases.load().names():
        saves = save_of(changed, name), save_of(kept, name)
        digests = {save and save.state_digest for save in saves}
        assert len(digests) == 1, name


def test_every_change_of_recipe_has_a_scenario_without_it() -> None:
    changed = {name for name, sized in scenarios.load().items() if not sized.one_recipe}
    assert changed == {name for name, _kept in INSTEAD}


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ('"rewrite:2.4"', '"rewrite:9"', "variants.toml has no variant rewrite:9"),
        ('variants = ["trusted"]', 'variants = ["plain"]', "no way has the variant trusted"),
        ('["trusted"]', '["trusted", "plain"]', "plain belongs to more than one way"),
        ('"history-16"', '"history-17"', "scenarios.toml has no scenario history-17"),
    ],
)
def test_what_does_not_fit_is_refused(
    old: str, new: str, complaint: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("table") / "ways.toml"
    path.write_text(tables.packaged("ways.toml").read_text().replace(old, new, 1))
    with pytest.raises(TableError, match=complaint):
        tables.load(path, _Ways)
