"""A refusal raises the SDK's own exception, with our code in it."""

from __future__ import annotations

import importlib
from typing import Any

import anthropic
import openai
import pytest

from spendgate.dialects.base import Rejection
from spendgate.dialects.registry import by_name

REJECTION = Rejection(
    429, "monthly_budget_exceeded", "Team ä has spent its budget.", {"team": "ä", "spent_usd": "1.00"}
)


def answering(sdk: Any, status: int, body: bytes) -> Any:
    """The SDK's own HTTP client (httpx, or httpx2 in newer ones), which always gets this answer."""
    http = importlib.import_module(sdk.DefaultHttpxClient.__mro__[1].__module__.partition(".")[0])
    headers = {"content-type": "application/json", "x-should-retry": "false"}
    transport = http.MockTransport(lambda request: http.Response(status, headers=headers, content=body))
    return sdk.DefaultHttpxClient(transport=transport)


@pytest.mark.parametrize(
    ("status", "error"), [(429, openai.RateLimitError), (403, openai.PermissionDeniedError)]
)
def test_openai_raises_its_own_error(status: int, error: type[openai.APIStatusError]) -> None:
    body = by_name("openai-chat").error_body(REJECTION)
    client = openai.OpenAI(
        api_key="k", base_url="http://gateway", http_client=answering(openai, status, body)
    )
    with pytest.raises(error) as raised:
        client.chat.completions.create(model="m", messages=[])
    assert raised.value.code == "monthly_budget_exceeded"
    assert raised.value.type == "budget_exceeded"
    assert raised.value.param is None
    details: Any = raised.value.body
    assert details["details"] == REJECTION.details
    assert details["message"] == REJECTION.message


@pytest.mark.parametrize("name", ["openai-responses", "openai-completions", "openai-embeddings"])
def test_openai_raises_its_own_error_in_every_api(name: str) -> None:
    http = answering(openai, 429, by_name(name).error_body(REJECTION))
    client = openai.OpenAI(api_key="k", base_url="http://gateway", http_client=http)
    calls = {
        "openai-responses": lambda: client.responses.create(model="m", input="x"),
        "openai-completions": lambda: client.completions.create(model="m", prompt="x"),
        "openai-embeddings": lambda: client.embeddings.create(model="m", input="x"),
    }
    with pytest.raises(openai.RateLimitError) as raised:
        calls[name]()
    assert (raised.value.code, raised.value.type) == ("monthly_budget_exceeded", "budget_exceeded")


def test_anthropic_raises_its_own_error() -> None:
    body = by_name("anthropic-messages").error_body(REJECTION)
    client = anthropic.Anthropic(
        api_key="k", base_url="http://gateway", http_client=answering(anthropic, 429, body)
    )
    with pytest.raises(anthropic.RateLimitError) as raised:
        client.messages.create(model="m", max_tokens=1, messages=[{"role": "user", "content": "hi"}])
    details: Any = raised.value.body
    assert details["type"] == "error"
    assert details["error"] == {
        "type": "budget_exceeded",
        "message": REJECTION.message,
        "code": "monthly_budget_exceeded",
        "details": REJECTION.details,
    }
