"""Requests through the official SDKs, short to write."""

from __future__ import annotations

from typing import Any

from support.gateway import Gateway


def who(team: str, app: str = "app", **mock: object) -> dict[str, str]:
    """Identity headers, and the mock provider's control headers (`output_tokens=5`)."""
    control = {f"x-mock-{k.replace('_', '-')}": str(v) for k, v in mock.items()}
    return {"x-llm-team": team, "x-llm-app": app, **control}


class Reply:
    """An answer and its headers."""

    def __init__(self, raw: Any) -> None:
        self.headers = raw.headers
        self.answer = raw.parse()


def chat(
    gateway: Gateway,
    team: str,
    *,
    app: str = "app",
    model: str = "gpt-4o",
    text: str = "Say hello.",
    max_tokens: int | None = 10,
    headers: dict[str, str] | None = None,
    more: dict[str, Any] | None = None,
    **mock: object,
) -> Reply:
    """An OpenAI chat completion. The answer is as long as `max_tokens` allows unless `mock` says otherwise."""
    if max_tokens is not None:
        mock.setdefault("output_tokens", max_tokens)
        more = {"max_tokens": max_tokens, **(more or {})}
    return Reply(
        gateway.openai.chat.completions.with_raw_response.create(
            model=model,
            messages=[{"role": "user", "content": text}],
            extra_headers={**who(team, app, **mock), **(headers or {})},
            **(more or {}),
        )
    )


def message(
    gateway: Gateway,
    team: str,
    *,
    app: str = "app",
    model: str = "claude-opus-4-1",
    text: str = "Say hello.",
    max_tokens: int = 10,
    headers: dict[str, str] | None = None,
    more: dict[str, Any] | None = None,
    **mock: object,
) -> Reply:
    """An Anthropic message."""
    mock.setdefault("output_tokens", max_tokens)
    return Reply(
        gateway.anthropic.messages.with_raw_response.create(
            model=model,
            max_tokens=max_tokens,
            messages=[{"role": "user", "content": text}],
            extra_headers={**who(team, app, **mock), **(headers or {})},
            **(more or {}),
        )
    )
