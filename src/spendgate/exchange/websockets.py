"""WebSockets to a provider: what goes over one is seen by nobody here, so a team whose budget binds is told to take
HTTP. Pure.

426 where the same path is an API over HTTP: coding agents that prefer a socket go to HTTP at once then, and after any
other status only when they have tried again and again.
"""

from __future__ import annotations

from collections.abc import Mapping

from spendgate.dialects import registry
from spendgate.dialects.base import Rejection
from spendgate.exchange.events import UNKNOWN_API, WEBSOCKET_REFUSED, Reject
from spendgate.exchange.snapshot import Snapshot
from spendgate.identity import headers as h
from spendgate.identity.identity import Identity

UPGRADE_REQUIRED = 426
FORBIDDEN = 403


def is_upgrade(headers: Mapping[str, str]) -> bool:
    """Does a request ask for a WebSocket, as HTTP/1.1 (RFC 6455) or as HTTP/2 (RFC 8441) ask for one?"""
    if "upgrade" not in headers and ":protocol" not in headers:
        return False
    offered = f"{headers.get('upgrade', '')},{headers.get(':protocol', '')}".lower().split(",")
    return any(name.partition("/")[0].strip() == "websocket" for name in offered)


def refusal(snapshot: Snapshot, identity: Identity, path: str) -> Reject | None:
    """The refusal of a WebSocket to a path (without query); None where the setting, or that no budget binds the team,
    lets it pass."""
    budget, settings = snapshot.policy.budget(identity.team), snapshot.settings
    binds = not budget.audit if budget is not None else settings.unbudgeted == "reject"
    if settings.websockets == "pass" or not binds:
        return None
    twin = registry.find("POST", path, "application/json")
    if twin is not None:
        status, code = UPGRADE_REQUIRED, WEBSOCKET_REFUSED
        text = (
            f"The LLM budget of team {identity.team} binds, and what goes over a WebSocket cannot be metered. "
            f"Send POST {path[:200]} over HTTP instead. (Setting of the gateway: websockets.)"
        )
    else:
        status, code = FORBIDDEN, UNKNOWN_API
        text = (
            f"The LLM budget of team {identity.team} binds, and what goes over a WebSocket to {path[:200]} cannot be "
            "metered. (Setting of the gateway: websockets.)"
        )
    if budget is not None and budget.contact:
        text += f" Ask in {budget.contact}."
    dialect = twin or registry.nearest(path)
    details: dict[str, object] = {"team": identity.team, "app": identity.app, "path": path[:200]}
    rejection = Rejection(status, code, text, details)
    answer = [("content-type", "application/json"), (h.SHOULD_RETRY, "false"), (h.REASON, code)]
    answer += dialect.error_headers(rejection)
    return Reject(status, tuple(answer), dialect.error_body(rejection), code)
