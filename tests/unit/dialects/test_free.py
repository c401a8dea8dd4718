"""Which calls surely cost nothing, and which are unknown APIs."""

from __future__ import annotations

import pytest

from spendgate.dialects.free import is_free
from spendgate.dialects.registry import DIALECTS, nearest


@pytest.mark.parametrize(
    "path",
    ["/v1/messages/count_tokens", "/anthropic/v1/messages/count_tokens", "/v1/files", "/v1/uploads/u/parts",
     "/v1beta/models/gemini-2.5-flash:countTokens", "/model/anthropic.claude%3A0/count-tokens",
     "/v1/projects/p/locations/l/publishers/anthropic/models/count-tokens:rawPredict", "/v1/responses/resp_1/cancel",
     "/v1/responses/input_tokens", "/v1/conversations", "/v1/conversations/c/items", "/v1/batches/b/cancel",
     "/v1/messages/batches/b/cancel", "/v1/tokenize", "/api/show", "/v1/vector_stores/v/search", "//v1//files/"],
)  # fmt: skip
def test_these_are_free(path: str) -> None:
    assert is_free("POST", path)


@pytest.mark.parametrize(
    "path",
    ["/v1/batches", "/v1/videos", "/v1/ocr", "/v1/threads/t/runs", "/v1/complete", "/v1/realtime/sessions",
     "/v1beta/models/imagen-4:predict", "/agents/a/agentAliases/b/sessions/c/text", "/v1/fine_tuning/jobs", "/",
     "/v1/messages/count_tokens/x", "/v1/files/extra/deep/x", "/v1/containers"],
)  # fmt: skip
def test_these_may_cost_money(path: str) -> None:
    assert not is_free("POST", path)


def test_only_posts_and_websockets_make_models_work() -> None:
    assert is_free("GET", "/v1/videos/v/content")
    assert is_free("DELETE", "/v1/batches")
    assert not is_free("GET", "/v1/realtime", websocket=True)


@pytest.mark.parametrize(
    ("path", "name"),
    [("/v1/videos", "openai-chat"), ("/v1/messages/what", "anthropic-messages"), ("/model/m/rank", "bedrock-converse"),
     ("/v1beta/models/imagen:predict", "gemini"), ("/v2/classify", "cohere-chat"), ("/api/x", "ollama")],
)  # fmt: skip
def test_a_refusal_speaks_the_nearest_dialect(path: str, name: str) -> None:
    assert nearest(path).name == name


def test_no_dialects_path_is_called_free() -> None:
    for path in ("/v1/chat/completions", "/v1/messages", "/v1/embeddings", "/model/m/invoke", "/v2/rerank"):
        assert any(d.matches("POST", path, "application/json") for d in DIALECTS)
        assert not is_free("POST", path)


@pytest.mark.parametrize("piece", ["/", "/v1", "/files", "%2F", "/conversations/x/items"])
def test_a_hostile_path_costs_no_more_than_its_length(piece: str) -> None:
    is_free("POST", piece * (60_000 // len(piece)) + "x")
