"""Which calls surely cost nothing, and which are unknown APIs."""

from __future__ import annotations

import pytest

from spendgate.dialects import registry
from spendgate.dialects.registry import DIALECTS, nearest
from spendgate.dialects.request.free_paths import Cost, cost


def asked(method: str, target: str, *, body: bool = True, **headers: str) -> Cost:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return cost(method, target, named, has_body=body, claimed=registry.claims(target.partition("?")[0]))


@pytest.mark.parametrize(
    "path",
    ["/v1/messages/count_tokens", "/anthropic/v1/messages/count_tokens", "/v1/files", "/v1/uploads/u/parts",
     "/v1beta/models/gemini-2.5-flash:countTokens", "/model/anthropic.claude%3A0/count-tokens",
     "/v1/projects/p/locations/l/publishers/anthropic/models/count-tokens:rawPredict", "/v1/responses/resp_1/cancel",
     "/v1/responses/input_tokens", "/v1/conversations/c/items", "/v1/batches/b/cancel",
     "/v1/messages/batches/b/cancel", "/v1/tokenize",
     "/openai/v1/files", "/upload/v1beta/files?upload_id=x", "/api/show", "/v1/vector_stores/v/search", "//v1//files/"],
)  # fmt: skip
def test_these_are_free(path: str) -> None:
    assert asked("POST", path) is Cost.FREE


@pytest.mark.parametrize(
    "path",
    ["/v1/batches", "/v1/videos", "/v1/ocr", "/v1/threads/t/runs", "/v1/complete", "/v1/realtime/sessions",
     "/v1beta/models/imagen-4:predict", "/agents/a/agentAliases/b/sessions/c/text", "/v1/fine_tuning/jobs", "/",
     "/v1/messages/count_tokens/x", "/v1/files/extra/deep/x", "/v1/containers", "/v1/videos/files", "/v1/x/y/z/files",
     "/v1/files?_method=PUT", "/v1beta/cachedContents", "/v1/images/uploads"],
)  # fmt: skip
def test_these_may_cost_money(path: str) -> None:
    assert asked("POST", path) is Cost.UNKNOWN


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "DELETE"])
def test_what_asks_nothing_of_a_model_is_free(method: str) -> None:
    assert asked(method, "/v1/videos/v/content", body=False) is Cost.FREE
    assert asked(method, "/v1/videos/v/content") is Cost.UNKNOWN
    assert asked(method, "/v1/batches", body=False, x_http_method_override="POST") is Cost.UNKNOWN


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "QUERY", "post"])
@pytest.mark.parametrize(
    "path",
    ["/v1/chat/completions", "/V1/./Messages", "/v1beta/models/m:generateContent", "/model/m/converse"],
)
def test_a_metered_path_is_never_free_by_another_method(method: str, path: str) -> None:
    assert asked(method, path) is Cost.KIN
    assert asked(method, path, body=False, x_http_method_override="POST") is Cost.KIN
    assert asked(method, f"{path}?%24httpMethod=POST", body=False) is Cost.KIN


def test_a_metered_path_without_a_body_is_kin_and_lists_of_what_is_stored_are_free() -> None:
    assert asked("POST", "/v1/responses", body=False) is Cost.KIN
    assert asked("GET", "/v1/messages/batches", body=False) is Cost.FREE
    assert asked("GET", "/v1/chat/completions?limit=5", body=False) is Cost.FREE
    assert asked("OPTIONS", "/v1/responses", body=False) is Cost.FREE


def test_googles_rpc_paths_are_kin() -> None:
    path = "/google.ai.generativelanguage.v1beta.GenerativeService/GenerateContent"
    assert asked("POST", path) is Cost.KIN


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
        assert asked("POST", path) is Cost.KIN


@pytest.mark.parametrize(
    "path",
    [
        "/v1/files%3F/../chat/completions",
        "/v1/files%23/../chat/completions",
        "/v1/files%00/../chat/completions",
        "/v1beta/models/gemini-2.5-pro%00:generateContent",
        "/v1beta/models/gemini-2.5-pro%3F:generateContent",
        "/v1beta/models/gemini-2.5-pro%2523:streamGenerateContent",
        "/v1/chat/completions//..",
        "/v1/chat/completions/.../..",
        "/v1/chat/completions/%20/..",
        "/v1/chat/completions/..;/..",
        "/v1/chat/completions/%2e%2e/..",
        "/v1/chat/completions/%252e%252e/..",
        "/v1/chat/completions/a%5c../..",
    ],
)
def test_a_path_that_leads_to_several_places_is_kin_of_the_dearest(path: str) -> None:
    """Some servers resolve dots before they decode, or merge no slashes, or keep parameters and blanks."""
    assert asked("POST", path) is asked("PUT", path) is Cost.KIN


@pytest.mark.parametrize("path", ["/v1/files", "/v1//files/", "/V1/Files", "/v1/my..file/x", "/v1/files%3Fa"])
def test_an_ordinary_path_leads_to_one_place(path: str) -> None:
    assert not registry.claims(path)


@pytest.mark.parametrize("piece", ["/", "/v1", "/files", "%2F", "/conversations/x/items"])
def test_a_hostile_path_costs_no_more_than_its_length(piece: str) -> None:
    asked("POST", piece * (60_000 // len(piece)) + "x")
