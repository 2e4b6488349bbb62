"""What a checkpoint file or an error message means, according to the evidence.

inspection: ``inspect``: the content of a checkpoint, and what each release does with it
remapping: ``remap``: a checkpoint rewritten for a release
requantizing: what remap does to quantized weights
writers: the releases that can have written a checkpoint; telling: what of it tells them
likes: the kinds of extra states that the recorded saves hold, and which saves hold each
sightings: what the evidence shows of one kind of state; answers: what follows for a state
predictions: what each release does with a checkpoint: the worst of its states' answers
verify: a rewritten checkpoint, tried in the code of the release that it is for
symptoms: the possible causes of an error; similarity compares texts, symptom_page renders text

>>> from matrix.doctor import inspect
>>> inspect("model.pt").target("2.17.1").status  # doctest: +SKIP
'fails'
"""

from matrix.checkpoint.errors import CheckpointError
from matrix.doctor.inspection import Inspection, ModuleState, inspect
from matrix.doctor.predictions import Prediction
from matrix.doctor.remapping import NoRewriteError, Remapped, StateChange, remap
from matrix.doctor.sightings import Assumed, LoadStatus

__all__ = [
    "Assumed",
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
