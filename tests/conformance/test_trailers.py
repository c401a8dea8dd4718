"""Trailers: a request that ends with them is whole, and so is an answer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal

import pytest
from support.calls import who
from support.gateway import Gateway
from support.http2 import Got, Http2Upstream, Reply, post
from support.policy import budget, policy
from support.processes import until
from support.raw_http import JSON
from support.raw_upstream import JSON as JSON_TYPE
from support.raw_upstream import RawUpstream, fixed
from support.second_envoy import before, http2_upstream, worker_of

CHAT = "/v1/chat/completions"
COST = Decimal("0.0000625")
USAGE = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}
ANSWER = json.dumps(
    {
        "id": "c", "object": "chat.completion", "model": "gpt-4o",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
        "usage": USAGE,
    }
).encode()  # fmt: skip
DELTA = b'data: {"model":"gpt-4o","choices":[{"index":0,"delta":{"content":" budget"}}],"usage":null}\n\n'
FINISH = (
    b'data: {"model":"gpt-4o","choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":null}\n\n'
)
EXTRA = b"data: " + json.dumps({"model": "gpt-4o", "choices": [], "usage": USAGE}).encode() + b"\n\n"
SSE = (("content-type", "text/event-stream"),)
TRAILERS = (("x-t", "1"),)


def ask(**more: object) -> bytes:
    prompt = [{"role": "user", "content": "hi there"}]
    return json.dumps({"model": "gpt-4o", "max_tokens": 1000, "messages": prompt, **more}).encode()


@pytest.fixture(scope="module")
def upstream() -> Iterator[RawUpstream]:
    with RawUpstream(fixed(ANSWER, JSON_TYPE)) as running:
        yield running


@pytest.fixture(scope="module")
def gateway(upstream: RawUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    rules = policy(budget("bounded", 1000), budget("zero", 0))
    with Gateway(tmp_path_factory.mktemp("trailers"), upstream.url, rules, workers=1) as running:
        yield running


def reply(got: Got) -> Reply:
    """What the provider over HTTP/2 answers: by the case that the request names."""
    asked = json.loads(got.body or b"{}")
    if not asked.get("stream"):
        return Reply((ANSWER,), trailers=TRAILERS)
    last = got.headers["x-case"].encode().decode("unicode_escape").encode()
    usage = (EXTRA,) if asked.get("stream_options") else ()
    return Reply((DELTA,) * 4 + (FINISH, *usage, last), SSE, TRAILERS, pause_s=0.01)


@pytest.fixture(scope="module")
def over_http2(gateway: Gateway, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An Envoy before the gateway's worker whose provider speaks HTTP/2."""
    folder = tmp_path_factory.mktemp("http2")
    with (
        Http2Upstream(reply) as provider,
        before(worker_of(gateway), provider.url, folder, http2_upstream) as url,
    ):
        yield url


def headers(team: str, **more: str) -> list[tuple[str, str]]:
    return [*{**JSON, **who(team), **more}.items()]


@pytest.mark.parametrize("pieces", [1, 3], ids=["one-piece", "three-pieces"])
def test_a_request_with_trailers_is_decided_held_and_charged_as_without(
    gateway: Gateway, upstream: RawUpstream, pieces: int
) -> None:
    body, team = ask(), f"trailers-{pieces}"
    size = len(body) // pieces + 1
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    got = post(gateway.url, CHAT, headers(team), parts, [("x-a", "1")])
    assert (got.headers[":status"], got.body) == ("200", ANSWER)
    assert upstream.last.body == body
    line = gateway.line(team)
    assert (line["outcome"], Decimal(line["cost_usd"])) == ("complete", COST)
    seen = len(upstream.requests)
    got = post(gateway.url, CHAT, headers("zero"), parts, [("x-a", "1")])
    assert got.headers[":status"] == "429"
    assert len(upstream.requests) == seen


def test_trailers_alone_are_no_way_around(gateway: Gateway, upstream: RawUpstream) -> None:
    seen = len(upstream.requests)
    got = post(gateway.url, CHAT, headers("zero"), [], [("x-a", "1")])
    assert got.headers[":status"][0] == "4"
    assert len(upstream.requests) == seen


def test_a_json_answer_with_trailers_is_metered_and_says_its_cost(gateway: Gateway, over_http2: str) -> None:
    got = post(over_http2, CHAT, headers("json-trailers"), ask(max_tokens=50))
    assert (got.body, got.trailers) == (ANSWER, dict(TRAILERS))
    assert Decimal(got.headers["x-spendgate-cost-usd"]) == COST
    line = gateway.line("json-trailers")
    assert (line["outcome"], Decimal(line["cost_usd"])) == ("complete", COST)


@pytest.mark.parametrize("asked", [True, False], ids=["usage-asked", "usage-hidden"])
@pytest.mark.parametrize("last", ["data: [DONE]", "data: [DONE]\\n", "data: [DONE]\\n\\n"])
def test_a_stream_with_trailers_is_metered_and_loses_no_byte(
    gateway: Gateway, over_http2: str, last: str, asked: bool
) -> None:
    team = f"stream-trailers-{len(last)}-{asked}"
    options = {"stream_options": {"include_usage": True}} if asked else {}
    got = post(over_http2, CHAT, headers(team, **{"x-case": last}), ask(stream=True, **options))
    end = last.encode().decode("unicode_escape").encode()
    assert got.body == DELTA * 4 + FINISH + (EXTRA if asked else b"") + end
    assert got.trailers == dict(TRAILERS)
    line = until(lambda: gateway.line(team), bool, "the line")
    assert (line["outcome"], Decimal(line["cost_usd"])) == ("complete", COST)
