"""MCP by a client's header alone: a word that anybody can write takes nothing from how an unknown API is treated. What
calls are charged by what their answers say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from unit.exchange.driver import Drive, policy_of, snapshot_of

from spendgate.exchange import events as e
from spendgate.exchange.snapshot import Snapshot
from spendgate.pricing.load import table

OPEN = "{team: ml, monthlyBudgetUSD: 10}"
STRICT = "{team: ml, monthlyBudgetUSD: 10, unknownApis: reject}"
AUDITED = "{team: ml, monthlyBudgetUSD: 10, mode: audit}"
SAYS_MCP = [{"mcp-session-id": "1"}, {"mcp-protocol-version": "2025-06-18"}]
CALL = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "web", "arguments": {}}}
LIST = {"jsonrpc": "2.0", "id": 2, "method": "tools/list"}
UPSTREAMS: list[dict[str, Any]] = [
    {"name": "llm", "url": "http://llm.example"},
    {"name": "search", "url": "http://search.example", "dialects": ["mcp"]},
    {"name": "github", "url": "http://github.example", "dialects": ["mcp"], "strip_prefix": "/github"},
]


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    path = tmp_path / "prices.yaml"
    path.write_text("tools:\n  search/web: {requests: 0.05}\n  github/web: {requests: 0.02}\n")
    return path


def priced(path: Path, policy: str, **settings: object) -> Snapshot:
    return replace(snapshot_of(policy, **settings), prices=table([path]), policy=policy_of(policy))


@pytest.mark.parametrize("headers", SAYS_MCP)
@pytest.mark.parametrize("path", ["/v1/videos", "/v1/batches", "/v1/chat/completions/../x"])
@pytest.mark.parametrize("body", [b'{"model":"sora-2"}', b"no json", b"\x1f\x8b", LIST, CALL])
def test_a_header_of_mcp_is_no_way_around_a_budget_that_refuses_unknown_apis(
    tools: Path, headers: dict[str, str], path: str, body: Any
) -> None:
    action = Drive(priced(tools, STRICT, upstreams=UPSTREAMS)).send(body, path=path, headers=headers)
    assert isinstance(action, e.Reject)
    assert action.reason == "unknown_api"


@pytest.mark.parametrize("body", [b'{"model":"sora-2"}', b"no json", LIST, CALL])
def test_what_passes_by_a_header_alone_is_said_to_be_unknown(tools: Path, body: Any) -> None:
    for policy in (OPEN, AUDITED, ""):
        d = Drive(priced(tools, policy, upstreams=UPSTREAMS))
        assert d.send(body, path="/v1/videos", headers=SAYS_MCP[0]) == e.Forward(unknown=True)
        d.answer()
        d.over()
        assert d.endings == []


def test_a_path_that_may_lead_to_a_metered_one_is_never_a_tools(tools: Path) -> None:
    for body in (b"{}", LIST, CALL):
        got = Drive(priced(tools, OPEN)).send(body, path="/a/../b", headers=SAYS_MCP[0])
        assert isinstance(got, e.Reject)
        assert got.reason == "unknown_api"


def test_only_known_callers_come_in_by_a_header_too(tools: Path) -> None:
    snap = priced(tools, OPEN, passthrough="identified")
    action = Drive(snap).send(LIST, path="/v1/videos", headers={**SAYS_MCP[0], "x-llm-team": ""})
    assert isinstance(action, e.Reject)
    assert action.status == 401


def test_below_the_prefix_of_a_tool_server_the_header_is_believed(tools: Path) -> None:
    snap = priced(tools, STRICT, upstreams=UPSTREAMS)
    assert Drive(snap).send(LIST, path="/github/", headers=SAYS_MCP[0]) == e.Forward()
    d = Drive(snap)
    d.send(CALL, path="/github/", headers=SAYS_MCP[0])
    d.over()
    assert (d.ending.record.model, d.ending.held_nanousd) == ("github/web", 20_000_000)


def test_an_upstream_that_speaks_more_than_mcp_believes_no_header(tools: Path) -> None:
    both = {**UPSTREAMS[2], "dialects": ["mcp", "openai-chat"]}
    snap = priced(tools, STRICT, upstreams=[UPSTREAMS[0], both])
    for body in (b'{"model":"sora-2"}', LIST, CALL):
        got = Drive(snap).send(body, path="/github/v1/videos", headers=SAYS_MCP[0])
        assert isinstance(got, e.Reject)
        assert got.reason == "unknown_api"


def test_a_call_is_priced_as_the_server_that_it_goes_to(tools: Path) -> None:
    snap = priced(tools, OPEN, upstreams=UPSTREAMS)
    assert snap.tool_servers("/mcp", "")[0] == snap.tool_servers("/a/mcp/x?y", "")[0] == "search"
    assert snap.tool_servers("/github/mcp", "")[0] == "github"
    assert snap.tool_servers("/v1/videos", "")[0] == "llm"


def test_a_tool_server_that_gets_all_else_prices_calls_on_every_path(tools: Path) -> None:
    [_, search, _] = UPSTREAMS
    d = Drive(priced(tools, OPEN, upstreams=[search]))
    d.send(CALL, path="/", headers=SAYS_MCP[0])
    d.over()
    assert (d.ending.record.model, d.ending.held_nanousd) == ("search/web", 50_000_000)


def result(number: object) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "result": {"content": []}}


def error(number: object, code: object = -32602, **data: object) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "error": {"code": code, "message": "m", "data": data}}


THREE = [CALL, {**CALL, "id": 2}, {**CALL, "id": "c"}]
WITH_A_LIST = [CALL, LIST]
ANSWERED: list[tuple[object, list[dict[str, Any]], int]] = [
    (CALL, [result(1)], 1),
    (CALL, [error(1)], 0),
    (CALL, [error(1, -32000, reason="monthly_budget_exceeded")], 0),
    # who says that a wait ran out, or a connection was lost, had sent the call on
    (CALL, [error(1, -32001)], 1),
    (CALL, [error(1, -32000)], 1),
    (CALL, [error(1, "timeout")], 1),
    (CALL, [{"jsonrpc": "2.0", "id": 1, "error": "timeout"}], 1),
    (THREE, [result(1), result(2), result("c")], 3),
    (THREE, [error(1), result(2), error("c", -32001)], 2),
    (THREE, [error(1), error(2), error("c")], 0),
    # a call without an answer may have been made
    (THREE, [], 3),
    (THREE, [result(1)], 3),
    (THREE, [error(1)], 3),
    (THREE, [error(1), error(1), error(1)], 3),
    (WITH_A_LIST, [result(1), result(2)], 1),
    (WITH_A_LIST, [result(1), error(2, -32601)], 1),
    (WITH_A_LIST, [error(1), error(2, -32601)], 0),
    ([CALL, {"ID": 2, "Method": "tools/list"}], [error(2, -32601)], 1),
]


@pytest.mark.parametrize(("asked", "answers", "charged"), ANSWERED)
def test_each_call_is_charged_unless_an_answer_says_that_it_was_not_made(
    tools: Path, asked: object, answers: list[dict[str, Any]], charged: int
) -> None:
    events = b"".join(b"data: " + orjson.dumps(a) + b"\n\n" for a in answers)
    whole = orjson.dumps(answers[0] if isinstance(asked, dict) else answers)
    for kind, body, ends in [
        ("application/json", whole, True),
        ("text/event-stream", events, True),
        ("text/event-stream", events, False),
    ]:
        d = Drive(priced(tools, OPEN, upstreams=[UPSTREAMS[1]]))
        d.send(orjson.dumps(asked), path="/mcp")
        d.answer(content_type=kind)
        d.piece(body, end=ends)
        if not ends:
            d.over()  # cut off after all of this was seen
        assert d.ending.record.cost_nanousd == charged * 50_000_000, (kind, ends)
        assert d.ledger.committed["ml"]["month"] == charged * 50_000_000


def test_a_batch_that_is_left_is_charged_what_was_seen_where_the_budget_says_so(tools: Path) -> None:
    policy = "{team: ml, monthlyBudgetUSD: 10, abortedAnswers: flowed}"
    d = Drive(priced(tools, policy, upstreams=[UPSTREAMS[1]]))
    d.send(orjson.dumps(THREE), path="/mcp")
    d.answer(content_type="text/event-stream")
    d.piece(b"".join(b"data: " + orjson.dumps(result(n)) + b"\n\n" for n in (1, 2)))
    d.over()
    assert d.ending.record.cost_nanousd == 2 * 50_000_000
