"""Loads one checkpoint and reads back the metadata that the first FP8 step will see."""

import contextlib
import os
from typing import Any, Dict, List, Optional

import torch

from matrix.worker import digest, facts, gaps, model, raising, rewriting, training, transport
from matrix.worker.modules import recipes
from matrix.worker.modules.sites import Payload, Site


class _Trace:
    """The current stage of a load, and the keys that PyTorch reports."""

    def __init__(self) -> None:
        self.stage = "deserialize"
        self.missing: List[str] = []
        self.unexpected: List[str] = []

    def watch(self, built: Any) -> None:
        """Note missing and unexpected keys when PyTorch reports them."""

        def note(_module: Any, keys: Any) -> None:
            self.missing = list(keys.missing_keys)
            self.unexpected = list(keys.unexpected_keys)

        built.register_load_state_dict_post_hook(note)


def load(built: Any, request: Dict[str, Any]) -> Dict[str, Any]:
    """Load a checkpoint stage by stage, and report how far that went.

    :param built: the scenario's model, newly built.
    :param request: ``scenario``, ``lane``, ``path``, ``rewrite`` (name or None), ``opt_in``
        (environment variable to set, or None), ``steps`` (False: the release lacks the recipe,
        and is taken as far as ``load_state_dict``), and in the gpu lane ``expected``: the file
        with the saving module's output.
    :returns: ``stage``, ``error`` (None or its facts), ``missing_keys``,
        ``unexpected_keys``, ``changed_keys`` (of the state dict passed to the release),
        ``changed_weights`` (parameters and buffers that are not, or do not stay, the checkpoint's),
        ``lost_recipes`` (modules without the recipe of their saved state),
        ``parts`` (metadata at the first step), ``after_load``, ``output`` (None in the
        cpu lane) and ``gaps``.
    :raises Exception: an error of the worker, not of TE or PyTorch.
    """
    if request["opt_in"]:
        os.environ[request["opt_in"]] = "1"
    trace = _Trace()
    found: Dict[str, Any] = {
        "parts": [],
        "after_load": None,
        "output": None,
        "changed_keys": [],
        "changed_weights": [],
        "lost_recipes": [],
    }
    error: Optional[Dict[str, Any]] = None
    try:
        _run(built, request, trace, found)
    except Exception as raised:
        if raising.is_ours(raised):
            raise
        error = raising.describe(raised)
    return dict(
        found,
        stage=trace.stage,
        error=error,
        missing_keys=trace.missing,
        unexpected_keys=trace.unexpected,
        gaps=gaps.met(),
    )


def _run(built: Any, request: Dict[str, Any], trace: _Trace, found: Dict[str, Any]) -> None:
    scenario = request["scenario"]
    whole = request["rewrite"] == rewriting.WHOLE
    state, held = transport.read(request["path"], scenario, built.state_dict, whole)
    if "tree" in scenario:
        # The file holds extra states alone: of the weights nothing is asked.
        own = {name: tensor.detach().clone() for name, tensor in model.weights(built).items()}
        state = dict(own, **state)
    if request["rewrite"] in rewriting.REWRITES:
        state = rewriting.REWRITES[request["rewrite"]](state)
    trace.stage = "load_state_dict"
    trace.watch(built)
    before = digest.of_entries(state)
    kept = dict(state, **{key: held[key] for key in held.keys() & model.weights(built).keys()})
    try:
        for _ in range(rewriting.CALLS.get(request["rewrite"], 1)):
            built.load_state_dict(state, strict=scenario["strict"])
    finally:
        found["changed_keys"] = _changed(before, digest.of_entries(state))
    found["changed_weights"] = _changed_weights(built, kept)
    payloads = {site.path: _payload(kept, site) for site in model.sites(built)}
    found["lost_recipes"] = _lost_recipes(built, payloads)
    if not request["steps"]:
        return
    trace.stage = "first_step"
    if request["lane"] == "gpu":
        _real_steps(built, request, payloads, kept, found)
    else:
        _first_step(built, scenario, payloads, kept, found)


def _real_steps(
    built: Any,
    request: Dict[str, Any],
    payloads: Dict[str, Payload],
    state: Dict[str, Any],
    found: Dict[str, Any],
) -> None:
    """Gpu lane: start FP8, read the metadata back, compare the output, and train further."""
    scenario = request["scenario"]
    recipe = scenario["load_recipe"]
    stepping = model.stepping(built, scenario)
    # Without gradients, leaving the context updates no scale and rolls no history.
    with torch.no_grad(), recipes.autocast(recipes.make(recipe)):
        for site in stepping:
            site.read_before_update()
            with site.forward(scenario["hidden_size"]):
                found["parts"].append(facts.of_site(site, payloads[site.path]))
    _compare_again(built, state, found)
    before = [_copies(site) for site in stepping]
    found["output"] = _difference(training.output(built, scenario, recipe), request["expected"])
    training.train(built, scenario, recipe, training.FURTHER_STEPS, training.FURTHER_GAIN)
    found["after_load"] = [_moved(site, copies) for site, copies in zip(stepping, before)]


def _difference(found: torch.Tensor, expected: str) -> Dict[str, float]:
    """Compare an output with the saving module's in single precision."""
    with open(expected, "rb") as stream:
        saved = torch.load(stream, weights_only=True).float()
    return {
        "largest_difference": float((found.float() - saved).abs().max()),
        "largest": float(saved.abs().max()),
    }


def _changed(before: Dict[str, str], after: Dict[str, str]) -> List[str]:
    return sorted(key for key in {**before, **after} if before.get(key) != after.get(key))


def _changed_weights(built: Any, state: Dict[str, Any]) -> List[str]:
    """Return the parameters and buffers that are not bit-equal to the checkpoint's.

    One that the checkpoint lacks, which a load that is not strict leaves as it was built, is not
    equal either.
    """
    held = model.weights(built)
    saved = {id(tensor) for name, tensor in held.items() if name in state}
    # Of a shared parameter one of its names will do.
    lacking = [name for name in held.keys() - state.keys() if id(held[name]) not in saved]
    return [
        name
        for name, tensor in held.items()
        if name in lacking or (name in state and not digest.same_weight(tensor, state[name]))
    ]


def _lost_recipes(built: Any, payloads: Dict[str, Payload]) -> List[str]:
    """Return the paths of modules that do not hold the recipe of their saved state."""
    lost = []
    for site in model.sites(built):
        saved = site.saved_recipe(payloads[site.path])
        if saved is not None and digest.of_recipe(site.recipe()) != digest.of_recipe(saved):
            lost.append(site.path)
    return lost


def _payload(state: Dict[str, Any], site: Site) -> Payload:
    """Return what the checkpoint holds for a module; None where there is nothing to read."""
    # Controls load damaged states, which may not be readable here.
    with contextlib.suppress(Exception):
        # The key of 1.6 and 1.7, which the attention of later releases reads.
        old = (site.path + "." if site.path else "") + "fused_attention." + digest.EXTRA_STATE
        found = digest.decode(state[old if site.attention and old in state else site.key])["state"]
        return found if isinstance(found, dict) else None
    return None


def _compare_again(built: Any, state: Dict[str, Any], found: Dict[str, Any]) -> None:
    """Add the weights that changed when FP8 started."""
    known = found["changed_weights"]
    known += [name for name in _changed_weights(built, state) if name not in known]


def _first_step(
    built: Any,
    scenario: Dict[str, Any],
    payloads: Dict[str, Payload],
    state: Dict[str, Any],
    found: Dict[str, Any],
) -> None:
    """Cpu lane: start FP8, read the metadata back, and check whether a step changes it."""
    stepping = model.stepping(built, scenario)
    if not stepping:
        return
    with recipes.autocast(recipes.make(scenario["load_recipe"])):
        for site in stepping:
            site.read_before_update()
            with site.forward(scenario["hidden_size"]):
                found["parts"].append(facts.of_site(site, payloads[site.path]))
        _compare_again(built, state, found)
        before = [_copies(site) for site in stepping]
        _write_amaxes(stepping, "forward")
    _write_amaxes(stepping, "backward")
    why_not = model.finish_backward()
    if why_not is None:
        found["after_load"] = [_moved(site, copies) for site, copies in zip(stepping, before)]


def _copies(site: Site) -> Dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in site.tensors().items()}


def _write_amaxes(stepping: List[Site], direction: str) -> None:
    """Write new amaxes where a kernel would: through the quantizers, where there are any."""
    with torch.no_grad():
        for site in stepping:
            for slot, amax in enumerate(site.amax_slots(direction)):
                amax.fill_(7.0 + slot)


def _moved(site: Site, before: Dict[str, torch.Tensor]) -> Dict[str, Any]:
    """Tell for each tensor whether the step changed it as delayed scaling does.

    A history that has new amaxes in row 0 but was not rolled counts as unchanged, because
    nothing will ever read them. One of a single row is left out: rolling clears it.
    """
    after = site.tensors()
    moved = {}
    for name, tensor in after.items():
        old = before[name]
        if name.endswith("amax_history") and len(tensor) == 1:
            continue
        if name.endswith("amax_history"):
            moved[name] = not torch.equal(tensor[1:], old[1:])
        else:
            moved[name] = not torch.equal(tensor, old)
        moved[name] = moved[name] and bool(torch.isfinite(tensor).all())
    return {"path": site.path, "name": site.name, "moved": moved}
