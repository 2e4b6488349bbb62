"""What a lane does before a scenario: report a device, or refuse what it cannot train."""

from typing import Any, Dict

GPU = "gpu"


class NotTrained(RuntimeError):
    """A scenario that the gpu lane cannot train yet."""


def prepare(request: Dict[str, Any]) -> None:
    """Have the cpu lane report the scenario's device; check what the gpu lane is asked for.

    :param request: ``lane`` and ``scenario``.
    :raises NotTrained: the gpu lane does not train the scenario.
    """
    if request["lane"] == GPU:
        _require_trained(request["scenario"])
        return
    from matrix.worker.standin import cuda

    cuda.report(request["scenario"]["device"])


def _require_trained(scenario: Dict[str, Any]) -> None:
    trained = {
        "module": scenario["module"] == "MultiheadAttention",
        "state": scenario["state"] in ("all", "attention"),
        "attention": scenario["attention"] == "core_attention",
        "save_recipe": "class" not in scenario["save_recipe"],
        "load_recipe": "class" not in scenario["load_recipe"],
        "distributed": not scenario["distributed"],
    }
    other = [field for field, known in trained.items() if not known]
    if other:
        raise NotTrained(
            "the gpu lane trains MultiheadAttention under DelayedScaling only, and not with "
            "this {}; the cpu lane has it".format(", ".join(other))
        )
