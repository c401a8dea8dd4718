"""Cohere chat and generation, version 1: `POST …/v1/chat` and `…/v1/generate`. Streams are lines of JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from spendgate.dialects.base import NO_HEADERS, Reading, RequestFacts
from spendgate.dialects.cohere import request as cohere_request
from spendgate.dialects.cohere import usage as cohere_usage
from spendgate.dialects.cohere.chat import CohereApi
from spendgate.dialects.request.texts import Texts, model_of, parse_request, positive
from spendgate.dialects.response.meters import ObjectMeter
from spendgate.dialects.wire.json_read import JsonObject, object_of
from spendgate.dialects.wire.numbers import truth_of
from spendgate.dialects.wire.traits import UsageFields

DEFAULT_MODEL = "command-a-03-2025"
"""What serves a request that names no model (Cohere API reference, "Chat", version 1)."""
GENERATIONS_MAX = 5
"""Cohere refuses more `num_generations`."""
_STREAMS = ("application/stream+json", "application/x-ndjson")


class CohereV1(CohereApi):
    """The dialect `cohere-v1`. Answers do not name their model."""

    name = "cohere-v1"
    title = "Cohere chat and generation, version 1"
    paths: tuple[str, ...] = ("/v1/chat", "/v1/generate")
    usage_fields: UsageFields = cohere_usage.META_FIELDS
    usage_events: Mapping[str, str] = MappingProxyType({"response": "`stream-end`"})
    path_regex = "/+v1/+(chat|generate)"

    def streams(self, media_type: str, asked: bool) -> bool:
        return media_type in _STREAMS

    def read_request(self, body: bytes, path: str, headers: Mapping[str, str] = NO_HEADERS) -> RequestFacts:
        document = parse_request(body)
        texts = Texts()
        for key in ("message", "preamble", "prompt"):
            texts.add(document.get(key))
        for key in ("chat_history", "documents", "tool_results"):
            items = document.get(key)
            for item in items if isinstance(items, list) else [items]:
                texts.add(item)
        if tools := document.get("tools"):
            texts.add(tools)
            texts.needs.add("tools")
        return RequestFacts(
            model=model_of(document) if document.get("model") else DEFAULT_MODEL,
            stream=truth_of(document.get("stream")),
            texts=tuple(texts.texts),
            text_bytes=texts.length_bytes,
            extra_input_tokens=texts.extra_tokens + cohere_request.MESSAGE_TOKENS,
            output_cap=positive(document.get("max_tokens")),
            choices=min(positive(document.get("num_generations")) or 1, GENERATIONS_MAX),
            needs=frozenset(texts.needs),
            unseen_input=bool(document.get("connectors") or document.get("conversation_id")),
        )

    def rewrite(
        self, body: bytes, facts: RequestFacts, *, model: str | None, output_cap: int | None, ask_usage: bool
    ) -> bytes:
        """See `cohere_request.rewrite`. Streams always carry usage: `ask_usage` changes nothing."""
        return cohere_request.rewrite(body, facts, model=model, output_cap=output_cap)

    def read_document(self, document: object) -> Reading:
        return cohere_usage.read(document.get("meta") if isinstance(document, dict) else None)

    def stream_meter(self, *, hide_usage: bool, count: Callable[[str], int]) -> CohereV1StreamMeter:
        return CohereV1StreamMeter(count=count)


class CohereV1StreamMeter(ObjectMeter):
    """The last object (`stream-end`) holds the whole response."""

    def take(self, event: JsonObject) -> None:
        if event.get("event_type") == "stream-end" or event.get("is_finished") is True:
            self._reading = cohere_usage.read(object_of(event.get("response")).get("meta"))
            failure = str(event.get("finish_reason", "")).startswith("ERROR")
            self._failed = self._failed or (failure and self._reading.problem is not None)
        else:
            self._add(event.get("text"))
