"""Paths that no dialect claims, through a real Envoy: any size passes, what may cost money is counted or refused."""

from __future__ import annotations

import hashlib

import httpx
from support.calls import who
from support.gateway import Gateway
from support.policy import budget, policy
from support.processes import until
from support.raw_upstream import JSON, RawUpstream, fixed

RAW_POLICY = policy(budget("open", 10), budget("strict", 10, unknownApis="reject"))
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


def test_free_calls_pass_a_strict_budget_uncounted(raw_gateway: Gateway, upstream: RawUpstream) -> None:
    upstream.reply = fixed(b'{"input_tokens":5}', JSON)
    for path in ("/v1/messages/count_tokens", "/v1/files", "/v1/moderations"):
        assert post(raw_gateway, "strict", path, b'{"input":"x"}').status_code == 200
    got = httpx.get(raw_gateway.url + "/v1/models", headers=who("strict"), trust_env=False, timeout=60)
    assert got.status_code == 200
    assert raw_gateway.metric("spendgate_unknown_api_requests_total", team="strict", action="pass") == 0
    assert raw_gateway.usage("strict") == []
