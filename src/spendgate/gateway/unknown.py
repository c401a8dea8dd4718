"""Requests that no dialect claims and that may cost money: let pass or refused, as the team's budget says. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from spendgate.dialects import registry
from spendgate.dialects.base import Rejection
from spendgate.gateway import headers as h
from spendgate.gateway.events import UNKNOWN_API, Reject
from spendgate.gateway.identity import Identity
from spendgate.gateway.refusing import voice_of
from spendgate.gateway.snapshot import Snapshot

STATUS = 403


def refusal(
    snapshot: Snapshot, identity: Identity, headers: Mapping[str, str], method: str, path: str
) -> Reject | None:
    """The refusal of an unknown API; None where the budget (or that there is none) lets it pass."""
    budget = snapshot.policy.budget(identity.team)
    if budget is None or budget.unknown_apis != "reject" or budget.audit:
        return None
    text = (
        f"{method} {path[:200]} is no API that this gateway can meter, and the LLM budget of team "
        f"{identity.team} refuses those (unknownApis: reject)."
    )
    if budget.contact:
        text += f" Ask in {budget.contact}."
    details: dict[str, object] = {"team": identity.team, "app": identity.app, "path": path[:200]}
    dialect = registry.nearest(path)
    status = voice_of(snapshot, dialect, identity, headers).status(UNKNOWN_API, STATUS)
    rejection = Rejection(status, UNKNOWN_API, text, details)
    answer = [("content-type", "application/json"), (h.SHOULD_RETRY, "false"), (h.REASON, UNKNOWN_API)]
    answer += dialect.error_headers(rejection)
    return Reject(status, tuple(answer), dialect.error_body(rejection), UNKNOWN_API)
