"""The operations that requests name: enter a scenario, save, load."""

from typing import Any, Callable, Dict

from matrix.worker import gaps, lanes, loading, model, saving
from matrix.worker.modules import recipes

_built: Dict[str, Any] = {}


def enter(request: Dict[str, Any]) -> Dict[str, Any]:
    """Build the scenario's model without any checkpoint; loads start from it.

    A recipe that the release does not accept fails here.

    :param request: the request, with ``scenario``, ``lane``, and ``steps``: whether the release
        has the recipe that it loads with.
    :returns: ``gaps``.
    """
    lanes.prepare(request)
    load_recipe = request["scenario"]["load_recipe"]
    if request["steps"]:
        recipes.make(load_recipe)
    _built["model"] = model.build(request["scenario"], load_recipe if request["steps"] else None)
    return {"gaps": gaps.met()}


def load(request: Dict[str, Any]) -> Dict[str, Any]:
    """Load into the model that :func:`enter` has built in this process or before its fork.

    On a GPU there is none, because nothing on the device survives a fork: it is built here.

    :param request: the request, as :func:`loading.load` takes it, with ``loads``: the number of
        loads, each into a model of its own.
    :returns: the answer about the last load.
    """
    answer: Dict[str, Any] = {}
    for _ in range(request["loads"]):
        if "model" not in _built:
            enter(request)
        answer = loading.load(_built.pop("model"), request)
    return answer


OPERATIONS: Dict[str, Callable[[Dict[str, Any]], Dict[str, Any]]] = {
    "enter": enter,
    "save": saving.save,
    "load": load,
}
