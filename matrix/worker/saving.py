"""Save one checkpoint as a module that has been through a training step would."""

from typing import Any, Dict, List

import torch

from matrix.worker import canary, digest, facts, gaps, model, training
from matrix.worker.model import Site


class Refused(RuntimeError):
    """A save that could not tell ``loaded`` from ``defaults`` afterwards."""


def save(request: Dict[str, Any]) -> Dict[str, Any]:
    """Build, train, write ``request["path"]`` and describe it.

    The cpu lane runs TE's bookkeeping of one training step and stamps every slot; the
    gpu lane trains, and writes the module's output as it then is.

    :param request: ``scenario``, ``lane``, ``path`` and, in the gpu lane, ``output``.
    :returns: ``state_digest``, ``keys``, ``sites``, ``gaps``, and ``backend``: the attention
        backend that ran, None in the cpu lane.
    :raises Refused: the release supports FP8 attention, but it did not run, or the
        checkpoint does not hold what its attention held.
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
    """Train on the device, and see that it was FP8 attention that did; return the backend."""
    canary.fill_weights(built, training.WEIGHTS)
    with training.watching(built) as watch:
        training.train(built, scenario, scenario["save_recipe"], training.STEPS)
    backend = ", ".join(sorted(watch.backends)) or "none"
    if attention and not all(map(training.is_fp8, watch.backends or {"none"})):
        raise Refused("FP8 attention did not run, {} did".format(backend))
    if missing := training.unused(attention, watch):
        raise Refused("{} ran, but never wrote {}".format(backend, ", ".join(missing)))
    return backend


def _stamp(built: Any, stateful: List[Site], scenario: Dict[str, Any]) -> None:
    """Leave what a training step leaves, and in every slot a canary."""
    _train_one_step(stateful, scenario)
    # FP8 weights are cast by the stamped scales, and casting them notes their amaxes.
    canary.stamp(stateful)
    canary.fill_weights(built)
    canary.stamp(stateful)
    for site in stateful:
        for name, tensor in site.tensors().items():
            if site.attention and canary.holds_defaults_somewhere(name, tensor):
                raise Refused("{}: {} still holds defaults".format(site.path, name))


def _train_one_step(stateful: List[Site], scenario: Dict[str, Any]) -> None:
    """Run TE's bookkeeping of one forward and backward pass, kernels left out."""
    with model.autocast(model.recipe(scenario["save_recipe"])):
        for site in stateful:
            with model.forward(site, scenario["hidden_size"]):
                pass
    model.finish_backward()


def _check(attention: List[Site], state: Dict[str, Any]) -> None:
    """Hold the attention's payload in ``state`` against the live metadata."""
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
    """See that a payload has the recipe, which from 2.0 on stands in for scale_inv."""
    if "recipe" not in payload:
        if not any(name.startswith("scale_inv") for name in payload):
            raise Refused("{}: neither the recipe nor scale_inv is saved".format(key))
    elif digest.of_recipe(payload["recipe"]) != digest.of_recipe(held):
        raise Refused("{}: the recipe is not the one that the module holds".format(key))
