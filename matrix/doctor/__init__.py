"""Answers about a checkpoint of one's own, as a library; nothing here prints.

>>> from matrix.doctor import inspect
>>> inspect("model.pt").target("2.17.1").status  # doctest: +SKIP
'fails'
"""

from matrix.checkpoint.limits import CheckpointError
from matrix.doctor.diagnosis import Module, Report, inspect
from matrix.doctor.remapping import Change, NoRewriteError, Remapped, remap
from matrix.doctor.targets import Target

__all__ = [
    "Change",
    "CheckpointError",
    "Module",
    "NoRewriteError",
    "Remapped",
    "Report",
    "Target",
    "inspect",
    "remap",
]
