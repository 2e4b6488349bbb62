"""What a child process does for one request: probe, save or load."""

from typing import Any, Callable, Dict

from worker import loading, model, saving


def probe(request: Dict[str, Any]) -> Dict[str, Any]:
    """Build the model with no checkpoint at all; a loader that cannot is no loader."""
    built = model.build(request["scenario"], request["scenario"]["load_recipe"])
    return {"keys": list(built.state_dict())}


OPERATIONS: Dict[str, Callable[[Dict[str, Any]], Dict[str, Any]]] = {
    "probe": probe,
    "save": saving.save,
    "load": loading.load,
}
