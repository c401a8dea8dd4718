"""Which requests belong to which dialect."""

from __future__ import annotations

import pytest

from spendgate.dialects import registry

JSON = "application/json"


@pytest.mark.parametrize(
    ("method", "path", "content_type", "name"),
    [
        ("POST", "/v1/chat/completions", JSON, "openai-chat"),
        ("POST", "/v1/chat/completions", "application/json; charset=utf-8", "openai-chat"),
        ("POST", "/v1/chat/completions", "", "openai-chat"),
        ("post", "/chat/completions/", JSON, "openai-chat"),
        ("POST", "/openai/v1/chat/completions", JSON, "openai-chat"),
        ("POST", "/v1/chat/complet%69ons", JSON, "openai-chat"),
        ("POST", "/openai/deployments/my-gpt/chat/completions", JSON, "openai-chat"),
        ("POST", "/v1/responses", JSON, "openai-responses"),
        ("POST", "/openai/v1/responses/", JSON, "openai-responses"),
        ("POST", "//v1//responses", JSON, "openai-responses"),
        ("POST", "/v1/responses/resp_1/cancel", JSON, None),
        ("GET", "/v1/responses", "", None),
        ("POST", "/v1/completions", JSON, "openai-completions"),
        ("POST", "/openai/deployments/my-gpt/completions", JSON, "openai-completions"),
        ("POST", "/beta/completions", JSON, "openai-completions"),
        ("POST", "//v1//chat//completions", JSON, "openai-chat"),
        ("POST", "/v1/embeddings", JSON, "openai-embeddings"),
        ("POST", "/openai/deployments/e3/embeddings", JSON, "openai-embeddings"),
        ("POST", "/api/embeddings", JSON, "ollama"),
        ("POST", "/v1/messages", JSON, "anthropic-messages"),
        ("POST", "/anthropic/v1/messages", JSON, "anthropic-messages"),
        ("POST", "/v1/messages/count_tokens", JSON, None),
        ("POST", "/v1/messages/batches", JSON, "anthropic-batches"),
        ("POST", "/v1/messages/batches/b/cancel", JSON, None),
        ("POST", "/v1/responses/compact", JSON, "openai-responses"),
        ("GET", "/v1/chat/completions", "", None),
        ("POST", "/v1/chat/completions", "multipart/form-data; boundary=x", "openai-chat"),
        ("POST", "/v1/files", JSON, None),
        ("POST", "/v1/chat/completions/chatcmpl-1", JSON, None),
    ],
)
def test_a_request_is_found_by_method_path_and_type(
    method: str, path: str, content_type: str, name: str | None
) -> None:
    found = registry.find(method, path, content_type)
    assert (found.name if found else None) == name


def test_every_dialect_is_found_by_its_name() -> None:
    assert [registry.by_name(d.name) for d in registry.DIALECTS] == list(registry.DIALECTS)


def test_an_unknown_name_is_an_error_that_lists_the_known() -> None:
    with pytest.raises(KeyError, match=r"no dialect 'telepathy'.*openai-chat, .*anthropic-messages"):
        registry.by_name("telepathy")


@pytest.mark.parametrize(
    "piece", ["/", "/model/", "/chat", "/api/", "/models/x:", "//model/x", "/converse", "%2F"]
)
def test_a_hostile_path_costs_no_more_than_its_length(piece: str) -> None:
    """A pattern that backtracked over 60 KB would not come back."""
    assert registry.find("POST", piece * (60_000 // len(piece)), JSON) is None
