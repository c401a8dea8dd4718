"""Paths that no dialect claims, through a real Envoy: any size passes, what may cost money is counted or refused."""

from __future__ import annotations

import hashlib

import httpx
import pytest
from support.calls import who
from support.gateway import Gateway
from support.policy import budget, policy
from support.processes import until
from support.raw_http import send
from support.raw_upstream import JSON, RawUpstream, fixed

ODD = ["/v1/Chat/Completions", "/v1/./chat/completions", "/v1/x/%2e%2e/chat/completions", "/v1/chat/completions;a=b",
       "/v1/chat/completions%20", "/v1/chat/completions/.", "/v1//chat\\completions", "/v1/chat%252Fcompletions",
       "/v1/chat/completions%00"]  # fmt: skip
RAW_POLICY = policy(
    budget("open", 10), budget("strict", 10, unknownApis="reject"), budget("broke", 0),
    budget("audited", 0, mode="audit"),
    *(budget(f"odd-{n}", 10) for n in range(len(ODD))),
)  # fmt: skip
CHAT = "/v1/chat/completions"
ASK = b'{"model":"gpt-4o","max_tokens":50,"messages":[{"role":"user","content":"hi"}]}'
ANSWER = (
    b'{"model":"gpt-4o","choices":[],"usage":{"prompt_tokens":9,"completion_tokens":4,"total_tokens":13}}'
)
BIG = b"x" * (40 * 1024 * 1024)


def post(gateway: Gateway, team: str, path: str, content: bytes = b"{}") -> httpx.Response:
    headers = {"content-type": "application/json", **who(team)}
    return httpx.post(gateway.url + path, content=content, headers=headers, trust_env=False, timeout=120)


def counted(gateway: Gateway, team: str, action: str, at_least: int) -> float:
    return until(
        lambda: gateway.metric("spendgate_unknown_api_requests_total", team=team, action=action),
        lambda n: n >= at_least,
        f"{at_least} unknown API requests of {team}",
    )


def test_an_unknown_api_passes_at_any_size_and_is_counted(
    raw_gateway: Gateway, upstream: RawUpstream
) -> None:
    upstream.reply = fixed(b'{"ok":true}', JSON)
    assert post(raw_gateway, "open", "/v1/videos", BIG).json() == {"ok": True}
    assert (upstream.last.size, upstream.last.sha256) == (len(BIG), hashlib.sha256(BIG).hexdigest())
    assert counted(raw_gateway, "open", "pass", 1) == 1


def test_a_strict_budget_refuses_it_before_the_provider_hears_of_it(
    raw_gateway: Gateway, upstream: RawUpstream
) -> None:
    upstream.reply = fixed(b'{"ok":true}', JSON)
    asked = len(upstream.requests)
    got = post(raw_gateway, "strict", "/v1/videos")
    assert (got.status_code, got.json()["error"]["code"]) == (403, "unknown_api")
    assert got.headers["x-should-retry"] == "false"
    assert len(upstream.requests) == asked
    assert counted(raw_gateway, "strict", "reject", 1) == 1
    assert raw_gateway.metric("llm_requests_rejected_budget_total", team="strict", reason="unknown_api") == 1


@pytest.mark.parametrize("n", range(len(ODD)))
def test_a_path_is_metered_however_it_is_spelled_and_goes_on_as_it_came(
    raw_gateway: Gateway, upstream: RawUpstream, n: int
) -> None:
    upstream.reply = fixed(ANSWER, JSON)
    asked = len(upstream.requests)
    headers = {"content-type": "application/json"}
    assert send(raw_gateway.url, "POST", ODD[n], {**headers, **who("broke")}, ASK).status == 429
    assert len(upstream.requests) == asked
    answer = send(raw_gateway.url, "POST", ODD[n], {**headers, **who(f"odd-{n}")}, ASK)
    assert (answer.status, answer.body) == (200, ANSWER)
    assert (upstream.last.target, upstream.last.body) == (ODD[n], ASK)
    assert raw_gateway.line(f"odd-{n}")["cost_usd"] == "0.0000625"


@pytest.mark.parametrize("team", ["broke", "strict"])
@pytest.mark.parametrize(
    ("method", "target", "headers", "body"),
    [
        ("PUT", CHAT, {}, ASK),
        ("PATCH", CHAT, {}, ASK),
        ("GET", CHAT, {}, ASK),
        ("DELETE", CHAT, {}, ASK),
        ("GET", CHAT, {"x-http-method-override": "POST"}, ASK),
        ("GET", f"{CHAT}?_method=POST", {}, b""),
        ("GET", f"{CHAT}?%24httpMethod=POST", {}, b""),
        ("POST", CHAT, {}, b""),
        ("PUT", "/V1/./Messages;a", {}, ASK),
        ("POST", "/v1/files%3F/../chat/completions", {}, ASK),
        ("POST", "/v1/messages//..", {}, ASK),
        ("POST", "/google.ai.generativelanguage.v1beta.GenerativeService/GenerateContent", {}, b"\x00"),
    ],
)
def test_the_kin_of_a_metered_call_is_refused(
    raw_gateway: Gateway,
    upstream: RawUpstream,
    team: str,
    method: str,
    target: str,
    headers: dict[str, str],
    body: bytes,
) -> None:
    asked = len(upstream.requests)
    answer = send(
        raw_gateway.url, method, target, {"content-type": "application/json", **who(team), **headers}, body
    )
    assert (answer.status, answer.header("x-spendgate-reason")) == (403, "unknown_api")
    assert len(upstream.requests) == asked


@pytest.mark.parametrize("team", ["nobody", "audited"])
def test_without_an_enforcing_budget_nothing_is_refused(
    raw_gateway: Gateway, upstream: RawUpstream, team: str
) -> None:
    upstream.reply = fixed(ANSWER, JSON)
    for method, target, body in (
        ("PUT", CHAT, ASK),
        ("POST", "/v1/videos", b"{}"),
        ("POST", CHAT, b""),
        ("POST", CHAT, b"{"),
    ):
        answer = send(
            raw_gateway.url, method, target, {"content-type": "application/json", **who(team)}, body
        )
        assert (answer.status, answer.body) == (200, ANSWER)


def test_free_calls_pass_a_strict_budget_uncounted(raw_gateway: Gateway, upstream: RawUpstream) -> None:
    upstream.reply = fixed(b'{"input_tokens":5}', JSON)
    for path in ("/v1/messages/count_tokens", "/v1/files", "/v1/moderations"):
        assert post(raw_gateway, "strict", path, b'{"input":"x"}').status_code == 200
    got = httpx.get(raw_gateway.url + "/v1/models", headers=who("strict"), trust_env=False, timeout=60)
    assert got.status_code == 200
    assert raw_gateway.metric("spendgate_unknown_api_requests_total", team="strict", action="pass") == 0
    assert raw_gateway.usage("strict") == []
