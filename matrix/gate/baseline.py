"""Policies as they are asked for on a command line, and the reading of their baseline."""

from __future__ import annotations

import dataclasses
import datetime

from matrix.errors import UsageError, nearest
from matrix.gate.policies import Policy, PolicyName
from matrix.report.document import Report
from matrix.workflow import qualifying
from matrix.workflow.reading import read_report
from matrix.workflow.selecting import Request, Selected

_OF_CANDIDATES = (None, PolicyName.BASELINE.value)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PolicyRequest:
    """A policy as it is asked for; the other fields are those of :class:`Policy`.

    :param policy: the name of the policy; None for ``baseline`` where there is a candidate,
        else ``ledger``.
    :param baseline: a store or a report.json; under ``baseline`` also a release, or None for
        the evidence that ships with this package.
    """

    policy: str | None
    baseline: str | None
    require_lane: str | None
    require_live: bool
    allow_missing: bool

    def request(self, given: Request) -> Request:
        """Return a request with the defaults that the policy has for candidates."""
        if self.policy not in _OF_CANDIDATES:
            return given.with_candidate_as("loader")
        if given.selection.candidate:
            given = qualifying.spelled_out(given)
        return given.with_candidate_as("both")

    def name(self, candidates: bool) -> PolicyName:
        """Return which policy is meant.

        :param candidates: whether there are candidates.
        :raises UsageError: there is no such policy, or it needs a candidate and has none.
        """
        if self.policy is None:
            return PolicyName.BASELINE if candidates else PolicyName.LEDGER
        policies = {name.value: name for name in PolicyName}
        if self.policy not in policies:
            raise UsageError(f"there is no policy {self.policy}", do=nearest(self.policy, policies))
        if policies[self.policy] == PolicyName.BASELINE and not candidates:
            raise UsageError(
                "policy baseline holds candidates against the release before them, and there "
                "is no candidate",
                do="Name one with --candidate, or use policy no-regression",
            )
        return policies[self.policy]

    def resolve(
        self,
        request: Request,
        report: Report,
        today: datetime.date,
        selected: Selected | None = None,
    ) -> Policy:
        """Return the policy, with its baseline read from a report.json or judged.

        :param request: the selection to judge, where the baseline is a store.
        :param report: the report that the policy is for.
        :param today: the date that ledger entries expire by.
        :param selected: the plan of the report, where it was not read from a file.
        :raises UsageError: there is no such policy, or it needs a baseline and has none, or
            the reverse.
        """
        candidates = [row.name for row in report.releases if row.candidate]
        name = self.name(bool(candidates))
        policy = Policy(
            name=name,
            require_lane=self.require_lane,
            require_live=self.require_live,
            allow_missing=self.allow_missing,
        )
        if name == PolicyName.BASELINE:
            plan = selected or qualifying.without_candidates(report, request)
            held = qualifying.baseline(plan, candidates, self.baseline, today)
            return dataclasses.replace(
                policy,
                baseline=held.report,
                instead=held.instead,
                evidence=held.source,
                variants=tuple(plan.plan.variants),
            )
        if (name == PolicyName.NO_REGRESSION) != (self.baseline is not None):
            raise UsageError(
                "policy no-regression needs a baseline, and policies documented and ledger "
                "have none",
                do="Give --baseline STORE|report.json with --policy no-regression",
            )
        # A candidate is new, so that the baseline cannot hold anything about it.
        without = request.replace(candidate=())
        earlier = read_report(self.baseline, without, today) if self.baseline else None
        return dataclasses.replace(policy, baseline=earlier)
