"""MCP: which messages call tools, what an answer says was made, and refusals that each request of a batch hears."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support.streams import every_split, meter, run

from spendgate.dialects.base import Rejection
from spendgate.dialects.registry import by_name
from spendgate.errors import RequestError

MCP = by_name("mcp")
RESULT = {
    "jsonrpc": "2.0",
    "id": 1,
    "result": {"content": [{"type": "text", "text": "sunny"}], "isError": False},
}
ERROR = {"jsonrpc": "2.0", "id": 2, "error": {"code": -32602, "message": "Unknown tool"}}
PROGRESS = {
    "jsonrpc": "2.0",
    "method": "notifications/progress",
    "params": {"progressToken": 1, "progress": 1},
}
ASKS = {"jsonrpc": "2.0", "id": 9, "method": "sampling/createMessage", "params": {}}


def call(name: str = "web", number: object = 1) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": {"name": name, "arguments": {}}}


def read(document: object) -> Any:
    return MCP.read_request(json.dumps(document).encode(), "/mcp")


def test_a_tool_call_is_one_request_that_costs_what_its_tool_does() -> None:
    facts = read(call())
    assert (facts.tools, facts.fee_kinds, facts.known_usage) == (("web",), {"requests": 1}, {"requests": 1})
    assert (facts.free, facts.model_fixed, facts.output_cap) == (False, True, 0)


@pytest.mark.parametrize(
    "document",
    [
        {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {"protocolVersion": "2025-06-18"}},
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "id": 2, "method": "tools/list"},
        {"jsonrpc": "2.0", "id": 3, "method": "prompts/get", "params": {"name": "web"}},
        {"jsonrpc": "2.0", "id": 9, "result": {"role": "assistant"}},
        [
            {"jsonrpc": "2.0", "id": 2, "method": "ping"},
            {"jsonrpc": "2.0", "method": "notifications/cancelled"},
        ],
    ],
)
def test_all_else_is_free(document: object) -> None:
    assert read(document).free


def test_of_a_batch_the_calls_count() -> None:
    facts = read([call("a"), {"jsonrpc": "2.0", "id": 2, "method": "tools/list"}, call("b", 3), call("a", 4)])
    assert (facts.tools, facts.fee_kinds) == (("a", "b", "a"), {"requests": 3})


@pytest.mark.parametrize(
    "body",
    [
        b"", b"[]", b'"tools/call"', b"[1]", b"{nothing}",
        b'{"method": "tools/call", "params": {}}',
        b'{"method": "tools/call", "params": {"name": "  "}}',
        b'{"method": "ping", "Method": "tools/call", "params": {"name": "web"}}',
        b'{"method": "ping", "method": "tools/call", "params": {"name": "web"}}',
        b'{"method": "tools/call", "params": {"name": "free", "NAME": "dear"}}',
    ],
)  # fmt: skip
def test_what_one_server_may_read_as_a_call_and_another_not_is_refused(body: bytes) -> None:
    with pytest.raises(RequestError):
        MCP.read_request(body, "/mcp")


def test_names_in_another_case_are_read_as_servers_in_go_read_them() -> None:
    body = b'{"ID": 1, "Method": "tools/call", "Params": {"Name": "web"}}'
    assert MCP.read_request(body, "/mcp").tools == ("web",)


def test_an_answer_with_a_result_was_made_also_one_that_says_it_failed() -> None:
    failed = {"jsonrpc": "2.0", "id": 1, "result": {"content": [], "isError": True}}
    for document, usage in ((RESULT, 1), (failed, 1), ([RESULT, ERROR, failed], 2)):
        assert MCP.read_answer(json.dumps(document).encode()).usage == {"requests": usage}
    assert MCP.read_answer(json.dumps(ERROR).encode()).error
    assert MCP.read_answer(b"not json").problem == "not_json"
    assert MCP.read_answer(json.dumps(PROGRESS).encode()).problem == "no_usage"


@pytest.mark.parametrize(
    ("messages", "requests"),
    [([PROGRESS, ASKS, RESULT], 1), ([[RESULT, PROGRESS], RESULT], 2), ([ERROR, RESULT], 1), ([PROGRESS], 0)],
)
def test_a_stream_is_metered_by_its_results_however_it_is_cut(messages: list[Any], requests: int) -> None:
    stream = b"".join(b"event: message\ndata: " + json.dumps(m).encode() + b"\n\n" for m in messages)
    every_split("mcp", stream)
    metered = meter("mcp")
    run(metered, [stream])
    assert metered.result().usage.get("requests", 0) == requests
    assert (metered.complete, metered.failed) == (requests > 0, False)


def test_a_stream_that_is_an_error_made_nothing() -> None:
    metered = meter("mcp")
    run(metered, [b"data: " + json.dumps(ERROR).encode() + b"\n\n"])
    assert (metered.failed, metered.partial()) == (True, ({}, 0))


def refusal(document: object, status: int = 429) -> tuple[int, Any]:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    said = Rejection(
        status, "monthly_budget_exceeded", "Team red has used all.", {"team": "red"}, request=body
    )
    return MCP.refusal_status(said), json.loads(MCP.error_body(said))


def test_a_refusal_is_an_answer_with_the_requests_id() -> None:
    for number in (7, "seven"):
        status, answer = refusal(call(number=number))
        assert (status, answer["jsonrpc"], answer["id"]) == (200, "2.0", number)
        assert (answer["error"]["code"], answer["error"]["message"]) == (-32000, "Team red has used all.")
        assert answer["error"]["data"] == {
            "reason": "monthly_budget_exceeded", "type": "budget_exceeded", "team": "red",
        }  # fmt: skip


def test_a_refused_batch_hears_one_for_each_request_that_waits() -> None:
    batch = [call(number=1), {"jsonrpc": "2.0", "method": "notifications/x"}, call(number="b")]
    status, answers = refusal(batch)
    assert (status, [a["id"] for a in answers]) == (200, [1, "b"])
    assert {a["error"]["code"] for a in answers} == {-32000}


def test_what_cannot_be_read_hears_the_status_itself() -> None:
    status, answer = refusal(b"{", 400)
    assert (status, answer["id"], answer["error"]["code"]) == (400, None, -32000)
