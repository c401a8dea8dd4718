"""Cohere embed and rerank: `POST …/v1/embed`, `/v2/embed`, `/v1/rerank`, `/v2/rerank`; also the rerank of
Jina, Voyage, vLLM and others, who count tokens in `usage`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from spendgate.dialects.base import NO_HEADERS, Reading, RequestFacts
from spendgate.dialects.cohere import usage as cohere_usage
from spendgate.dialects.cohere.chat import CohereApi
from spendgate.dialects.cohere.stream import CohereStreamMeter
from spendgate.dialects.openai import usage as openai_usage
from spendgate.dialects.request import hosted
from spendgate.dialects.request.reranks import search_units
from spendgate.dialects.request.texts import Texts, model_of, parse_request
from spendgate.dialects.wire import json_edit, json_read
from spendgate.dialects.wire.traits import UsageFields, merged

EMBED_MODEL = "embed-v4.0"
RERANK_MODEL = "rerank-v3.5"
"""What serves a request that names no model (Cohere API reference)."""

IMAGE_TOKENS = 20_000
"""The most tokens of an image to embed: see `cohere_request.IMAGE_TOKENS`."""


class _Lists(CohereApi):
    """No stream and no output: vectors, or a ranking."""

    def streams(self, media_type: str, asked: bool) -> bool:
        return False

    def rewrite(
        self, body: bytes, facts: RequestFacts, *, model: str | None, output_cap: int | None, ask_usage: bool
    ) -> bytes:
        """Edit the model: the only thing there is to change. Raises RequestError."""
        return body if model is None else json_edit.edit(body, {"model": json_read.dumps(model).encode()})

    def read_document(self, document: object) -> Reading:
        if not isinstance(document, dict):
            return Reading({}, problem="no_usage")
        if document.get("meta") is None:  # not Cohere's own
            return openai_usage.read_total(document)
        return cohere_usage.read(document["meta"])

    def stream_meter(self, *, hide_usage: bool, count: Callable[[str], int]) -> CohereStreamMeter:
        """None is ever asked for (`streams`)."""
        return CohereStreamMeter(count=count)


class CohereEmbed(_Lists):
    """The dialect `cohere-embed`."""

    name = "cohere-embed"
    title = "Cohere embeddings"
    operation = "embeddings"
    paths: tuple[str, ...] = ("/v2/embed", "/v1/embed")
    usage_fields: UsageFields = cohere_usage.META_FIELDS
    path_regex = "/+v[12]/+embed"

    def read_request(self, body: bytes, path: str, headers: Mapping[str, str] = NO_HEADERS) -> RequestFacts:
        document = parse_request(body)
        texts = Texts()
        for text in _items(document.get("texts")):
            texts.add(text)
        images = len(_items(document.get("images")))
        for item in _items(document.get("inputs")):
            content = item.get("content") if isinstance(item, dict) else item
            for part in content if isinstance(content, list) else [content]:
                if isinstance(part, dict) and part.get("type") == "image_url":
                    images += 1
                else:
                    hosted.add_unknown(texts, part)
        texts.add_image(images, IMAGE_TOKENS) if images else None
        return _facts(document, texts, EMBED_MODEL, {"images": images} if images else {})


class CohereRerank(_Lists):
    """The dialect `cohere-rerank`."""

    name = "cohere-rerank"
    title = "Cohere reranking; also Jina, Voyage, vLLM"
    operation = "rerank"
    paths: tuple[str, ...] = ("/v2/rerank", "/v1/rerank", "/rerank")
    usage_fields: UsageFields = merged(cohere_usage.META_FIELDS, openai_usage.TOTAL_FIELDS)
    path_regex = "/+(v[12]/+)?rerank"

    def read_request(self, body: bytes, path: str, headers: Mapping[str, str] = NO_HEADERS) -> RequestFacts:
        document = parse_request(body)
        texts = Texts()
        texts.add(document.get("query"))
        units = search_units(texts, document.get("documents"))
        return _facts(document, texts, RERANK_MODEL, {"searches": units})


def _items(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _facts(
    document: json_read.JsonObject, texts: Texts, default_model: str, fees: dict[str, int]
) -> RequestFacts:
    return RequestFacts(
        model=model_of(document) if document.get("model") else default_model,
        stream=False,
        texts=tuple(texts.texts),
        text_bytes=texts.length_bytes,
        extra_input_tokens=texts.extra_tokens,
        output_cap=0,
        needs=frozenset(texts.needs),
        dear_kinds=frozenset(texts.dear_kinds),
        fee_kinds=fees,
        unseen_input=texts.unseen,
    )
