"""What a release's processes do for a request: enter a scenario, save, load."""

from typing import Any, Callable, Dict

from matrix.worker import gaps, loading, model, saving

_built: Dict[str, Any] = {}


def enter(request: Dict[str, Any]) -> Dict[str, Any]:
    """Build the scenario's model with no checkpoint at all, for every load to start from.

    A recipe that the release does not take fails here as well.

    :param request: ``scenario``.
    """
    load_recipe = request["scenario"]["load_recipe"]
    model.recipe(load_recipe)
    _built["model"] = model.build(request["scenario"], load_recipe)
    return {"keys": list(_built["model"].state_dict()), "gaps": gaps.met()}


def load(request: Dict[str, Any]) -> Dict[str, Any]:
    """Load into the model that :func:`enter` built, where that was in this process's past.

    On a GPU every process builds its own: what is on the device does not survive a fork.

    :param request: what :func:`loading.load` takes, and ``loads``: how often, each time
        into a model of its own. The last one's answer is returned.
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
