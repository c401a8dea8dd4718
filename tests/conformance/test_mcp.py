"""MCP tools through the gateway, by the official SDK: priced by server and tool, held, settled on the result, and
refused so that an agent understands."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from httpx2 import AsyncClient
from mcp import ClientSession, MCPError
from mcp.client.streamable_http import streamable_http_client
from support.gateway import Gateway
from support.mcp_server import McpServer
from support.policy import budget, policy
from support.provider import Provider

PRICES = """
tools:
  search/web: {requests: 0.05}
  "search/s*": {requests: 0.02}
  search/broken: {requests: 0.01}
  127.0.0.1/web: {requests: 9}
"""
POLICY = policy(
    budget("agents", 1),
    budget("poor", 0.07, overshootPercent=0),
    budget("strict", 1, unknownApis="reject"),
    budget("turned-away", 1),
    budget("looping", 10, repeats={"max": 2}),
)


@pytest.fixture(scope="module", params=[True, False], ids=["json", "sse"])
def server(request: pytest.FixtureRequest) -> Iterator[McpServer]:
    with McpServer(json_response=request.param) as running:
        yield running


@pytest.fixture(scope="module")
def gateway(
    server: McpServer, provider: Provider, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    upstreams: list[dict[str, Any]] = [
        {"name": "llm", "url": provider.url},
        {"name": "search", "url": server.url, "dialects": ["mcp"]},
    ]
    folder: Path = tmp_path_factory.mktemp("mcp")
    with Gateway(folder, "", POLICY, prices=PRICES, config={"upstreams": upstreams}) as running:
        yield running


def as_agent(
    gateway: Gateway, team: str, work: Callable[[ClientSession], Awaitable[Any]], **headers: str
) -> Any:
    """Let an agent of a team work with the server's tools."""

    async def main() -> Any:
        sent = {"x-llm-team": team, "x-llm-app": "agent"} | headers
        async with (
            AsyncClient(headers=sent, timeout=30, trust_env=False) as client,
            streamable_http_client(f"{gateway.url}/mcp", http_client=client) as (read, write),
            ClientSession(read, write) as session,
        ):
            await session.initialize()
            return await work(session)

    return asyncio.run(main())


def text_of(result: Any) -> str:
    return str(result.content[0].text)


def test_calls_cost_what_their_tools_do_and_all_else_nothing(gateway: Gateway, server: McpServer) -> None:
    async def work(session: ClientSession) -> list[Any]:
        tools = await session.list_tools()
        assert {t.name for t in tools.tools} >= {"web", "slow", "broken"}
        return [
            await session.call_tool(name, {"query": "rain"}) for name in ("web", "slow", "broken", "unlisted")
        ]

    found, slow, broken, unlisted = as_agent(gateway, "agents", work, **{"x-llm-run": "task-1"})
    assert text_of(found) == "found rain" and text_of(slow) == "found rain at last"
    assert broken.is_error and text_of(unlisted) == "rain"
    lines = gateway.lines("agents", 3)
    assert {(x["model"], x["cost_usd"], x["outcome"], x["run"]) for x in lines} == {
        ("search/web", "0.05", "complete", "task-1"),
        ("search/slow", "0.02", "complete", "task-1"),
        ("search/broken", "0.01", "complete", "task-1"),
    }
    assert {(x["dialect"], x["app"], x["upstream"], x["charged_by"]) for x in lines} == {
        ("mcp", "agent", "search", "usage")
    }
    assert gateway.spent("agents", 3) == Decimal("0.08")
    assert gateway.metric("spendgate_unknown_api_requests_total", team="agents", action="pass") == 1


def test_what_the_server_itself_refuses_costs_nothing(gateway: Gateway) -> None:
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "web", "arguments": {}}}
    assert post(gateway, "turned-away", call, **{"mcp-session-id": "never-begun"}).status_code == 404
    [line] = gateway.lines("turned-away", 1)
    assert (line["model"], line["cost_usd"], line["outcome"]) == ("search/web", "0.00", "failed")


def test_a_refused_call_raises_the_sdks_own_error_and_says_why(gateway: Gateway, server: McpServer) -> None:
    async def work(session: ClientSession) -> MCPError:
        await session.call_tool("web", {"query": "rain"})
        gateway.spent("poor", 1)
        ran = server.ran["web"]
        with pytest.raises(MCPError) as caught:
            await session.call_tool("web", {"query": "sun"})
        assert server.ran["web"] == ran
        await session.list_tools()  # the session goes on
        return caught.value

    error = as_agent(gateway, "poor", work).error
    assert error.code == -32000
    assert error.data["reason"] == "monthly_budget_exceeded"
    assert "Team poor has used $0.05 of its $0.07" in error.message
    assert (
        gateway.metric("llm_requests_rejected_budget_total", team="poor", reason="monthly_budget_exceeded")
        == 1
    )


def test_a_tool_without_a_price_is_refused_where_unknown_apis_are(
    gateway: Gateway, server: McpServer
) -> None:
    async def work(session: ClientSession) -> MCPError:
        with pytest.raises(MCPError) as caught:
            await session.call_tool("unlisted", {"query": "x"})
        assert text_of(await session.call_tool("web", {"query": "rain"})) == "found rain"
        return caught.value

    ran = server.ran["unlisted"]
    error = as_agent(gateway, "strict", work).error
    assert (error.data["reason"], server.ran["unlisted"]) == ("unknown_api", ran)


def test_a_run_that_calls_the_same_tool_alike_again_and_again_is_stopped(gateway: Gateway) -> None:
    async def work(session: ClientSession) -> MCPError:
        for query in ("a", "a", "b"):
            await session.call_tool("web", {"query": query})
        with pytest.raises(MCPError) as caught:
            await session.call_tool("web", {"query": "a"})
        return caught.value

    error = as_agent(gateway, "looping", work, **{"x-llm-run": "task-2"}).error
    assert (error.data["reason"], error.data["passed"]) == ("loop_detected", 2)


def post(gateway: Gateway, team: str, document: object, **more: str) -> httpx.Response:
    headers = {"x-llm-team": team, "accept": "application/json, text/event-stream"} | more
    return httpx.post(f"{gateway.url}/mcp", json=document, headers=headers, timeout=30, trust_env=False)


def test_each_request_of_a_refused_batch_hears_of_it(gateway: Gateway) -> None:
    call = {"jsonrpc": "2.0", "method": "tools/call", "params": {"name": "web", "arguments": {"query": "x"}}}
    batch = [call | {"id": 1}, {"jsonrpc": "2.0", "method": "notifications/x"}, call | {"id": "two"}]
    answer = post(gateway, "poor", batch)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert [(a["id"], a["error"]["code"]) for a in answer.json()] == [(1, -32000), ("two", -32000)]
    assert answer.headers["x-spendgate-reason"] == "monthly_budget_exceeded"
