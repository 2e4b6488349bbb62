"""What each release does with a checkpoint: the worst of what it does with its extra states."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from matrix.catalogue import features
from matrix.catalogue import ways as catalogued
from matrix.catalogue.releases import Release
from matrix.catalogue.scenarios import Variant
from matrix.catalogue.ways import Way
from matrix.catalogue.words import CellStatus
from matrix.checkpoint import casts, kinds, siblings
from matrix.checkpoint.contents import Contents
from matrix.checkpoint.kinds import ABSENT, ATTENTION, Kind
from matrix.checkpoint.words import Holds
from matrix.doctor import advice, sightings
from matrix.doctor.answers import ENOUGH, Answer, Answers, worst
from matrix.doctor.sightings import Assumed, LoadStatus, Sightings
from matrix.judge import ledger, ways
from matrix.judge.endings import Ending
from matrix.judge.ways import Across
from matrix.store.store import Store

_OTHER_NAME = (
    "if the model keeps attention of Transformer Engine under another name than core_attention, "
    "strict loading fails, as it has no extra state"
)
_HARM = (LoadStatus.FAILS, LoadStatus.RESETS, LoadStatus.FROZEN)


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What one release does with a checkpoint."""

    release: str
    status: LoadStatus
    detail: str = ""
    """The error to expect, or a remark."""
    step: str = ""
    """What makes it load, as a sentence; empty where nothing is needed or known."""
    variant: str = ""
    """The variant in which that was observed."""
    opt_in: str | None = None
    """Environment variable to set for the load."""
    history: int | None = None
    """The ``amax_history_len`` that the recipe must have for that; None where any does."""
    way: str = ""
    """The way across, see ``ways.toml``; empty where none is known."""
    given_up: tuple[str, ...] = ()
    """What is given up by it, a clause each."""
    drop: tuple[str, ...] = ()
    """Names of the FP8 states that have to be given up for it, see ``--drop-fp8-state``."""
    seen_in: tuple[str, ...] = ()
    """Names of the scenarios in which that was observed, state by state."""

    @property
    def harm(self) -> bool:
        """Whether it fails, or what it loads differs from what the checkpoint holds."""
        return self.status in _HARM


@dataclasses.dataclass(frozen=True)
class _Whole:
    """What a release does with a checkpoint in one variant."""

    status: LoadStatus
    by_kind: Mapping[Kind, Answer]

    def worst(self) -> list[tuple[Kind, Answer]]:
        """Return the states that decide, by kind."""
        return [(kind, a) for kind, a in self.by_kind.items() if a.status == self.status]


class Predictor:
    """Predicts what releases do with one checkpoint.

    :param savers: the releases that can have written it.
    :param store: evidence in addition to what is recorded, or None.
    :param assumed: the recipe that the releases load with.
    """

    def __init__(
        self,
        contents: Contents,
        savers: Sequence[Release],
        store: Store | None,
        assumed: Assumed | None = None,
    ) -> None:
        self.assumed = assumed or Assumed()
        self._savers = tuple(savers)
        self._keys: dict[Kind, list[str]] = {}
        for key, kind in kinds.of_contents(contents):
            if kind.traits.container != ABSENT or _may_be_absent(kind, savers):
                self._keys.setdefault(kind, []).append(key)
        self._problems = {s.key: s.problem for s in contents.states if s.problem}
        self._any = bool(contents.states)
        self._lacking = siblings.without_state(contents)
        self._sightings = Sightings(store) if store else sightings.recorded_only()
        self._answers = Answers(self._sightings, [release.name for release in savers])
        self._entries = ledger.load()

    def all(self, loaders: Iterable[Release]) -> tuple[Prediction, ...]:
        """Return one prediction for each release, with what makes the checkpoint load there."""
        return tuple(map(self._predict, loaders))

    def as_it_is(self, loader: Release) -> Prediction:
        """Return what a release does with the checkpoint, without what would make it load."""
        if not self._any:
            return Prediction(loader.name, LoadStatus.UNKNOWN, "it holds no extra states")
        whole = self._whole(loader, "plain", self.assumed)
        detail = self._detail(whole)
        status = whole.status
        if status == LoadStatus.LOADS:
            detail = "; ".join(filter(None, (detail, self._remark(loader))))
        if self._lacking:
            status = worst((status, LoadStatus.DEPENDS))
            detail = "; ".join(filter(None, (detail, advice.missed(self._lacking))))
        return Prediction(loader.name, status, detail, seen_in=_scenarios(whole))

    def _predict(self, loader: Release) -> Prediction:
        made = self.as_it_is(loader)
        if not made.harm:
            if made.status == LoadStatus.UNKNOWN and self._any:
                made = self._opted_in(made, loader) or made
            as_it_is = ways.AS_IT_IS.name if made.status == LoadStatus.LOADS else ""
            cast = any(kind.traits.cast for kind in self._keys)
            step = advice.without_harm(made, incomplete=bool(self._lacking), cast=cast)
            return dataclasses.replace(made, way=as_it_is, step=made.step or step)
        for way, variant, assumed in self._ways():
            if (found := self._mends(loader, variant, assumed)) is not None:
                history = self._changed_history(assumed)
                return _mended(made, loader, Across(way, variant, found), history)
        whole = self._whole(loader, "plain", self.assumed)
        return dataclasses.replace(made, step=self._advice(loader, whole))

    def _opted_in(self, made: Prediction, loader: Release) -> Prediction | None:
        """Return what a release does with its opt-in, where that alone was seen to go well."""
        opt_in = loader.opt_in
        if not opt_in or self._whole(loader, "trusted", self.assumed).status != LoadStatus.LOADS:
            return None
        return dataclasses.replace(
            made,
            status=LoadStatus.DEPENDS,
            detail=f"seen with {opt_in}=1 only, where it loads",
            step=f"Set {opt_in}=1 for the load, if you trust the file",
            variant="trusted",
            opt_in=opt_in,
        )

    # One release, one variant.

    def _whole(self, loader: Release, variant: str, assumed: Assumed) -> _Whole:
        """Return what a release does, by rule where the length of the history was never seen.

        Two lengths that were seen to do the same stand for every other that is equal to that of
        the recipe as they are, or as they are not.
        """
        stand_ins = self._stand_ins(assumed)
        if not stand_ins:
            return self._seen({kind: kind for kind in self._keys}, loader, variant, assumed)
        found = [self._seen(kinds_, loader, variant, under) for kinds_, under in stand_ins]
        first = found[0]
        if len(found) >= ENOUGH and len({whole.status for whole in found}) == 1:
            by_kind = {kind: _by_rule(answer) for kind, answer in first.by_kind.items()}
            return _Whole(first.status, by_kind)
        lengths = f"no scenario has its length of the amax history with {assumed.history}"
        unknown = Answer(LoadStatus.UNKNOWN, lengths)
        return _Whole(LoadStatus.UNKNOWN, dict.fromkeys(self._keys, unknown))

    def _seen(
        self, stand_ins: Mapping[Kind, Kind], loader: Release, variant: str, assumed: Assumed
    ) -> _Whole:
        """Return what was seen of states that stand for those of the checkpoint."""
        answers = {
            kind: self._answer(kind, other, loader, variant, assumed)
            for kind, other in stand_ins.items()
        }
        numbers = (self._answers.numbers(other) for other in stand_ins.values())
        held = {found[0] for found in numbers if len(found) == 1}
        for kind, answer in answers.items():
            certain = (blame for blame in answer.blames if blame.kinds <= held)
            if blame := next(certain, None):
                found = blame.sighting
                answers[kind] = Answer(LoadStatus.FAILS, found.detail, found)
        return _Whole(worst([answer.status for answer in answers.values()]), answers)

    def _stand_ins(self, assumed: Assumed) -> list[tuple[dict[Kind, Kind], Assumed]]:
        """Return states with histories that were seen, in place of those that were not.

        Empty where the checkpoint's own were seen, or it has several lengths.
        """
        pairs = self._sightings.histories
        saved = {length for length, _loaded in pairs}
        own = {kind.traits.history for kind in self._keys if self._is_from_recipe(kind, saved)}
        if len(own) != 1 or None in own or all((n, assumed.history) in pairs for n in own):
            return []
        (length,) = own
        return [
            ({kind: _with_history(kind, length, saved_) for kind in self._keys}, under)
            for saved_, loaded in sorted(pairs)
            if (saved_ == loaded) == (length == assumed.history)
            for under in (dataclasses.replace(assumed, history=loaded),)
        ]

    def _is_from_recipe(self, kind: Kind, saved: Collection[int]) -> bool:
        """Return whether the history of a state is that of the recipe that it was saved with.

        That of attention under current scaling is one step whatever the recipe says.
        """
        length = kind.traits.history
        return length is not None and (length in saved or not self._answers.numbers(kind))

    def _answer(
        self, own: Kind, kind: Kind, loader: Release, variant: str, assumed: Assumed
    ) -> Answer:
        """Return the answer for a state.

        :param kind: the kind that is looked up for it.
        """
        if kind.holds == Holds.UNREADABLE:
            problem = self._problems[self._keys[own][0]]
            return Answer(LoadStatus.UNKNOWN, f"it cannot be read: {problem}")
        if kind.traits.container == ABSENT:
            variant = "plain"  # no rewrite touches what is not there
        if kind.traits.cast:
            return self._cast_back(own, kind, loader, variant, assumed)
        answer = self._answers.of(kind, loader, variant, assumed)
        seen = answer.sighting
        if kind.holds == Holds.DEFAULTS and seen and seen.lossless:
            return Answer(LoadStatus.LOADS, "it starts at defaults, and holds no others", seen)
        return answer

    def _cast_back(
        self, own: Kind, kind: Kind, loader: Release, variant: str, assumed: Assumed
    ) -> Answer:
        """Return the answer for a state that was cast to another type: what it was is known."""
        was = dataclasses.replace(kind, traits=dataclasses.replace(kind.traits, cast=""))
        then = self._answer(own, was, loader, variant, assumed).status.value
        made = kind.traits.cast
        how, back = ("cast to", "cast") if made in casts.CASTS else ("saved as", "turned")
        detail = f"it was {how} {made}, which no scenario does; {back} back: {then}"
        return Answer(LoadStatus.UNKNOWN, detail)

    # What makes it load.

    def _mends(self, loader: Release, variant: Variant, assumed: Assumed) -> Ending | None:
        """Return what becomes of the checkpoint in a variant; None unless that goes well.

        What the release has no place for, and what was removed by name, counts as given up, as it
        does in the table of ways.
        """
        if self._stand_ins(assumed):
            loads = self._whole(loader, variant.name, assumed).status == LoadStatus.LOADS
            return Ending(CellStatus.LOADS) if loads else None
        given_up, dropped = set(), False
        for kind in self._keys:
            attention = ATTENTION in kind.modules
            answer = self._answer(kind, kind, loader, variant.name, assumed)
            at_defaults = answer.sighting is not None and answer.sighting.lossless
            if answer.no_place:
                given_up.add(attention)
            elif variant.drop_attention == "always" and attention and at_defaults:
                given_up.add(attention)
                dropped = True
            elif answer.status != LoadStatus.LOADS:
                return None
        return Ending(
            CellStatus.LOADS,
            attention_given_up=True in given_up,
            rest_given_up=False in given_up,
            dropped=dropped,
        )

    def _ways(self) -> Iterator[tuple[Way, Variant, Assumed]]:
        """Yield what can make a checkpoint load, the least intrusive first."""
        own = self._own_history
        for assumed in filter(None, (self.assumed, own)):
            for way, variant in ways.in_order():
                yield way, variant, assumed
                if variant.name == "plain" and assumed is self.assumed and own is not None:
                    yield way, variant, own

    @functools.cached_property
    def _own_history(self) -> Assumed | None:
        """The recipe with the length of the checkpoint's own amax histories, if that differs."""
        lengths = {kind.traits.history for kind in self._keys} - {None}
        if len(lengths) != 1 or lengths == {self.assumed.history}:
            return None
        return dataclasses.replace(self.assumed, history=lengths.pop() or 0)

    def _changed_history(self, assumed: Assumed) -> int | None:
        return assumed.history if assumed != self.assumed else None

    def _advice(self, loader: Release, whole: _Whole) -> str:
        """Return what the ledger advises where the same was seen of the same releases."""
        found: dict[str, None] = {}
        for _kind, answer in whole.worst():
            seen = answer.sighting
            if seen is None or (seen.stage is None and answer.status == LoadStatus.FAILS):
                continue
            saver = self._sightings.releases[seen.saver]
            for entry in self._entries:
                # Where a rewrite helps, it was named before.
                if ways.REMAP not in entry.advice and advice.applies(entry, saver, loader, answer):
                    found[entry.advice] = None
        return " ".join(found)

    # As text.

    def _detail(self, whole: _Whole) -> str:
        """Return what to expect, as text."""
        by_text: dict[str, list[Kind]] = {}
        by_keys: list[Kind] = []
        for kind, answer in whole.worst():
            if answer.sighting and answer.sighting.keys:
                by_keys.append(kind)
            elif answer.detail:
                by_text.setdefault(answer.detail, []).append(kind)
        if whole.status == LoadStatus.LOADS:
            return "; ".join(by_text)
        told = [f"{text} ({self._named(found)})" for text, found in by_text.items()]
        if by_keys:
            told.append(self._key_error(by_keys))
        more = f"; and {len(told) - advice.SHOWN} more" if len(told) > advice.SHOWN else ""
        return "; ".join(told[: advice.SHOWN]) + more

    def _key_error(self, by_keys: Sequence[Kind]) -> str:
        """Return what strict loading raises, with the keys of this checkpoint."""
        absent = [kind for kind in by_keys if kind.traits.container == ABSENT]
        present = [kind for kind in by_keys if kind.traits.container != ABSENT]
        told = []
        if absent:
            told.append(
                f"Missing key(s) in state_dict: {self._named(absent)}, if that is a norm of "
                "Transformer Engine"
            )
        if present:
            told.append(f"Unexpected key(s) in state_dict: {self._named(present)}")
        return f"RuntimeError at load_state_dict: {'; '.join(told)}"

    def _remark(self, loader: Release) -> str:
        """Return what is not known of a model from a checkpoint without attention states."""
        attends = features.load().modules[ATTENTION]
        # Who wrote a file that was rewritten is not known.
        stateful = bool(self._savers) and all(map(attends.has_state, self._savers))
        if stateful or any(ATTENTION in kind.modules for kind in self._keys):
            return ""
        return _OTHER_NAME if attends.has_state(loader) else ""

    def _named(self, found: Sequence[Kind]) -> str:
        return advice.some([key for kind in found for key in self._keys[kind]])


def _with_history(kind: Kind, length: int | None, other: int) -> Kind:
    """Return a kind with another length of the history, if it has the one given."""
    if kind.traits.history != length:
        return kind
    return dataclasses.replace(kind, traits=dataclasses.replace(kind.traits, history=other))


def _by_rule(answer: Answer) -> Answer:
    if not answer.detail:
        return answer
    told = f"as seen of other lengths of the amax history: {answer.detail}"
    return dataclasses.replace(answer, detail=told)


def _may_be_absent(kind: Kind, savers: Sequence[Release]) -> bool:
    """Return whether a release can have saved a module of a kind without its state."""
    known = features.load().modules
    return not savers or any(
        not known[name].has_state(release) for name in kind.modules for release in savers
    )


def _scenarios(whole: _Whole) -> tuple[str, ...]:
    seen = (answer.sighting for answer in whole.by_kind.values())
    return tuple(sorted({sighting.scenario for sighting in seen if sighting}))


def _mended(made: Prediction, loader: Release, across: Across, history: int | None) -> Prediction:
    step = across.step(loader.name, loader.opt_in, history)
    return dataclasses.replace(
        made,
        step=step[:1].upper() + step[1:],
        variant=across.variant.name,
        opt_in=None if across.variant.opt_in == "never" else loader.opt_in,
        history=history,
        way=across.name if history is None else catalogued.own_recipe().name,
        given_up=across.gives_up,
        drop=across.drop,
    )
