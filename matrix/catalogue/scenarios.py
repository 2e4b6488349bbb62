"""Scenarios and variants: how a checkpoint is made and how it is loaded."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import AfterValidator, Field, model_validator

from matrix.catalogue import features, tables, weights
from matrix.catalogue.features import Feature
from matrix.catalogue.forms import Form
from matrix.catalogue.ranges import covers
from matrix.catalogue.releases import Release
from matrix.catalogue.state_keys import CORE_ATTENTION
from matrix.catalogue.words import DeviceGeneration
from matrix.errors import TableError, UsageError, nearest

FeatureRow = TypeVar("FeatureRow", bound=Feature)

DELAYED = "DelayedScaling"
"""The recipe of a scenario that names none."""

FAQ_MODULE = "MultiheadAttention"
"""The module of a scenario that names none, which the FAQ is about."""

_CAPABILITY = {DeviceGeneration.HOPPER: "9.0", DeviceGeneration.BLACKWELL: "10.0"}


class Size(tables.Row):
    """Dimensions of the module."""

    hidden_size: int = Field(gt=0)
    """Width of the module's input and output."""
    attention_heads: int = Field(gt=0)
    """Number of attention heads."""


class Transport(tables.Row):
    """How the state dict gets into a file and back into a model."""

    distributed: bool = False
    """Whether it goes through ``torch.distributed.checkpoint``, in one process; else through
    ``torch.save`` and ``torch.load``."""
    weights_only: bool = False
    """``weights_only`` of ``torch.load``."""
    strict: bool = True
    """``strict`` of ``load_state_dict``."""


def _without_default(fields: dict[str, Any]) -> dict[str, Any]:
    """Leave out a class that is the default: spelling it out makes no other scenario."""
    return {k: v for k, v in fields.items() if (k, v) != (_CLASS, DELAYED)}


_CLASS = "class"
RecipeFields = Annotated[dict[str, Any], AfterValidator(_without_default)]
"""A recipe: its ``class``, unless that is ``DelayedScaling``, and values of its fields."""


def class_of(recipe: dict[str, Any]) -> str:
    """Return the name of a recipe's class."""
    return str(recipe.get(_CLASS, DELAYED))


def fields_of(recipe: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a recipe, without its class."""
    return {name: value for name, value in recipe.items() if name != _CLASS}


def _known(kind: str, name: str, known: Mapping[str, FeatureRow]) -> FeatureRow:
    if name not in known:
        raise ValueError(f"features.toml has no {kind} {name}; {nearest(name, known)}")
    return known[name]


class Scenario(tables.Row):
    """One way to make a checkpoint."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")
    """Name of the scenario in selections and reports."""
    summary: str
    """The scenario in one line, for people."""
    size: str
    """Name of the size to build the module in, unless the run chooses another."""
    faq: bool = False
    """Whether it is one of the FAQ's, which ``faq`` selects."""
    module: str = FAQ_MODULE
    """Name of the module, see ``features.toml``."""
    layers: int = Field(default=1, gt=0)
    """Number of such modules in the model."""
    attention: str = Field(default=CORE_ATTENTION, pattern=r"^[a-z_][a-z0-9_]*$")
    """Name of the submodule that computes attention, in modules that have one."""
    weights: Literal["high-precision", "fp8"] = "high-precision"
    """Format of the weights; ``fp8`` builds the model under the release's FP8 model init, by
    which the recipe quantizes the weights."""
    state: Literal["all", "attention", "linears", "none"] = "all"
    """The parts that take FP8 steps before the checkpoint is saved, and after it is loaded."""
    save_recipe: RecipeFields = Field(default_factory=dict)
    """The recipe for saving: its ``class``, and fields. A recipe without a class is
    ``DelayedScaling``, with ``fp8_dpa`` set."""
    load_recipe: RecipeFields = Field(default_factory=dict)
    """The recipe for loading."""
    device: DeviceGeneration = DeviceGeneration.HOPPER
    """The device generation that the cpu lane reports."""
    transport: Transport = Transport()
    """How the state dict gets into a file and back into a model."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        known = features.load()
        module = _known("module", self.module, known.modules)
        if self.state == "attention" and not module.attends:
            raise ValueError(f"{self.module} computes no attention that could hold state")
        for recipe in (self.save_recipe, self.load_recipe):
            row = _known("recipe", class_of(recipe), known.recipes)
            if row.device not in (self.device, DeviceGeneration.HOPPER):
                raise ValueError(f'{row.name} asks for device = "{row.device.value}"')
        return self

    @property
    def uses_recipe(self) -> bool:
        """Whether the recipe leaves a trace in the checkpoint."""
        return self.state != "none" or self.weights != "high-precision"


REWRITE = "rewrite:"
"""Prefix of the names of variants that load a rewritten file."""

TWICE = "twice"
"""The ``rewrite`` of variants that call ``load_state_dict`` twice."""

WHOLE = "whole"
"""The ``rewrite`` of variants that read a distributed checkpoint by its own index."""


class Variant(tables.Row):
    """One way to load a checkpoint."""

    name: str
    """Name of the variant in selections and reports."""
    summary: str
    """The variant in one line, for people."""
    rewrite: str | None = None
    """Name of the change to the state dict that the worker makes before loading it."""
    form: str | None = None
    """Name of the form (see ``forms.toml``) that the file is rewritten into first; ``own``: the
    one that the loader reads."""
    weights: Literal["form", "bfloat16", "float16", "float32"] | None = None
    """What becomes of quantized weights then: ``form``, that of the loader's own pickles (see
    ``weights.toml``), or plain tensors of a type."""
    saved_by: tuple[str, ...] | None = None
    """Bands of saving releases that the variant applies to; absent: all."""
    savers: str | None = Field(default=None, alias="from")
    """Closed ranges of saving releases that the variant applies to; absent: all."""
    into: str | None = None
    """Closed ranges of loading releases that the variant applies to; absent: all."""
    attention: bool = False
    """Whether the variant applies only to modules that compute attention."""
    recipes: tuple[str, ...] | None = None
    """Classes of the recipe that a scenario is saved with, of the only ones that the variant
    applies to; absent: all."""
    attention_state: Literal["any", "never", "only"] = "any"
    """Whether the variant applies to scenarios in which attention holds FP8 state: to others alone
    (``never``), or to them alone (``only``)."""
    drop_attention: Literal["never", "no place", "always"] = "never"
    """Whether the FP8 state of attention is removed from the file: where the form has no place for
    it, or always."""
    model: Literal["as saved", "plain"] = "as saved"
    """The model that loads: built as the scenario says, or without quantized weights."""
    not_for: tuple[str, ...] = ()
    """Names of modules that the variant does not apply to."""
    only_for: tuple[str, ...] | None = None
    """Names of the only modules that the variant applies to; absent: all."""
    distributed: bool = False
    """Whether the variant applies to distributed checkpoints alone; files are else rewritten in
    the format of ``torch.save``."""
    opt_in: Literal["never", "only", "any"] = "never"
    """When the loader's opt-in for pickled extra state is set.

    ``never``; ``only``: always, and the variant applies only to loaders that have one;
    ``any``: where the loader has one.
    """

    @model_validator(mode="after")
    def _well_formed(self) -> Self:
        for ranges in filter(None, (self.savers, self.into)):
            covers(ranges)
        if self.name.startswith(REWRITE) != (self.form is not None):
            raise ValueError(f"a variant with a form, and no other, is called {REWRITE}NAME")
        return self

    def applies_to(self, scenario: SizedScenario, loader: Release) -> bool:
        """Return whether the variant applies to a scenario, for a loader."""
        chosen = scenario.scenario
        if not self._takes(scenario):
            return False
        if self.form is None:
            return chosen.transport.distributed or not self.distributed
        same_format = chosen.transport.distributed == self.distributed
        return same_format and self._changes_weights(chosen, loader)

    def _takes(self, scenario: SizedScenario) -> bool:
        """Return whether the variant is for a scenario's module, state and recipe."""
        chosen = scenario.scenario
        if not scenario.attends and self.attention:
            return False
        unwanted = {"any": None, "never": True, "only": False}[self.attention_state]
        if scenario.attends_in_fp8 == unwanted:
            return False
        if self.recipes is not None and class_of(chosen.save_recipe) not in self.recipes:
            return False
        return chosen.module not in self.not_for and chosen.module in (
            self.only_for or [chosen.module]
        )

    def _changes_weights(self, scenario: Scenario, loader: Release) -> bool:
        """Return whether quantized weights, where there are any, get a form that loads."""
        if scenario.weights == "high-precision" or self.weights is None:
            # Without its weights, a rewritten checkpoint loads no better than as it was.
            return scenario.weights == "high-precision" and self.weights is None
        quantized = weights.load().quantized_by(class_of(scenario.save_recipe))
        return self.weights != "form" or weights.load().reads(quantized, loader.version)

    def drops_attention(self, form: Form) -> bool:
        """Return whether the state of attention is removed from files in a form."""
        no_place = form.attention_key == "none"
        return self.drop_attention == "always" or (self.drop_attention == "no place" and no_place)

    def covers(self, saver: Release, loader: Release) -> bool:
        """Return whether both releases lie in the variant's ranges. A candidate never does."""
        return all(
            ranges is None or (not release.candidate and covers(ranges)(release.version))
            for ranges, release in ((self.savers, saver), (self.into, loader))
        )


class Scenarios(tables.Row):
    """Contents of ``scenarios.toml``, or of a user's own file."""

    size: dict[str, Size] = Field(default_factory=dict)
    """Sizes by name. A user's own file may also use the packaged ones."""
    scenario: tuple[Scenario, ...]
    """The scenarios."""


class Variants(tables.Row):
    """Contents of ``variants.toml``."""

    variant: tuple[Variant, ...]
    """The variants."""


class SizedScenario:
    """A scenario at one size.

    ``request`` is the description that the worker process receives. ``digest``, which is part
    of the keys of evidence, is the SHA-256 of its canonical JSON without the fields that have
    their defaults: a field that is added later changes no digest of a scenario without it.
    """

    def __init__(self, scenario: Scenario, size: Size) -> None:
        self.scenario = scenario
        self.size = size
        self.name = scenario.name
        self.summary = scenario.summary
        self.request: dict[str, Any] = {
            **size.model_dump(),
            **scenario.transport.model_dump(),
            "module": scenario.module,
            "layers": scenario.layers,
            "attention": scenario.attention,
            "weights": scenario.weights,
            "state": scenario.state,
            "save_recipe": scenario.save_recipe,
            "load_recipe": scenario.load_recipe,
            "device": scenario.device.value,
        }
        declared = scenario.model_dump(
            exclude={"name", "summary", "size", "faq"}, exclude_defaults=True, mode="json"
        )
        canonical = json.dumps({**size.model_dump(), **declared}, sort_keys=True).encode()
        self.digest = hashlib.sha256(canonical).hexdigest()

    @property
    def attends(self) -> bool:
        """Whether the module computes attention, so that the outcome is the attention's."""
        return features.load().module(self.scenario.module).attends

    @property
    def attends_in_fp8(self) -> bool:
        """Whether attention takes FP8 steps, by which it holds state in most releases."""
        return self.attends and self.scenario.state in ("all", "attention")

    @property
    def documented(self) -> bool:
        """Whether the FAQ speaks of it: of the delayed-scaling state of attention."""
        scenario = self.scenario
        recipes = {class_of(recipe) for recipe in (scenario.save_recipe, scenario.load_recipe)}
        return self.attends_in_fp8 and recipes == {DELAYED}

    @property
    def untrained_on_gpu(self) -> tuple[str, ...]:
        """Why the gpu lane cannot train it yet, a clause each; nothing where it can.

        Its training loop (``matrix/worker/training.py``) is that of the FAQ's module and recipe.
        """
        chosen = self.scenario
        recipes = dict.fromkeys(map(class_of, (chosen.save_recipe, chosen.load_recipe)))
        others = " or ".join(name for name in recipes if name != DELAYED)
        reasons = {
            f"it drives no {chosen.module}, only {FAQ_MODULE}": chosen.module != FAQ_MODULE,
            f"it finds attention under {CORE_ATTENTION} only": chosen.attention != CORE_ATTENTION,
            f'it trains no state = "{chosen.state}"': chosen.state not in ("all", "attention"),
            f"it trains under no {others}, only {DELAYED}": bool(others),
            "it writes no distributed checkpoint": chosen.transport.distributed,
        }
        return tuple(reason for reason, applies in reasons.items() if applies)

    @property
    def capability(self) -> str:
        """The compute capability of its device generation, e.g. ``9.0``."""
        return _CAPABILITY[self.scenario.device]

    def attention_key(self, key: str) -> str:
        """Return a key of ``MultiheadAttention`` as the scenario's module has it."""
        if self.scenario.module == "DotProductAttention":
            return key.removeprefix(f"{CORE_ATTENTION}.")
        return key.replace(CORE_ATTENTION, self.scenario.attention, 1)

    def is_saved_by(self, release: Release) -> bool:
        """Return whether a release has the module, and the recipe that it is saved with."""
        if not self.is_loaded_by(release):
            return False
        scenario = self.scenario
        recipe = features.load().recipe(class_of(scenario.save_recipe))
        quantizes = scenario.weights == "high-precision" or recipe.quantizes_weights(release)
        return not scenario.uses_recipe or (recipe.is_taken(release, scenario.module) and quantizes)

    def is_loaded_by(self, release: Release) -> bool:
        """Return whether a release has the module."""
        return features.load().module(self.scenario.module).is_in(release)

    def is_stepped_by(self, release: Release) -> bool:
        """Return whether a release has the recipe that it is loaded with.

        One that lacks it is taken as far as ``load_state_dict``.
        """
        recipe = features.load().recipe(class_of(self.scenario.load_recipe))
        return not self.scenario.uses_recipe or recipe.is_taken(release, self.scenario.module)

    @property
    def one_recipe(self) -> bool:
        """Whether it is loaded under the recipe that it was saved with."""
        return self.scenario.save_recipe == self.scenario.load_recipe

    def under_own_recipe(self) -> SizedScenario:
        """Return the scenario, loaded under the recipe that it was saved with."""
        same = {"name": f"{self.name}/own-recipe", "load_recipe": self.scenario.save_recipe}
        return SizedScenario(self.scenario.model_copy(update=same), self.size)

    def into_plain_model(self) -> SizedScenario:
        """Return the scenario, loaded by a model that is built without quantized weights."""
        plain = {"name": f"{self.name}/plain-model", "weights": "high-precision"}
        return SizedScenario(self.scenario.model_copy(update=plain), self.size)


def load(extra: Path | None = None, size: str | None = None) -> dict[str, SizedScenario]:
    """Read the packaged scenarios and a user's own, and return them by name.

    :param extra: a further file of the same form.
    :param size: name of the size to use for all scenarios; by default each has its own.
    :raises TableError: a file is malformed, or a scenario names an unknown size.
    :raises UsageError: ``size`` is unknown.
    """
    found: dict[str, SizedScenario] = {}
    sizes: dict[str, Size] = {}
    for path in filter(None, (tables.packaged("scenarios.toml"), extra)):
        table = tables.load(path, Scenarios)
        sizes.update(table.size)
        if size is not None and size not in sizes:
            raise UsageError(f"there is no size {size}", do=nearest(size, sizes))
        for scenario in table.scenario:
            found[scenario.name] = SizedScenario(scenario, _size(path, scenario, size, sizes))
    return found


def _size(path: Path, scenario: Scenario, size: str | None, sizes: dict[str, Size]) -> Size:
    name = size or scenario.size
    if name not in sizes:
        raise TableError(
            f"{path}: scenario {scenario.name}: there is no size {name}", do=nearest(name, sizes)
        )
    return sizes[name]


def variants() -> dict[str, Variant]:
    """Read the packaged variants, and return them by name."""
    table = tables.load(tables.packaged("variants.toml"), Variants)
    return {variant.name: variant for variant in table.variant}
