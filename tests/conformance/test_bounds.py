"""Requests whose input, tools or answering model are not in them: 200 at once never bill more than the budget."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import httpx
import pytest
from support.gateway import Gateway
from support.lenient import Lenient, Rule
from support.policy import budget, policy

URL = "https://v.example/a"
CHAT, GEMINI = "/v1/chat/completions", "/v1beta/models/gemini-2.5-pro:generateContent"
OPUS = "anthropic/claude-opus-4-1"
AT_ONCE = 200


@dataclass(frozen=True)
class Kind:
    """A request, what its provider bills for it, and a budget that some of them fit."""

    path: str
    body: dict[str, Any]
    rule: Rule
    usd: float = 1
    more: dict[str, Any] = field(default_factory=dict)


def chat(*parts: dict[str, Any], model: str = "gpt-4o", **fields: Any) -> dict[str, Any]:
    return {
        "model": model,
        "max_tokens": 10,
        "messages": [{"role": "user", "content": list(parts)}],
        **fields,
    }


def bills(input_tokens: int, output: int = 10, model: str = "") -> Rule:
    return Rule(input=input_tokens, output=output, seconds=1, model=model)


KINDS: dict[str, Kind] = {
    "video": Kind(CHAT, chat({"type": "video_url", "video_url": {"url": f"{URL}.mp4"}}), bills(120_000)),
    "audio": Kind(
        CHAT,
        chat({"type": "input_audio", "input_audio": f"{URL}.wav"}, model="gpt-4o-audio-preview"),
        bills(120_000),
        20,
    ),
    "url-context": Kind(
        GEMINI,
        {
            "contents": [{"parts": [{"text": f"read {URL}"}]}],
            "tools": [{"urlContext": {}}],
            "generationConfig": {"maxOutputTokens": 100},
        },
        bills(200_000, 100),
        6,
    ),
    "code-interpreter": Kind(
        "/v1/responses",
        {
            "model": "gpt-4o",
            "input": "x " * 4_500,
            "max_output_tokens": 1_000,
            "tools": [{"type": "code_interpreter", "container": {"type": "auto"}}],
        },
        bills(90_000, 1_000),
        8,
    ),
    "web-fetch": Kind(
        "/v1/messages",
        {
            "model": "claude-haiku-4-5",
            "max_tokens": 10,
            "messages": [{"role": "user", "content": f"read {URL}"}],
            "tools": [{"type": "web_fetch_20250910", "name": "web_fetch", "max_content_tokens": 10}],
        },
        bills(100_000),
        3,
    ),
    "fall-back-list": Kind(
        CHAT,
        chat({"type": "text", "text": "hi"}, model="openai/gpt-4o-mini", max_tokens=1_000)
        | {"models": ["openai/gpt-4o-mini", OPUS]},
        bills(100, 1_000, OPUS),
    ),
}
LIMITED = Kind(
    CHAT,
    KINDS["fall-back-list"].body,
    bills(10),
    1_000,
    {"modelLimits": [{"modelPattern": "claude-opus*", "maxMonthlyUSD": 0}]},
)
NAMES = {
    "by-vendor": (CHAT, "openai/gpt-4o"),
    "by-case": (CHAT, "GPT-4o"),
    "by-blanks": (CHAT, " gpt-4o "),
    "by-suffix": (CHAT, "openai/gpt-4o:nitro"),
}
POLICY = policy(
    *(budget(team, k.usd, overshootPercent=0, **k.more) for team, k in KINDS.items()),
    budget("limited", LIMITED.usd, **LIMITED.more),
    budget("renamed", 1_000, modelLimits=[{"modelPattern": "gpt-4o*", "maxMonthlyUSD": 0}]),
    budget("apps", 1_000, modelLimits=[{"modelPattern": "claude-opus*", "allowedApps": ["vip"]}]),
)


@pytest.fixture(scope="module")
def provider_of_all() -> Iterator[Lenient]:
    with Lenient(rules={team: k.rule for team, k in KINDS.items()}) as running:
        yield running


@pytest.fixture(scope="module")
def bounded(provider_of_all: Lenient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with Gateway(tmp_path_factory.mktemp("bounds"), provider_of_all.url, POLICY) as running:
        yield running


def headers(team: str, app: str = "a") -> dict[str, str]:
    return {"x-llm-team": team, "x-llm-app": app, "x-case": team}


async def storm(url: str, team: str, kind: Kind) -> Counter[int]:
    limits = httpx.Limits(max_connections=AT_ONCE)
    async with httpx.AsyncClient(base_url=url, timeout=120, trust_env=False, limits=limits) as client:
        calls = (client.post(kind.path, json=kind.body, headers=headers(team)) for _ in range(AT_ONCE))
        return Counter(answer.status_code for answer in await asyncio.gather(*calls))


@pytest.mark.parametrize("team", KINDS)
def test_200_at_once_bill_no_more_than_the_budget(
    team: str, bounded: Gateway, provider_of_all: Lenient
) -> None:
    kind = KINDS[team]
    statuses = asyncio.run(storm(bounded.url, team, kind))
    billed, passed = provider_of_all.usd(team), len(provider_of_all.calls(team))
    assert set(statuses) == {200, 429} and statuses[200] == passed > 0
    assert billed <= Decimal(str(kind.usd))
    assert bounded.spent(team, passed) == billed


def post(gateway: Gateway, path: str, body: dict[str, Any], team: str, app: str = "a") -> httpx.Response:
    return httpx.post(
        f"{gateway.url}{path}", json=body, headers=headers(team, app), timeout=60, trust_env=False
    )


def test_a_model_limited_to_nothing_does_not_answer_from_a_list(
    bounded: Gateway, provider_of_all: Lenient
) -> None:
    refused = post(bounded, LIMITED.path, LIMITED.body, "limited")
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "model_budget_exceeded")
    alone = {k: v for k, v in LIMITED.body.items() if k != "models"}
    assert post(bounded, LIMITED.path, alone, "limited").status_code == 200
    assert len(provider_of_all.calls("limited")) == 1


@pytest.mark.parametrize("name", NAMES)
def test_a_models_limit_is_passed_by_no_other_name(
    name: str, bounded: Gateway, provider_of_all: Lenient
) -> None:
    path, model = NAMES[name]
    refused = post(bounded, path, chat({"type": "text", "text": "hi"}, model=model), "renamed")
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "model_budget_exceeded")
    assert not provider_of_all.calls("renamed")


def test_an_app_that_is_not_allowed_is_refused_under_every_name(
    bounded: Gateway, provider_of_all: Lenient
) -> None:
    body = {"model": OPUS, "max_tokens": 10, "messages": [{"role": "user", "content": "hi"}]}
    refused = post(bounded, "/v1/messages", body, "apps")
    assert refused.status_code == 403
    assert refused.json()["error"]["code"] == "app_not_allowed_for_model"
    assert post(bounded, "/v1/messages", body, "apps", "vip").status_code == 200
    assert len(provider_of_all.calls("apps")) == 1
