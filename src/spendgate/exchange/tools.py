"""Calls of MCP tools: which requests they are, whose server they go to, and what they cost. Pure.

They are metered as soon as the operator's price files price a tool; before that they are what they were: calls of an
API that nobody here can meter. A tool without a price stays that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from spendgate.dialects import registry
from spendgate.dialects.base import Dialect, RequestFacts
from spendgate.dialects.mcp.tools import HEADERS
from spendgate.exchange.snapshot import Snapshot
from spendgate.pricing.price import Price
from spendgate.pricing.terms import TOOLS, Terms


def dialect_of(
    found: Dialect | None, method: str, headers: Mapping[str, str], snapshot: Snapshot
) -> Dialect | None:
    """The dialect of a request of which the path tells `found`: on any path, a call with a header of MCP is one."""
    if not snapshot.prices.tools:
        return None if found is not None and found.name == TOOLS else found
    if found is None and method.upper() == "POST" and any(name in headers for name in HEADERS):
        return registry.by_name(TOOLS)
    return found


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


def _price(snapshot: Snapshot, servers: tuple[str, ...], tool: str, at_ms: int) -> tuple[str, Price] | None:
    terms = Terms(TOOLS, at_ms=at_ms)
    for server in servers:
        name = f"{server}/{tool}"
        price = snapshot.prices.find(name, terms)
        if price is not None:
            return name, price
    return None
