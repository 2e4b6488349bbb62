"""Saves one checkpoint of a module in the state that a training step leaves."""

from typing import Any, Dict, List

import torch

from matrix.worker import canary, digest, facts, gaps, model, training
from matrix.worker.model import Site


class Refused(RuntimeError):
    """A checkpoint by which ``loaded`` and ``defaults`` could not be told apart."""


def save(request: Dict[str, Any]) -> Dict[str, Any]:
    """Build a model, train it, and save it.

    The cpu lane runs TE's bookkeeping of one training step and writes a canary into every slot.
    The gpu lane trains, and also saves the module's output.

    :param request: the request: ``scenario``, ``lane``, ``path`` and, in the gpu lane,
        ``output``.
    :returns: ``state_digest``, ``keys``, ``sites``, ``gaps``, and ``backend``: the attention
        backend that ran, None in the cpu lane.
    :raises Refused: the release has FP8 attention but did not run it, or the checkpoint does
        not hold what its attention held.
    """
    scenario = request["scenario"]
    built = model.build(scenario, scenario["save_recipe"])
    stateful = [site for site in model.sites(built) if site.attention or scenario["state"] == "all"]
    attention = [site for site in stateful if site.attention]
    backend = None
    if request["lane"] == "gpu":
        backend = _train(built, attention, scenario)
    else:
        _stamp(built, stateful, scenario)
    state = built.state_dict()
    _check(attention, state)
    torch.save(state, request["path"])
    sites = [facts.of_site(site) for site in stateful]
    if request["lane"] == "gpu":
        torch.save(training.output(built, scenario, scenario["save_recipe"]), request["output"])
    return {
        "state_digest": digest.of_state(state),
        "keys": {key: digest.describe(key, value) for key, value in state.items()},
        "sites": sites,
        "gaps": gaps.met(),
        "backend": backend,
    }


def _train(built: Any, attention: List[Site], scenario: Dict[str, Any]) -> str:
    """Train on the device, check that FP8 attention ran, and return the backend."""
    canary.fill_weights(built, training.WEIGHTS)
    with training.recording(built) as recorder:
        training.train(built, scenario, scenario["save_recipe"], training.STEPS)
    backend = ", ".join(sorted(recorder.backends)) or "none"
    if attention and not all(map(training.is_fp8, recorder.backends or {"none"})):
        raise Refused("FP8 attention did not run, {} did".format(backend))
    if missing := training.unused(attention, recorder):
        raise Refused("{} ran, but never wrote {}".format(backend, ", ".join(missing)))
    return backend


def _stamp(built: Any, stateful: List[Site], scenario: Dict[str, Any]) -> None:
    """Run the bookkeeping of a training step, and write a canary into every slot."""
    _train_one_step(stateful, scenario)
    # FP8 weights are cast with the stamped scales, and casting changes amaxes.
    canary.stamp(stateful)
    canary.fill_weights(built)
    canary.stamp(stateful)
    for site in stateful:
        for name, tensor in site.tensors().items():
            if site.attention and canary.holds_defaults_somewhere(name, tensor):
                raise Refused("{}: {} still holds defaults".format(site.path, name))


def _train_one_step(stateful: List[Site], scenario: Dict[str, Any]) -> None:
    """Run TE's bookkeeping of one forward and backward pass, without kernels."""
    with model.autocast(model.recipe(scenario["save_recipe"])):
        for site in stateful:
            with model.forward(site, scenario["hidden_size"]):
                pass
    model.finish_backward()


def _check(attention: List[Site], state: Dict[str, Any]) -> None:
    """Check that the saved state of the attention equals its metadata."""
    for site in attention:
        key = site.path + "." + digest.EXTRA_STATE
        if key not in state:
            raise Refused("{} holds FP8 metadata, but {} is not saved".format(site.path, key))
        payload = digest.decode(state[key])["state"] or {}
        for name, tensor in site.tensors().items():
            direction, _, what = name.partition(".")
            saved = payload.get(what + {"forward": "_fwd", "backward": "_bwd"}[direction])
            if saved is None or digest.of_tensor(saved) != digest.of_tensor(tensor):
                raise Refused("{}: {} is not what {} was saved with".format(key, what, name))
        _check_recipe(key, payload, site.module.fp8_meta.get("recipe"))


def _check_recipe(key: str, payload: Dict[str, Any], held: Any) -> None:
    """Check that a payload has the recipe, which replaces scale_inv from 2.0 on."""
    if "recipe" not in payload:
        if not any(name.startswith("scale_inv") for name in payload):
            raise Refused("{}: neither the recipe nor scale_inv is saved".format(key))
    elif digest.of_recipe(payload["recipe"]) != digest.of_recipe(held):
        raise Refused("{}: the recipe is not the one that the module holds".format(key))
