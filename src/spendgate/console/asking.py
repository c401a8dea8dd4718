"""A wish of the console's form or of Slack, made into a proposal off the event loop."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping

from spendgate.console.settings import ConsoleSettings
from spendgate.errors import ConfigurationError
from spendgate.proposals.forges import reach
from spendgate.proposals.propose import ChangeRequest, Proposal, propose


class ProposalService:
    """Opens pull requests in the policy's repository. One at a time: they are rare, and each is a clone."""

    def __init__(self, settings: ConsoleSettings, environ: Mapping[str, str] | None = None) -> None:
        self._settings = settings
        self._environ = os.environ if environ is None else environ
        self._one = asyncio.Lock()

    @property
    def possible(self) -> bool:
        """Is a repository configured?"""
        return bool(self._settings.repo)

    async def ask(self, wish: ChangeRequest) -> Proposal:
        """Make the proposal. Raises SpendgateError with what to do."""
        if not self.possible:
            raise ConfigurationError(
                "no repository of the policy is configured: set SPENDGATE_POLICY_REPO (and GITHUB_TOKEN or "
                "GITLAB_TOKEN)"
            )
        async with self._one:
            return await asyncio.to_thread(self._ask, wish)

    def _ask(self, wish: ChangeRequest) -> Proposal:
        s = self._settings
        remote, forge = reach(s.repo, s.base, s.forge, self._environ)
        return propose(wish, remote, forge, path=s.path)


def outcome(made: Proposal) -> str:
    """What was made, in one sentence with the link where there is one."""
    approval = f" It needs the approval of {' or '.join(made.approvers)}." if made.approvers else ""
    request = made.pull_request
    if request is None:
        return f"{made.title}: pushed as branch {made.branch}; open a request from it into {made.base}.{approval}"
    state = "is open already" if request.existed else "is open"
    return f"{made.title}: the request {state} at {request.url}.{approval}"
