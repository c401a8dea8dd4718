"""What no decision changes stays as it was: bytes, paths, headers, sizes."""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from collections.abc import Callable
from typing import Any

import brotli
import pytest
import zstandard
from support.calls import who
from support.gateway import Gateway
from support.policy import budget, policy
from support.processes import until
from support.provider import Provider
from support.raw_http import JSON, Answer, send
from support.raw_upstream import JSON as IS_JSON
from support.raw_upstream import SSE, RawUpstream, fixed, pieces

ROUTING = {
    "enabled": True,
    "cheapModel": "gpt-4.1-mini",
    "expensiveModel": "gpt-4.1",
    "complexityThreshold": 500,
}
RAW_POLICY = policy(budget("plain", 1000), budget("rerouted", 1000, costRouting=ROUTING))
POLICY = policy(budget("plain", 1000))
CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"
MIB = 1024 * 1024

ODD_JSON = (
    b' {"id" :"x","object":"chat.completion",\n\t"model":"gpt-4o",'
    b'"choices":[{"message":{"content":"\\u00e9\xc3\xa9"}}],'
    b'"usage": {"prompt_tokens":9,"completion_tokens":4,"total_tokens":13} , "x":1e3}\r\n'
)


def ask(model: str = "gpt-4o", **more: object) -> bytes:
    return json.dumps({"model": model, "messages": [{"role": "user", "content": "hi"}], **more}).encode()


def post(gateway: Gateway, body: bytes, target: str = CHAT, team: str = "plain", **mock: Any) -> Answer:
    return send(gateway.url, "POST", target, {**JSON, **who(team, **mock)}, body)


def chunk(delta: str, usage: str = "", choices: bool = True) -> bytes:
    """A chunk as OpenAI writes it, with or without the field `usage`."""
    choice = f'[{{"index":0,"delta":{{"content":"{delta}"}},"finish_reason":null}}]' if choices else "[]"
    tail = f',"usage":{usage}' if usage else ""
    data = f'{{"id":"c1","object":"chat.completion.chunk","model":"gpt-4o","choices":{choice}{tail}}}'
    return f"data: {data}\n\n".encode()


WORDS = ["The", " caf\\u00e9", " data: ", " x", "\U0001f600", ""]
ASKED = (
    b"".join(chunk(w, "null") for w in WORDS)
    + chunk("", '{"prompt_tokens":9,"completion_tokens":6,"total_tokens":15}', choices=False)
    + b"data: [DONE]\n\n"
)
UNASKED = b"".join(map(chunk, WORDS)) + b"data: [DONE]\n\n"
CLAUDE = (
    b'event: message_start\ndata: {"type":"message_start","message":{"model":"claude-sonnet","usage":'
    b'{"input_tokens":9,"output_tokens":1}}}\n\n'
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta",'
    b'"text":"hi"}}\n\n: a comment\n\nevent: ping\ndata: {"type": "ping"}\n\n'
    b'event: message_delta\ndata: {"type":"message_delta","delta":{},"usage":{"output_tokens":5}}\n\n'
    b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
)


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[i : i + size] for i in range(0, len(data), size)]


# -- answers ----------------------------------------------------------------------------------------------


def test_a_json_answer_arrives_byte_for_byte_with_its_headers(
    raw_gateway: Gateway, upstream: RawUpstream
) -> None:
    odd = (
        "server: theirs",
        "set-cookie: a=1",
        "set-cookie: b=2",
        "x-ratelimit-remaining-requests: 7",
        "x-Odd: Y",
    )
    upstream.reply = fixed(ODD_JSON, IS_JSON, *odd)
    answer = post(raw_gateway, ask())
    assert (answer.status, answer.body) == (200, ODD_JSON)
    assert answer.header("server") == "theirs"
    assert [v for k, v in answer.headers if k == "set-cookie"] == ["a=1", "b=2"]
    assert answer.header("x-ratelimit-remaining-requests") == "7"
    assert raw_gateway.settled("plain", 1)["tokens"] == {"input": 9, "output": 4}


@pytest.mark.parametrize("size", [1, 7, 64, 10_000], ids=lambda n: f"pieces-of-{n}")
@pytest.mark.parametrize("newline", [b"\n", b"\r\n"], ids=["lf", "crlf"])
def test_a_stream_with_usage_asked_for_arrives_byte_for_byte(
    raw_gateway: Gateway, upstream: RawUpstream, size: int, newline: bytes
) -> None:
    wire = ASKED.replace(b"\n", newline)
    upstream.reply = pieces(cut(wire, size), SSE, pause_s=0)
    body = ask(stream=True, stream_options={"include_usage": True})
    answer = post(raw_gateway, body)
    assert answer.body == wire
    assert upstream.last.body == body, "a request that no decision touches is not rewritten"


@pytest.mark.parametrize("size", [5, 10_000], ids=lambda n: f"pieces-of-{n}")
def test_an_anthropic_stream_arrives_byte_for_byte(
    raw_gateway: Gateway, upstream: RawUpstream, size: int
) -> None:
    upstream.reply = pieces(cut(CLAUDE, size), SSE, pause_s=0)
    body = ask("claude-sonnet", max_tokens=9, stream=True)
    assert post(raw_gateway, body, MESSAGES).body == CLAUDE
    assert upstream.last.body == body


@pytest.mark.parametrize("size", [1, 11, 10_000], ids=lambda n: f"pieces-of-{n}")
def test_usage_that_the_client_did_not_ask_for_is_hidden_again(
    raw_gateway: Gateway, upstream: RawUpstream, size: int
) -> None:
    upstream.reply = pieces(cut(ASKED, size), SSE, pause_s=0)
    before = raw_gateway.quiet("plain")["tokens"].get("output", 0)
    answer = post(raw_gateway, ask(stream=True))
    assert json.loads(upstream.last.body)["stream_options"] == {"include_usage": True}
    assert answer.body.replace(b',"usage":null', b"") == UNASKED
    until(lambda: raw_gateway.row("plain")["tokens"].get("output"), lambda n: n == before + 6, "its usage")


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422, 429, 500, 503, 529])
def test_error_answers_pass_unchanged_and_cost_nothing(
    raw_gateway: Gateway, upstream: RawUpstream, status: int
) -> None:
    body = b'{"error": {"message":"no",  "type":"theirs"}}\n'
    upstream.reply = fixed(body, IS_JSON, "retry-after: 3", "x-request-id: theirs", status=f"{status} Odd")
    team = f"error-{status}"
    answer = post(raw_gateway, ask(), team=team)
    assert (answer.status, answer.body, answer.header("retry-after")) == (status, body, "3")
    assert answer.header("x-request-id") == "theirs"
    line = raw_gateway.line(team)
    assert (line["outcome"], line["cost_usd"]) == ("failed", "0.00")
    assert raw_gateway.quiet(team)["settled_usd"] == "0.00"


CODINGS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": zstandard.ZstdCompressor().compress,
}


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("kind", ["json", "stream"])
def test_compressed_answers_arrive_as_they_were_and_are_metered(
    raw_gateway: Gateway, upstream: RawUpstream, coding: str, kind: str
) -> None:
    wire = CODINGS[coding](ODD_JSON if kind == "json" else ASKED)
    team = f"{coding}-{kind}"
    if kind == "json":
        upstream.reply = fixed(wire, IS_JSON, f"content-encoding: {coding}")
    else:
        upstream.reply = pieces(cut(wire, 9), SSE, f"content-encoding: {coding}", pause_s=0)
    more: dict[str, Any] = (
        {"stream": True, "stream_options": {"include_usage": True}} if kind == "stream" else {}
    )
    answer = post(raw_gateway, ask(**more), team=team)
    assert answer.body == wire
    assert answer.header("content-encoding") == coding
    assert raw_gateway.settled(team, 1)["tokens"] == {"input": 9, "output": 4 if kind == "json" else 6}
    assert raw_gateway.line(team)["outcome"] == "complete"


def test_compressed_answers_of_the_mock_provider_are_read_by_the_sdk(gateway: Gateway) -> None:
    for coding in ("gzip", "deflate", "br"):  # those that the SDK can read
        stream = gateway.openai.chat.completions.create(
            model="gpt-4o",
            messages=[{"role": "user", "content": "hi"}],
            stream=True,
            extra_headers=who(f"sdk-{coding}", encoding=coding, output_tokens=12),
        )
        assert sum(bool(c.choices and c.choices[0].delta.content) for c in stream) == 12
        assert gateway.settled(f"sdk-{coding}", 1)["tokens"]["output"] == 12


# -- requests ---------------------------------------------------------------------------------------------

TARGETS = [
    "/v1/chat/completions?a=1&b=%20&c=+&d=%2F&e",
    "/openai/deployments/x%2Fy/chat/completions?api-version=2024-10-21",
    "//v1//chat/completions",
    "/v1/./x/../chat/completions",
    "/v1/chat/completions/",
    "/%76%31/chat/completions",
    "/v1/files/../%2e%2e/a%00b",
    "/a//b/./c/../d?x=/../y&&z=%zz#",
    "/v1/chat/completions?q=\xe4".encode("latin-1").decode("latin-1"),
    "/~user;p=1/*'()!@:$,=&+",
    "/",
]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("method", ["POST", "GET"])
def test_path_and_query_reach_the_provider_byte_for_byte(
    raw_gateway: Gateway, upstream: RawUpstream, target: str, method: str
) -> None:
    target = target.replace("\xe4", "%e4").rstrip("#")
    upstream.reply = fixed(b'{"ok":1}', IS_JSON)
    answer = send(
        raw_gateway.url, method, target, {**JSON, **who("paths")}, ask() if method == "POST" else b""
    )
    assert (answer.status, answer.body) == (200, b'{"ok":1}')
    assert upstream.last.target == target
    assert upstream.last.method == method


def test_nothing_internal_reaches_the_provider_and_authorization_does(
    raw_gateway: Gateway, upstream: RawUpstream
) -> None:
    upstream.reply = fixed(ODD_JSON, IS_JSON)
    internal = {
        "x-llm-team": "headers", "x-llm-app": "a", "x-llm-user": "u", "x-llm-run": "r",
        "X-Require-Model": "gpt-4o", "x-spendgate-cluster": "nowhere", "x-spendgate-model": "m",
        "x-spendgate-cost-usd": "1", "x-budget-utilization": "0.99", "x-model-downgraded": "true",
        "x-envoy-retry-on": "5xx", "x-envoy-hedge-on-per-try-timeout": "true", "x-envoy-made-up": "1",
        "x-forwarded-client-cert": "URI=spiffe://me",
    }  # fmt: skip
    kept = {
        "x-my-header": "Mine",
        "openai-organization": "org",
        "user-agent": "me/1",
        "traceparent": "00-0-0-01",
    }
    for target in (CHAT, "/v1/files"):
        answer = send(raw_gateway.url, "POST", target, {**JSON, **internal, **kept}, ask())
        assert answer.status == 200
        arrived = {k.lower(): v for k, v in upstream.last.headers}
        leaked = [
            k
            for k in arrived
            if k.startswith(
                ("x-llm-", "x-spendgate-", "x-budget-", "x-model-", "x-require-", "x-forwarded-client")
            )
        ]
        assert not leaked
        assert arrived["authorization"] == "Bearer sk-test"
        assert {k: arrived[k] for k in kept} == kept
        assert not [k for k in arrived if k.startswith("x-envoy-")]
        assert answer.header("x-budget-utilization") is None, "the client's own copy came back"
    assert answer.header("x-model-downgraded") is None


def test_a_model_is_rewritten_in_a_megabyte_and_every_other_byte_kept(
    raw_gateway: Gateway, upstream: RawUpstream
) -> None:
    upstream.reply = fixed(ODD_JSON, IS_JSON)
    text = json.dumps('caf\xe9 "model":"gpt-4o" \U0001f600 ' * 20_000, ensure_ascii=False)
    body = (
        '{ "x" : {"model":"nested"},\n "messages":[{"role":"user","content":'
        + text
        + '}] ,\t"model" : "gpt-4.1-mini" '
        ', "n":1, "unknown": 1.50e1}\r\n'
    ).encode()
    assert len(body) > MIB // 2
    assert post(raw_gateway, body, team="rerouted").header("x-spendgate-model") == "gpt-4.1"
    expected = body.replace(b'"model" : "gpt-4.1-mini"', b'"model" : "gpt-4.1"')
    assert upstream.last.body == expected


def test_ten_megabytes_pass_in_both_directions(raw_gateway: Gateway, upstream: RawUpstream) -> None:
    padding = b"p" * (10 * MIB)
    reply = ODD_JSON.rstrip()[:-1] + b',"padding":"' + padding + b'"}'
    upstream.reply = fixed(reply, IS_JSON)
    body = ask(metadata={"x": "y" * (10 * MIB)})
    answer = post(raw_gateway, body, team="large")
    assert answer.status == 200
    assert hashlib.sha256(answer.body).digest() == hashlib.sha256(reply).digest()
    assert upstream.last.sha256 == hashlib.sha256(body).hexdigest()
    assert raw_gateway.settled("large", 1)["tokens"] == {"input": 9, "output": 4}


@pytest.mark.parametrize(("target", "shape"), [(CHAT, "openai"), (MESSAGES, "anthropic")])
def test_33_mebibytes_are_refused_in_the_dialects_shape_with_nothing_reserved(
    raw_gateway: Gateway, upstream: RawUpstream, target: str, shape: str
) -> None:
    seen = len(upstream.requests)
    answer = post(
        raw_gateway, ask("claude-sonnet", max_tokens=5, pad="y" * (33 * MIB)), target, team="too-large"
    )
    assert answer.status == 413
    document = json.loads(answer.body)
    assert document["error"]["message"]
    assert ("type" in document) == (shape == "anthropic")
    assert len(upstream.requests) == seen
    assert raw_gateway.row("too-large")["requests"] == 0


def test_33_mebibytes_without_a_content_length_are_refused_too(
    raw_gateway: Gateway, upstream: RawUpstream
) -> None:
    seen = len(upstream.requests)
    body = cut(ask(pad="y" * (33 * MIB)), MIB)
    answer = send(raw_gateway.url, "POST", CHAT, {**JSON, **who("too-large")}, body)
    assert answer.status == 413
    assert len(upstream.requests) == seen


def test_an_upload_of_any_size_streams_through_paths_that_are_not_ours(
    raw_gateway: Gateway, upstream: RawUpstream
) -> None:
    upstream.reply = fixed(b'{"id":"file-1"}', IS_JSON)
    block = bytes(range(256)) * 4096
    digest = hashlib.sha256()
    for _ in range(200):
        digest.update(block)
    headers = {"content-type": "multipart/form-data; boundary=x", **who("uploads")}
    answer = send(
        raw_gateway.url, "POST", "/v1/files", headers, (block for _ in range(200)), 200 * len(block)
    )
    assert (answer.status, answer.body) == (200, b'{"id":"file-1"}')
    assert (upstream.last.size, upstream.last.sha256) == (200 * MIB, digest.hexdigest())


@pytest.mark.parametrize(
    ("method", "target"),
    [("GET", "/v1/models"), ("HEAD", "/v1/models"), ("GET", "/nothing"), ("POST", "/v1/embeddingz"),
     ("DELETE", "/v1/files/1"), ("GET", CHAT), ("PUT", CHAT), ("OPTIONS", CHAT)],
)  # fmt: skip
def test_what_is_not_ours_answers_as_without_us(
    gateway: Gateway, provider: Provider, method: str, target: str
) -> None:
    body = b'{"a":1}' if method in ("POST", "PUT") else b""
    direct = send(provider.url, method, target, JSON, body)
    through = send(gateway.url, method, target, {**JSON, **who("others")}, body)
    assert (through.status, through.body) == (direct.status, direct.body)
    known = {k.lower() for k, _ in direct.headers} - {"transfer-encoding"}
    assert {k.lower() for k, _ in through.headers} - {"transfer-encoding"} == known
    assert gateway.row("others")["requests"] == 0


def test_models_are_listed_by_the_sdk(gateway: Gateway) -> None:
    assert "gpt-4o" in {m.id for m in gateway.openai.models.list()}
