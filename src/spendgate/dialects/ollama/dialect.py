"""Ollama's own API: `POST …/api/chat`, `/api/generate`, `/api/embed` and `/api/embeddings`. (Its `/v1/…` is
`openai-chat` and its like.)"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from spendgate.dialects.base import NO_HEADERS, Reading, Rejection, RequestFacts
from spendgate.dialects.json_api import JsonApi
from spendgate.dialects.ollama import usage as ollama_usage
from spendgate.dialects.ollama.usage import OllamaStreamMeter
from spendgate.dialects.request import hosted, paths, rewriting, thinking
from spendgate.dialects.request.texts import Texts, model_of, parse_request, positive
from spendgate.dialects.wire import json_edit
from spendgate.dialects.wire import json_read as jsonbody
from spendgate.dialects.wire.json_read import object_of
from spendgate.dialects.wire.traits import UsageFields

MESSAGE_TOKENS = 8
"""Framing of a message: chat templates spend up to seven tokens on role and end marks."""

IMAGE_TOKENS = 4_096
"""A bound for the vision models that Ollama serves; local models differ and are rarely priced."""

_EMBED = re.compile("/api/embed(dings)?$", re.IGNORECASE)


class Ollama(JsonApi):
    """The dialect `ollama`. An answer streams, as lines of JSON, unless the request says `stream: false`."""

    name = "ollama"
    title = "Ollama's own API"
    provider = "ollama"
    copied = True
    paths: tuple[str, ...] = ("/api/chat", "/api/generate", "/api/embed", "/api/embeddings")
    path_marks: tuple[str, ...] = ("/api/",)
    usage_fields: UsageFields = ollama_usage.FIELDS
    usage_events: Mapping[str, str] = MappingProxyType({"": "the line that says `done`"})
    path_regex = "/+api/+(chat|generate|embed(dings)?)"

    def streams(self, media_type: str, asked: bool) -> bool:
        return media_type == "application/x-ndjson"

    def read_request(self, body: bytes, path: str, headers: Mapping[str, str] = NO_HEADERS) -> RequestFacts:
        document = parse_request(body)
        texts = Texts()
        messages = document.get("messages")
        for message in messages if isinstance(messages, list) else [messages]:
            _read_message(texts, message)
        for key in ("prompt", "system", "suffix", "template", "input"):
            value = document.get(key)
            for text in value if isinstance(value, list) else [value]:
                texts.add(text)
        embeds = _EMBED.search(paths.plain(path)) is not None
        _read_images(texts, document)
        context = document.get("context")  # token ids of an earlier answer
        texts.extra_tokens += len(context) if isinstance(context, list) else 0
        if tools := document.get("tools"):
            texts.add(tools)
            texts.needs.add("tools")
        if isinstance(document.get("format"), dict):
            texts.needs.add("json_schema")
        return RequestFacts(
            model=model_of(document),
            stream=not embeds and document.get("stream") is not False,
            output_hidden=thinking.asked(document, thinking.THINK),
            texts=tuple(texts.texts),
            text_bytes=texts.length_bytes,
            extra_input_tokens=texts.extra_tokens,
            output_cap=0 if embeds else positive(object_of(document.get("options")).get("num_predict")),
            needs=frozenset(texts.needs),
            dear_kinds=frozenset(texts.dear_kinds),
            unseen_input=texts.unseen or hosted.runs_tools(tools) or hosted.has_server_keys(document),
        )

    def rewrite(
        self, body: bytes, facts: RequestFacts, *, model: str | None, output_cap: int | None, ask_usage: bool
    ) -> bytes:
        """Edit the body. A cap is written into `options.num_predict`, and only ever lowers the client's own.
        Raises RequestError."""
        changes = rewriting.renamed(facts, model)
        if output_cap is not None and facts.output_cap != 0:
            changes["options"] = rewriting.inside("num_predict", rewriting.lowered(facts, output_cap))
        return json_edit.edit(body, changes) if changes else body

    def read_document(self, document: object) -> Reading:
        return ollama_usage.read(document)

    def stream_meter(self, *, hide_usage: bool, count: Callable[[str], int]) -> OllamaStreamMeter:
        return OllamaStreamMeter(count=count)

    def error_body(self, rejection: Rejection) -> bytes:
        error = {"error": rejection.message, "code": rejection.code, "details": rejection.details}
        return jsonbody.dumps(error).encode()


def _read_message(texts: Texts, message: Any) -> None:
    if not isinstance(message, dict):
        texts.add(message)
        return
    texts.extra_tokens += MESSAGE_TOKENS
    for key in ("content", "thinking", "tool_calls", "tool_name"):
        texts.add(message.get(key))
    _read_images(texts, message)


def _read_images(texts: Texts, holder: jsonbody.JsonObject) -> None:
    images = holder.get("images")
    if isinstance(images, list) and images:
        texts.extra_tokens += IMAGE_TOKENS * len(images)
        texts.needs.add("images")
        texts.dear_kinds.add("input_image")
