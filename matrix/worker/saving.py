"""Saves one checkpoint of a module in the state that a training step leaves."""

import io
from typing import Any, Dict, List, Optional, Tuple

import torch

from matrix.worker import canary, digest, facts, gaps, lanes, model, raising, training, transport
from matrix.worker.modules import recipes
from matrix.worker.modules.sites import Site


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
    :raises Refused: the release supports FP8 attention, but it did not run, or a slot of a
        part holds a default.
    """
    scenario = request["scenario"]
    lanes.prepare(request)
    built = model.build(scenario, scenario["save_recipe"])
    stateful = model.stepping(built, scenario)
    backend = None
    if request["lane"] == "gpu":
        backend = _train(built, [site for site in stateful if site.attention], scenario)
    else:
        _stamp(built, stateful, scenario)
    parts = [facts.of_site(site) for site in stateful]
    state, error = _written(built, request["path"], scenario)
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


def _written(
    built: Any, path: str, scenario: Dict[str, Any]
) -> Tuple[Dict[str, Any], Optional[Dict[str, Any]]]:
    """Write the model's state dict; return it, or an empty one and what the release raised."""
    # A full disk is no error of the release: only what it and PyTorch do is tried here.
    data = io.BytesIO()
    try:
        state = built.state_dict()
        transport.write(state, data, scenario)
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
    """Run the bookkeeping of a training step, and write a canary into every slot.

    :raises Refused: a tensor of a part still holds a default. A part without tensors, as most
        recipes leave it, has nothing to hold one.
    """
    _train_one_step(stateful, scenario)
    # Quantized weights are cast with the stamped scales, and casting changes amaxes.
    canary.stamp(stateful)
    canary.fill_weights(built)
    canary.stamp(stateful)
    for site in stateful:
        for name, tensor in site.tensors().items():
            if canary.holds_defaults_somewhere(name, tensor):
                raise Refused("{}: {} still holds defaults".format(site.name, name))


def _train_one_step(stateful: List[Site], scenario: Dict[str, Any]) -> None:
    """Run TE's bookkeeping of one forward and backward pass, without kernels."""
    if not stateful:
        return
    with recipes.autocast(recipes.make(scenario["save_recipe"])):
        for site in stateful:
            with site.forward(scenario["hidden_size"]):
                pass
    model.finish_backward()


def _unlike_metadata(stateful: List[Site], state: Dict[str, Any]) -> List[str]:
    """Return how the saved extra states differ from what the modules hold."""
    found: List[str] = []
    for site in stateful:
        held, key = site.tensors(), site.key
        if not held:
            continue
        if key not in state:
            found.append("{} holds FP8 metadata, but {} is not saved".format(site.name, key))
            continue
        payload = digest.decode(state[key])["state"]
        payload = payload if isinstance(payload, dict) else {}
        for name, tensor in held.items():
            saved = site.saved(payload, name)
            if saved is None or digest.of_tensor(saved) != digest.of_tensor(tensor):
                field = name.partition(".")[2]
                found.append("{}: {} is not what {} was saved with".format(key, field, name))
        found += _unlike_recipe(site, payload)
    return found


def _unlike_recipe(site: Site, payload: Dict[str, Any]) -> List[str]:
    """Return how a payload lacks the recipe, which replaces scale_inv from 2.0 on."""
    saved = site.saved_recipe(payload)
    if saved is None:
        if not any(site.saved(payload, name + ".scale_inv") is not None for name in site.modes()):
            return ["{}: neither the recipe nor scale_inv is saved".format(site.key)]
    elif digest.of_recipe(saved) != digest.of_recipe(site.recipe()):
        return ["{}: the recipe is not the one that the module holds".format(site.key)]
    return []


def _unlike_weights(built: Any, state: Dict[str, Any]) -> List[str]:
    """Return which parameters and buffers are not saved as the module holds them."""
    held = model.weights(built)
    saved = [
        id(tensor)
        for name, tensor in held.items()
        if name in state and digest.same_weight(state[name], tensor)
    ]
    return [
        "{} is not what the module holds".format(name)
        for name, tensor in held.items()
        # Of a shared parameter one of its names will do.
        if id(tensor) not in saved
    ]
