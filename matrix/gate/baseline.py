"""Policies as they are asked for on a command line, and the reading of their baseline."""

from __future__ import annotations

import dataclasses
import datetime

from matrix.errors import UsageError, nearest
from matrix.gate.policies import Policy, PolicyName
from matrix.workflow.reading import read_report
from matrix.workflow.selecting import Request


@dataclasses.dataclass(frozen=True, kw_only=True)
class PolicyRequest:
    """A policy as it is asked for; the other fields are those of :class:`Policy`.

    :param policy: the name of the policy.
    :param baseline: a store or a report.json.
    """

    policy: str
    baseline: str | None
    require_lane: str | None
    require_live: bool
    allow_missing: bool

    def resolve(self, request: Request, today: datetime.date) -> Policy:
        """Return the policy, with its baseline read from a report.json or judged from a store.

        :param request: the selection to judge, where the baseline is a store.
        :param today: the date that ledger entries expire by.
        :raises UsageError: there is no such policy, or it needs a baseline and has none, or
            the reverse.
        """
        policies = {name.value: name for name in PolicyName}
        if self.policy not in policies:
            raise UsageError(f"there is no policy {self.policy}", do=nearest(self.policy, policies))
        name = policies[self.policy]
        if (name == PolicyName.NO_REGRESSION) != (self.baseline is not None):
            raise UsageError(
                "policy no-regression needs a baseline, and no other policy has one",
                do="Give --baseline STORE|report.json with --policy no-regression",
            )
        # A candidate is new, so that the baseline cannot hold anything about it.
        without = request.replace(candidate=())
        return Policy(
            name=name,
            baseline=read_report(self.baseline, without, today) if self.baseline else None,
            require_lane=self.require_lane,
            require_live=self.require_live,
            allow_missing=self.allow_missing,
        )
