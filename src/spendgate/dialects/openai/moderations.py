"""Moderations: `POST …/moderations`. OpenAI's are free; Mistral's bill the input."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from spendgate.dialects.base import NO_HEADERS, RequestFacts
from spendgate.dialects.openai.embeddings import OpenAIEmbeddings
from spendgate.dialects.request.texts import parse_request, short

FREE = ("omni-moderation", "text-moderation")
"""OpenAI's models (API reference: "The moderation endpoint is free to use")."""


class Moderations(OpenAIEmbeddings):
    """The dialect `moderations`: read and billed as embeddings are, where it is not free."""

    name = "moderations"
    title = "Moderation: free at OpenAI; billed at Mistral"
    operation = "moderation"
    paths: tuple[str, ...] = ("/v1/moderations", "/v1/chat/moderations")
    logged = False
    path_regex = "(/+chat)?/+moderations"

    def read_request(self, body: bytes, path: str, headers: Mapping[str, str] = NO_HEADERS) -> RequestFacts:
        document = parse_request(body)
        model = short(document.get("model"), 256) or FREE[0]
        if model.startswith(FREE):
            return RequestFacts(model=model, stream=False, texts=(), text_bytes=0, output_cap=0, free=True)
        return replace(super().read_request(body, path, headers), output_cap=0)
