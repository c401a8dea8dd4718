"""Requests that no dialect claims and that may cost money: let pass or refused, as the team's budget says. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from spendgate.dialects import registry
from spendgate.dialects.base import Rejection
from spendgate.dialects.request.free_paths import Cost
from spendgate.dialects.request.texts import NO_MODEL
from spendgate.exchange.events import UNKNOWN_API, Reject
from spendgate.exchange.rejections import format_of
from spendgate.exchange.snapshot import Snapshot
from spendgate.identity import headers as h
from spendgate.identity.identity import Identity

STATUS = 403


def refuses(snapshot: Snapshot, identity: Identity, headers: Mapping[str, str], cost: Cost) -> bool:
    """Is what may cost money and is not metered refused?"""
    budget = snapshot.policy.budget(identity.team)
    if budget is None or budget.audit:
        return False
    known = cost is Cost.KIN or bool(snapshot.provider(NO_MODEL, "", headers.get(":authority", "")))
    default = "reject" if known else "pass"
    return (budget.unknown_apis or snapshot.settings.unknown_apis or default) == "reject"


def refusal(
    snapshot: Snapshot, identity: Identity, headers: Mapping[str, str], method: str, path: str, cost: Cost
) -> Reject | None:
    """The refusal of what may cost money and is not metered; None where it passes: the team has no budget that
    enforces, or the budget or the setting `unknown_apis` says so. By default it is refused where a known provider
    answers, and where it is the kin of a call that is metered here."""
    budget = snapshot.policy.budget(identity.team)
    if budget is None or not refuses(snapshot, identity, headers, cost):
        return None
    why = (
        "is not the way to call an API that this gateway meters"
        if cost is Cost.KIN
        else "is no API that this gateway can meter"
    )
    text = (
        f"{method[:20]} {path[:200]} {why}, and the LLM budget of team {identity.team} refuses those "
        "(unknownApis: reject)."
    )
    if budget.contact:
        text += f" Ask in {budget.contact}."
    details: dict[str, object] = {"team": identity.team, "app": identity.app, "path": path[:200]}
    dialect = registry.nearest(path)
    status = format_of(snapshot, dialect, identity, headers).status(UNKNOWN_API, STATUS)
    rejection = Rejection(status, UNKNOWN_API, text, details)
    answer = [("content-type", "application/json"), (h.SHOULD_RETRY, "false"), (h.REASON, UNKNOWN_API)]
    answer += dialect.error_headers(rejection)
    return Reject(status, tuple(answer), dialect.error_body(rejection), UNKNOWN_API)
