"""Saves one checkpoint of a module in the state that a training step leaves."""

import io
from typing import Any, Dict, List, Optional, Tuple

import torch

from matrix.worker import canary, digest, facts, gaps, model, raising, training
from matrix.worker.model import Site


class Refused(RuntimeError):
    """A checkpoint by which ``loaded`` and ``defaults`` could not be told apart."""


SAVED, SPOILT, ERROR = "saved", "spoilt", "error"


def save(request: Dict[str, Any]) -> Dict[str, Any]:
    """Build a model, train it, and save it.

    The cpu lane runs TE's bookkeeping of one training step and writes a canary into every slot.
    The gpu lane trains, and also saves the module's output.

    :param request: ``scenario``, ``lane``, ``path`` and, in the gpu lane, ``output``.
    :returns: ``outcome``: ``saved``; ``spoilt``, where the state dict is not what the module
        held, and ``flaws`` says in what; or ``error``, where the release raised ``error`` and
        no file was written. ``state_digest``, ``keys``, ``parts``, ``gaps``, and ``backend``:
        the attention backend that ran, None in the cpu lane.
    :raises Refused: the release supports FP8 attention, but it did not run, or a slot of it
        holds a default.
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
    parts = [facts.of_site(site) for site in stateful]
    state, error = _written(built, request["path"])
    if request["lane"] == "gpu" and error is None:
        torch.save(training.output(built, scenario, scenario["save_recipe"]), request["output"])
    flaws = [] if error else [*_unlike_metadata(stateful, state), *_unlike_weights(built, state)]
    return {
        "outcome": ERROR if error else SPOILT if flaws else SAVED,
        "error": error,
        "flaws": flaws,
        "state_digest": digest.of_state(state),
        "keys": {key: digest.describe(key, value) for key, value in state.items()},
        "parts": parts,
        "gaps": gaps.met(),
        "backend": backend,
    }


def _written(built: Any, path: str) -> Tuple[Dict[str, Any], Optional[Dict[str, Any]]]:
    """Write the model's state dict; return it, or an empty one and what the release raised."""
    # A full disk is no error of the release: only what it and PyTorch do is tried here.
    data = io.BytesIO()
    try:
        state = built.state_dict()
        torch.save(state, data)
    except Exception as raised:
        if raising.is_ours(raised):
            raise
        return {}, raising.describe(raised)
    with open(path, "wb") as stream:
        stream.write(data.getbuffer())
    return state, None


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


def _unlike_metadata(stateful: List[Site], state: Dict[str, Any]) -> List[str]:
    """Return how the saved extra states differ from what the modules hold."""
    found: List[str] = []
    for site in stateful:
        held = site.tensors()
        if not held:
            continue
        key = site.path + "." + digest.EXTRA_STATE
        if key not in state:
            found.append("{} holds FP8 metadata, but {} is not saved".format(site.path, key))
            continue
        payload = digest.decode(state[key])["state"]
        payload = payload if isinstance(payload, dict) else {}
        for name, tensor in held.items():
            saved = payload.get(digest.field(name))
            if saved is None or digest.of_tensor(saved) != digest.of_tensor(tensor):
                field = name.partition(".")[2]
                found.append("{}: {} is not what {} was saved with".format(key, field, name))
        found += _unlike_recipe(key, payload, site.module.fp8_meta.get("recipe"))
    return found


def _unlike_recipe(key: str, payload: Dict[str, Any], held: Any) -> List[str]:
    """Return how a payload lacks the recipe, which replaces scale_inv from 2.0 on."""
    if "recipe" not in payload:
        if not any(name.startswith("scale_inv") for name in payload):
            return ["{}: neither the recipe nor scale_inv is saved".format(key)]
    elif digest.of_recipe(payload["recipe"]) != digest.of_recipe(held):
        return ["{}: the recipe is not the one that the module holds".format(key)]
    return []


def _unlike_weights(built: Any, state: Dict[str, Any]) -> List[str]:
    """Return which parameters and buffers are not saved as the module holds them."""
    return [
        "{} is not what the module holds".format(name)
        for name, tensor in model.weights(built).items()
        if name not in state or not digest.same_weight(state[name], tensor)
    ]
