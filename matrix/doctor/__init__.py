"""What a checkpoint file or an error message means, according to the evidence.

inspection: ``inspect``: the content of a checkpoint, and what each release does with it
remapping: ``remap``: a checkpoint rewritten for a release
requantizing: what remap does to quantized weights
writers: the releases that can have written a checkpoint; telling: what of it tells them
likes: the kinds of extra states that the recorded saves hold, and which saves hold each;
    describing finds them in the checkpoints, as saved and as rewritten
sightings: what the evidence shows of one kind of state; answers: what follows for a state
predictions: what each release does with a checkpoint: the worst of its states' answers; advice is
    what to do about it
distributed: what becomes of a distributed checkpoint that is read into a model's state dict
asked: what releases do with a checkpoint that they load the extra states of; live asks them,
    places is a model of a module of the right kind at the place of each state
verify: a rewritten checkpoint, tried in the code of the release that it is for
memory: ``check`` and ``repair``: the same for state dicts in memory
symptoms/: the possible causes of an error, told by the text of a traceback or log

>>> from matrix.doctor import inspect
>>> inspect("model.pt").target("2.17.1").status  # doctest: +SKIP
'fails'
"""

from matrix.checkpoint.errors import CheckpointError, LossError
from matrix.doctor.inspection import Inspection, ModuleState, inspect
from matrix.doctor.memory import CheckpointWarning, check, repair
from matrix.doctor.predictions import Prediction
from matrix.doctor.remapping import NoRewriteError, Remapped, StateChange, remap
from matrix.doctor.sightings import Assumed, LoadStatus

__all__ = [
    "Assumed",
    "CheckpointError",
    "CheckpointWarning",
    "Inspection",
    "LoadStatus",
    "LossError",
    "ModuleState",
    "NoRewriteError",
    "Prediction",
    "Remapped",
    "StateChange",
    "check",
    "inspect",
    "remap",
    "repair",
]
