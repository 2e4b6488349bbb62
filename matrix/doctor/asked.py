"""What releases do with a checkpoint, by asking them: each loads its extra states itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

from matrix.catalogue import forms
from matrix.catalogue.forms import Form
from matrix.catalogue.releases import Release
from matrix.catalogue.scenarios import REWRITE
from matrix.checkpoint import edits as planning
from matrix.checkpoint.contents import Contents
from matrix.checkpoint.edits import Edit
from matrix.doctor import places as asking
from matrix.doctor import verify
from matrix.doctor.live import LiveAnswer, LiveReleases
from matrix.doctor.places import Places
from matrix.doctor.predictions import Prediction, Predictor
from matrix.doctor.sightings import Assumed, LoadStatus
from matrix.errors import MatrixError

_OF_WEIGHTS = "as recorded: its quantized weights were not asked"


def ask(
    contents: Contents,
    loaders: Iterable[Release],
    releases: LiveReleases,
    assumed: Assumed,
    recorded: Predictor,
) -> tuple[tuple[Prediction, ...], tuple[LiveAnswer, ...]]:
    """Have releases load the extra states of a checkpoint, and find what makes them load.

    :param contents: the checkpoint; whoever calls has made sure that its names are harmless.
    :param assumed: the recipe that they load with.
    :param recorded: answers for its quantized weights, which releases are not asked about.
    :returns: one prediction for each release, and the answers of those that could be asked.
    """
    places = asking.places_of(contents)
    predictions, answers = [], []
    for loader in loaders:
        asked = _Asked(contents, places, loader, releases)
        try:
            answer = asked.answer(places, assumed)
            answers.append(answer)
            found = asked.prediction(answer, assumed)
            if contents.weights:
                (seen,) = recorded.all([loader])
                found = _with_weights(found, seen)
            predictions.append(found)
        except MatrixError as error:
            predictions.append(Prediction(loader.name, LoadStatus.UNKNOWN, f"not asked: {error}"))
    return tuple(predictions), tuple(answers)


def _with_weights(found: Prediction, recorded: Prediction) -> Prediction:
    """Return what is recorded of a checkpoint with quantized weights, where anything is.

    Quantized weights may fail before any state is loaded. And what becomes of a state may depend
    on whether the model's own weights are quantized, which those of the models asked are not:
    2.16 loads operations' state of current scaling of 2.15 only where they are.
    """
    if recorded.status in (LoadStatus.UNKNOWN, LoadStatus.DEPENDS):
        return found
    told = f"{recorded.detail} ({_OF_WEIGHTS})" if recorded.detail else _OF_WEIGHTS
    return dataclasses.replace(recorded, detail=told)


@dataclasses.dataclass(frozen=True)
class _Asked:
    """One release, asked about one checkpoint."""

    contents: Contents
    places: Places
    loader: Release
    releases: LiveReleases

    def answer(
        self, places: Places, assumed: Assumed | None, opt_in: str | None = None
    ) -> LiveAnswer:
        return self.releases.ask(self.loader, places, opt_in, assumed)

    def prediction(self, answer: LiveAnswer, assumed: Assumed) -> Prediction:
        """Return the answer as a prediction, with the step that makes the checkpoint load."""
        found = Prediction(self.loader.name, answer.status, answer.detail)
        if answer.status in (LoadStatus.LOADS, LoadStatus.UNKNOWN):
            return found
        return (
            self._trusted(found, assumed)
            or self._as_saved(found, assumed)
            or self._rewritten(found, assumed)
            or found
        )

    def _trusted(self, found: Prediction, assumed: Assumed) -> Prediction | None:
        """Return what is to be done if the release's opt-in is enough."""
        opt_in = self.loader.opt_in
        if not opt_in or not _loads(self.answer(self.places, assumed, opt_in)):
            return None
        step = f"Set {opt_in}=1 for the load, if you trust the file"
        return dataclasses.replace(found, step=step, variant="trusted", opt_in=opt_in)

    def _as_saved(self, found: Prediction, assumed: Assumed) -> Prediction | None:
        """Return what is to be done if a recipe with the checkpoint's own history is enough."""
        history = asking.history_of(self.places)
        if history in (None, assumed.history):
            return None
        step = f"Load under a recipe with amax_history_len = {history}"
        for opt_in in dict.fromkeys((None, self.loader.opt_in)):
            if _loads(self.answer(self.places, None, opt_in)):
                if opt_in:
                    step += f", then set {opt_in}=1 for the load, if you trust the file"
                variant = "trusted" if opt_in else "plain"
                return dataclasses.replace(
                    found, step=step, variant=variant, opt_in=opt_in, history=history
                )
        return None

    def _rewritten(self, found: Prediction, assumed: Assumed) -> Prediction | None:
        """Return what is to be done if a rewrite is enough."""
        form = forms.read_by(self.loader.version)
        edits = _edits(self.contents, form) if form else ()
        if form is None or not edits:
            return None
        places = verify.rewritten(self.places, edits, verify.planned(edits))
        history = None
        if not _loads(self.answer(places, assumed, self.loader.opt_in)):
            # Loaded as it was saved, under a recipe with the checkpoint's own history.
            history = asking.history_of(places)
            if history is None or not _loads(self.answer(places, None, self.loader.opt_in)):
                return None
        step = f"Run te-matrix remap IN OUT --to {self.loader.name}"
        opt_in = self.loader.opt_in if any(map(planning.needs_opt_in, edits)) else None
        if opt_in:
            step += f", then set {opt_in}=1 for the load, if you trust the file"
        variant = REWRITE + form.name
        return dataclasses.replace(
            found, step=step, variant=variant, opt_in=opt_in, history=history
        )


def _loads(answer: LiveAnswer) -> bool:
    return answer.status == LoadStatus.LOADS


def _edits(contents: Contents, form: Form) -> Sequence[Edit]:
    """Return the edits that rewrite a checkpoint into a form; none if it is in the form, or cannot
    be rewritten."""
    try:
        edits = planning.plan(contents, form)
    except MatrixError:
        return ()
    return edits if any(edit.changes for edit in edits) else ()
