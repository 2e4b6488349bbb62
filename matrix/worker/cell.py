"""What a release's processes do for a request: enter a scenario, save, load."""

from typing import Any, Callable, Dict

from worker import gaps, loading, model, saving

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
    """
    if "model" not in _built:
        enter(request)
    return loading.load(_built["model"], request)


OPERATIONS: Dict[str, Callable[[Dict[str, Any]], Dict[str, Any]]] = {
    "enter": enter,
    "save": saving.save,
    "load": load,
}
