"""The outcome of a load: what became of the attention's FP8 metadata, from the records."""

from __future__ import annotations

from packaging.version import Version

from matrix.catalogue.words import AfterLoad, Outcome
from matrix.store.records import Load, Save, Tensor

RECIPES_SINCE = Version("2.0")
"""The first release whose extra states contain the recipe; see ``forms.toml``."""


def outcome(save: Save, load: Load) -> Outcome:
    """Return the outcome of a load.

    ``none``: the loader has no such metadata. ``loaded``: every tensor that both sides have
    is bit-equal to the checkpoint's. ``defaults``: every tensor has the FAQ's default.
    ``partial``: everything else, such as a lost recipe, a state dict that the load changed,
    or an output that differs from the saving module's; :func:`flaws` lists the reasons.
    """
    if load.error is not None:
        return Outcome.ERROR
    if load.changed_keys:
        return Outcome.PARTIAL
    found = load.attention()
    if not found:
        return Outcome.NONE
    if all(tensor.default for site in found.values() for tensor in site.tensors.values()):
        return Outcome.DEFAULTS
    return Outcome.PARTIAL if flaws(save, load) else Outcome.LOADED


def flaws(save: Save, load: Load) -> list[str]:
    """Return the reasons why a load that raised no exception is ``partial``, as text."""
    found, saved = load.attention(), save.attention()
    changed = [f"the load changed {key} of the caller's state dict" for key in load.changed_keys]
    apart = sorted(found.keys() ^ saved.keys()) if found else []
    absent = [f"{name}: only one side has it" for name in apart]
    differing = [
        f"{name}: {tensor} is not the checkpoint's"
        for name in sorted(found.keys() & saved.keys())
        for tensor in _differing(found[name].tensors, saved[name].tensors)
    ]
    return [*changed, *absent, *differing, *_lost_recipes(load), *_unlike(load)]


def _unlike(load: Load) -> list[str]:
    if load.output is None or load.output.same:
        return []
    difference, largest = load.output.largest_difference, load.output.largest
    return [f"its output differs from the saving module's by {difference:g} of {largest:g}"]


def _differing(found: dict[str, Tensor], saved: dict[str, Tensor]) -> list[str]:
    # Releases from 2.0 on have no scale_inv, so that one side may lack it.
    shared = found.keys() & saved.keys()
    needed = {name for name in found if not name.endswith("scale_inv")}
    return sorted(
        name
        for name in needed | shared
        if name not in shared or found[name].digest != saved[name].digest
    )


def _lost_recipes(load: Load) -> list[str]:
    # Releases before 2.0 do not save the recipe.
    if Version(load.release.partition("@")[0]) < RECIPES_SINCE:
        return []
    return [f"{path}: the recipe is not the checkpoint's" for path in load.lost_recipes]


def after_load(load: Load) -> AfterLoad:
    """Return whether training steps still update the metadata.

    ``updates`` means that one training step rolled every amax history and moved every scale,
    forward and backward; ``frozen``, that at least one tensor stayed as it was.
    """
    if not load.after_load:
        return AfterLoad.UNTESTED
    moved = all(all(site.moved.values()) for site in load.after_load)
    return AfterLoad.UPDATES if moved else AfterLoad.FROZEN
