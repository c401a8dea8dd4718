"""Cohere chat and generation, version 1: `POST …/v1/chat` and `…/v1/generate`. Streams are lines of JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from spendgate.dialects import cohere_request, cohere_usage, frames, jsonbody
from spendgate.dialects.base import NO_HEADERS, Reading, RequestFacts
from spendgate.dialects.cohere import CohereApi
from spendgate.dialects.jsonbody import object_of
from spendgate.dialects.streamed import StreamedTokens
from spendgate.dialects.texts import Texts, model_of, parse_request, positive
from spendgate.usage import Usage

DEFAULT_MODEL = "command-a-03-2025"
"""What serves a request that names no model (Cohere API reference, "Chat", version 1)."""
GENERATIONS_MAX = 5
"""Cohere refuses more `num_generations`."""
_STREAMS = ("application/stream+json", "application/x-ndjson")


class CohereV1(CohereApi):
    """The dialect `cohere-v1`. Answers do not name their model."""

    name = "cohere-v1"
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
            stream=document.get("stream") is True,
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


class CohereV1StreamMeter:
    """Meters one stream of JSON lines. The last one (`stream-end`) holds the whole response; nothing is ever
    taken out."""

    def __init__(self, *, count: Callable[[str], int]) -> None:
        self._framer = frames.Framer()
        self._tokens = StreamedTokens(count)
        self._reading: Reading | None = None
        self._failed = False
        self._unread = ""

    def feed(self, piece: bytes, end: bool) -> bytes | None:
        for raw in self._framer.feed(piece):
            if raw is None:
                self._unread = "truncated"
            else:
                self._read(raw)
        return None

    @property
    def complete(self) -> bool:
        return self._reading is not None

    @property
    def failed(self) -> bool:
        return self._failed

    def result(self) -> Reading:
        return self._reading or Reading({}, problem=self._unread or "truncated")

    def partial(self) -> tuple[Usage, int]:
        return dict(self._reading.usage) if self._reading else {}, self._tokens.total

    def _read(self, raw: bytes) -> None:
        try:
            event: Any = object_of(jsonbody.parse(raw))
        except jsonbody.NotJson:
            self._unread = self._unread or "not_json"
            return
        if event.get("event_type") == "stream-end" or event.get("is_finished") is True:
            self._reading = cohere_usage.read(object_of(event.get("response")).get("meta"))
            failure = str(event.get("finish_reason", "")).startswith("ERROR")
            self._failed = self._failed or (failure and self._reading.problem is not None)
        elif (text := event.get("text")) and isinstance(text, str):
            self._tokens.add(text)
