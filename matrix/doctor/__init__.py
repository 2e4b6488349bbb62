"""Answers about a checkpoint of one's own, as a library; nothing here prints.

>>> from matrix.doctor import inspect
>>> inspect("model.pt").target("2.17.1").status  # doctest: +SKIP
'fails'
"""

from matrix.checkpoint.errors import CheckpointError
from matrix.doctor.inspection import Inspection, ModuleState, inspect
from matrix.doctor.predictions import LoadStatus, Prediction
from matrix.doctor.remapping import NoRewriteError, Remapped, StateChange, remap

__all__ = [
    "CheckpointError",
    "Inspection",
    "LoadStatus",
    "ModuleState",
    "NoRewriteError",
    "Prediction",
    "Remapped",
    "StateChange",
    "inspect",
    "remap",
]
