"""Calls of MCP tools: which requests they are, whose server they go to, and what they cost. Pure.

They are metered as soon as the operator's price files price a tool; before that they are what they were: calls of an
API that nobody here can meter. A tool without a price stays that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from spendgate.dialects import registry
from spendgate.dialects.base import Dialect, Reading, RequestFacts
from spendgate.dialects.mcp.tools import HEADERS
from spendgate.exchange.snapshot import Snapshot
from spendgate.pricing.price import Price
from spendgate.pricing.terms import TOOLS, Terms


class Claim(NamedTuple):
    """A request's dialect. `told`: it is MCP by the client's header alone. Anybody can write that on a request of any
    API, so it takes nothing from how an API is treated that no dialect claims."""

    dialect: Dialect | None
    told: bool = False


def claim(
    found: Dialect | None,
    method: str,
    target: str,
    headers: Mapping[str, str],
    snapshot: Snapshot,
    *,
    fixed: bool,
) -> Claim:
    """The dialect of a request of which the path tells `found`: with a header of MCP it is a call of a tool below the
    prefix of an upstream that is there for MCP alone, and may be one on any path that no dialect claims. `fixed`:
    without a known path there is no body to look for a call in (ext_authz)."""
    if not snapshot.prices.tools:
        return Claim(None if found is not None and found.name == TOOLS else found)
    path = target.partition("?")[0]
    if found is not None or method.upper() != "POST" or not any(name in headers for name in HEADERS):
        return Claim(found)
    if registry.claims(path):
        return Claim(None)
    upstream = snapshot.tool_upstream(target)
    told = upstream is None or upstream.dialects != (TOOLS,)
    return Claim(None) if told and fixed else Claim(registry.by_name(TOOLS), told)


def priced(
    facts: RequestFacts, snapshot: Snapshot, target: str, host: str, at_ms: int
) -> tuple[RequestFacts, str]:
    """What the calls of a request cost, and the first tool without a price ("" for none). Where tools of several prices
    are called in one batch, each counts at the dearest."""
    servers = snapshot.tool_servers(target, host)
    found = [(tool, _price(snapshot, servers, tool, at_ms)) for tool in facts.tools]
    unpriced = next((tool for tool, price in found if price is None), "")
    known = [(name, price) for _, named in found if named is not None for name, price in (named,)]
    if not known:
        return replace(facts, free=True), unpriced
    name, _ = max(known, key=lambda each: each[1].rates.get("requests", 0))
    made = {"requests": len(known)}
    return replace(facts, model=name, fee_kinds=made, known_usage=made), unpriced


def settled(facts: RequestFacts, reading: Reading) -> Reading:
    """The reading of an answer to calls, as far as it was seen: a call was made unless an answer says that it was not.
    `no_usage`, or what it had for a problem, where one has no answer."""
    if reading.usage.get("requests", 0) + reading.refused < facts.answers:
        return replace(reading, usage={}, problem=reading.problem or "no_usage", error=False)
    made = min(facts.known_usage["requests"], facts.answers - reading.refused)
    return replace(reading, usage={"requests": made} if made else {}, problem=None, error=not made)


def _price(snapshot: Snapshot, servers: tuple[str, ...], tool: str, at_ms: int) -> tuple[str, Price] | None:
    terms = Terms(TOOLS, at_ms=at_ms)
    for server in servers:
        name = f"{server}/{tool}"
        price = snapshot.prices.find(name, terms)
        if price is not None:
            return name, price
    return None
