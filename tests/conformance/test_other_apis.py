"""APIs besides chat and messages, through a real Envoy: metered to the token, and refused in their own words."""

from __future__ import annotations

import json
import struct
import zlib
from decimal import Decimal
from typing import Any

import httpx
import openai
import pytest
from support.calls import who
from support.gateway import Gateway
from support.policy import budget, policy
from support.provider import Provider
from support.raw_upstream import RawUpstream, fixed, pieces

TEAMS = ("responses", "stored", "embeddings", "aborts")
POLICY = policy(
    *(budget(team, 10) for team in TEAMS),
    budget("pressed", 0.01, defaultModel="gpt-4o-mini"),
    budget("broke", 0),
)
RAW = ("gemini", "gemini-array", "cohere", "ollama", "bedrock", "legacy")
RAW_POLICY = policy(
    *(budget(team, 100) for team in RAW),
    budget(
        "gemini-cheap",
        100,
        costRouting={
            "enabled": True,
            "cheapModel": "gemini-2.5-flash-lite",
            "expensiveModel": "gemini-2.5-pro",
            "complexityThreshold": 500,
        },
    ),
    budget("broke", 0),
)


def respond(gateway: Gateway, team: str, *, stream: bool = False, **more: Any) -> Any:
    mock = {k.removeprefix("mock_"): more.pop(k) for k in list(more) if k.startswith("mock_")}
    body = {"model": "gpt-4o", "input": "Say hello.", "max_output_tokens": 16, **more}
    headers = who(team, **{"output_tokens": 16, **mock})
    client = gateway.openai.responses
    if not stream:
        return client.create(**body, extra_headers=headers)
    events = list(client.create(**body, stream=True, extra_headers=headers))
    return events[-1].response


@pytest.mark.parametrize("stream", [False, True])
def test_a_response_is_billed_by_its_usage(gateway: Gateway, provider: Provider, stream: bool) -> None:
    before = gateway.quiet("responses")
    bill = provider.billed()
    usage = respond(gateway, "responses", stream=stream, mock_cached=3, mock_reasoning=4).usage
    after = gateway.settled("responses", before["requests"] + 1)
    spent = Decimal(after["settled_usd"]) - Decimal(before["settled_usd"])
    plain, cached = usage.input_tokens - 3, 3
    assert spent == (plain * Decimal("2.5") + cached * Decimal("1.25") + 16 * 10) / 1_000_000
    assert bill.now()["models"]["gpt-4o"]["requests"] == 1


def test_a_stored_conversation_is_held_by_the_context_and_billed_by_its_usage(gateway: Gateway) -> None:
    usage = respond(gateway, "stored", previous_response_id="resp_1").usage
    assert usage.input_tokens > 1000
    line = gateway.line("stored")
    assert Decimal(line["estimate_usd"]) >= 128_000 * Decimal("2.5") / 1_000_000
    assert line["tokens"] == {"input": usage.input_tokens, "output": 16}


def test_embeddings_are_billed_by_their_input(gateway: Gateway) -> None:
    answer = gateway.openai.embeddings.create(
        model="text-embedding-3-small", input=["one", "two"], extra_headers=who("embeddings")
    )
    line = gateway.line("embeddings")
    assert (line["dialect"], line["outcome"]) == ("openai-embeddings", "complete")
    assert line["tokens"] == {"input": answer.usage.prompt_tokens}


def test_a_response_is_downgraded_under_pressure(gateway: Gateway) -> None:
    first = respond(gateway, "pressed", max_output_tokens=750, mock_output_tokens=750)
    assert first.model == "gpt-4o"
    gateway.spent("pressed", 1)
    assert respond(gateway, "pressed", max_output_tokens=100).model == "gpt-4o-mini"


@pytest.mark.parametrize("call", ["responses", "embeddings"])
def test_openais_sdk_raises_its_own_error(gateway: Gateway, call: str) -> None:
    client = gateway.openai
    with pytest.raises(openai.RateLimitError) as raised:
        if call == "responses":
            respond(gateway, "broke")
        else:
            client.embeddings.create(model="text-embedding-3-small", input="x", extra_headers=who("broke"))
    assert raised.value.code == "monthly_budget_exceeded"


# -- a provider of raw bytes ------------------------------------------------------------------------------

GEMINI_USAGE = {
    "promptTokenCount": 30,
    "candidatesTokenCount": 3,
    "totalTokenCount": 40,
    "thoughtsTokenCount": 7,
}
GEMINI = {
    "candidates": [{"content": {"parts": [{"text": "hi"}]}, "finishReason": "STOP"}],
    "usageMetadata": GEMINI_USAGE,
    "modelVersion": "gemini-2.5-flash",
}
GEMINI_TOKENS = {"input": 30, "output": 3, "reasoning": 7}
ASK_GEMINI = {"contents": [{"parts": [{"text": "hi"}]}]}
COHERE_USAGE = {"billed_units": {"input_tokens": 62.0, "output_tokens": 28.0}}
COHERE = (
    b"event: message-end\ndata: %s\n\n"
    % json.dumps(
        {"type": "message-end", "delta": {"finish_reason": "COMPLETE", "usage": COHERE_USAGE}}
    ).encode()
)
OLLAMA = b"".join(
    json.dumps(line).encode() + b"\n"
    for line in (
        {"model": "llama3", "message": {"content": "hi"}, "done": False},
        {"model": "llama3", "done": True, "prompt_eval_count": 17, "eval_count": 3},
    )
)


def eventstream(kind: str, **payload: Any) -> bytes:
    def header(name: str, value: str) -> bytes:
        return bytes([len(name)]) + name.encode() + b"\x07" + struct.pack(">H", len(value)) + value.encode()

    headers = header(":event-type", kind) + header(":message-type", "event")
    raw = json.dumps(payload).encode()
    prelude = struct.pack(">II", 16 + len(headers) + len(raw), len(headers))
    message = prelude + struct.pack(">I", zlib.crc32(prelude)) + headers + raw
    return message + struct.pack(">I", zlib.crc32(message))


CONVERSE = eventstream("contentBlockDelta", delta={"text": "hi"}) + eventstream(
    "metadata", usage={"inputTokens": 12, "outputTokens": 5, "totalTokens": 17}
)
CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
CASES = [
    ("gemini", "/v1beta/models/gemini-2.5-flash:generateContent", ASK_GEMINI, "application/json",
     json.dumps(GEMINI).encode(), GEMINI_TOKENS),
    ("gemini-array", "/v1beta/models/gemini-2.5-flash:streamGenerateContent", ASK_GEMINI, "application/json",
     json.dumps([GEMINI | {"usageMetadata": {"promptTokenCount": 30}}, GEMINI]).encode(), GEMINI_TOKENS),
    ("cohere", "/v2/chat", CHAT | {"stream": True}, "text/event-stream", COHERE, {"input": 62, "output": 28}),
    ("ollama", "/api/chat", CHAT, "application/x-ndjson", OLLAMA, {"input": 17, "output": 3}),
    ("bedrock", "/model/amazon.nova-micro-v1%3A0/converse-stream", {"messages": [{"content": [{"text": "hi"}]}]},
     "application/vnd.amazon.eventstream", CONVERSE, {"input": 12, "output": 5}),
    ("legacy", "/v1/completions", {"model": "m", "prompt": "hi"}, "application/json",
     b'{"model":"m","usage":{"prompt_tokens":7,"completion_tokens":2,"total_tokens":9}}', {"input": 7, "output": 2}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("team", "path", "body", "kind", "answer", "tokens"), CASES, ids=[c[0] for c in CASES]
)
def test_each_api_is_metered_and_passes_byte_for_byte(
    raw_gateway: Gateway,
    upstream: RawUpstream,
    team: str,
    path: str,
    body: dict[str, Any],
    kind: str,
    answer: bytes,
    tokens: dict[str, int],
) -> None:
    header = f"content-type: {kind}"
    whole = kind == "application/json" and team != "gemini-array"
    parts = [answer[i : i + 7] for i in range(0, len(answer), 7)]
    upstream.reply = fixed(answer, header) if whole else pieces(parts, header)
    raw = json.dumps(body).encode()
    headers = {"content-type": "application/json", **who(team)}
    got = httpx.post(raw_gateway.url + path, content=raw, headers=headers, trust_env=False, timeout=60)
    assert (got.status_code, got.content) == (200, answer)
    line = raw_gateway.line(team)
    assert (line["tokens"], line["outcome"]) == (tokens, "complete")
    assert Decimal(line["cost_usd"]) > 0


@pytest.mark.parametrize(("team", "path", "body"), [c[:3] for c in CASES], ids=[c[0] for c in CASES])
def test_each_api_is_refused_without_a_call_upstream(
    raw_gateway: Gateway, team: str, path: str, body: dict[str, Any]
) -> None:
    headers = who("broke")
    got = httpx.post(raw_gateway.url + path, json=body, headers=headers, trust_env=False, timeout=60)
    assert (got.status_code, got.headers["x-spendgate-reason"]) == (429, "monthly_budget_exceeded")
    assert "Team broke has used" in got.text
    if team == "bedrock":
        assert got.headers["x-amzn-errortype"] == "ThrottlingException"


def test_a_route_changes_the_model_in_geminis_path(raw_gateway: Gateway, upstream: RawUpstream) -> None:
    upstream.reply = fixed(json.dumps(GEMINI).encode(), "content-type: application/json")
    path = "/v1beta/models/gemini-2.5-pro:generateContent?key=k"
    headers = who("gemini-cheap")
    got = httpx.post(raw_gateway.url + path, json=ASK_GEMINI, headers=headers, trust_env=False, timeout=60)
    assert got.headers["x-spendgate-model"] == "gemini-2.5-flash-lite"
    assert upstream.last.target == "/v1beta/models/gemini-2.5-flash-lite:generateContent?key=k"
    assert json.loads(upstream.last.body) == ASK_GEMINI
