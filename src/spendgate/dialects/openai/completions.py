"""OpenAI legacy completions: `POST …/completions`, also as Azure, vLLM and others speak it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from spendgate.dialects.base import NO_HEADERS, Reading, Rejection, RequestFacts
from spendgate.dialects.json_api import JsonApi, openai_error
from spendgate.dialects.openai import request as openai_request
from spendgate.dialects.openai import usage as openai_usage
from spendgate.dialects.openai.stream import OpenAIStreamMeter
from spendgate.dialects.request import fallbacks, hosted, paths, rewriting
from spendgate.dialects.request.texts import Texts, parse_request, positive
from spendgate.dialects.wire import json_edit, json_read
from spendgate.dialects.wire.numbers import truth_of
from spendgate.dialects.wire.traits import UsageFields

PROMPTS_MAX = 2_048
"""More prompts in one request are refused, as in embeddings."""

DEFAULT_CAP = 16
"""`max_tokens` where the client sets none (OpenAI API reference, "Completions")."""

_OPENAI = re.compile(r"^/+v1/+completions$|/openai/", re.IGNORECASE)
"""Where OpenAI, Azure and vLLM serve it; others have no such default."""


class OpenAICompletions(JsonApi):
    """The dialect `openai-completions`. Streams are framed as the chat API's, with `text` for `delta`."""

    name = "openai-completions"
    title = "OpenAI legacy completions; also Azure, vLLM, Mistral FIM"
    provider = "openai"
    copied = True
    operation = "text_completion"
    paths: tuple[str, ...] = ("/v1/completions", "/v1/fim/completions")
    usage_fields: UsageFields = openai_usage.FIELDS
    usage_events: Mapping[str, str] = MappingProxyType({"": "the last chunk, or several"})
    logged = True
    path_regex = "/+completions"

    def matches(self, method: str, path: str, content_type: str) -> bool:
        chat = paths.plain(path).lower().endswith(("/chat/completions", "/agents/completions"))
        return not chat and super().matches(method, path, content_type)

    def read_request(self, body: bytes, path: str, headers: Mapping[str, str] = NO_HEADERS) -> RequestFacts:
        document = parse_request(body)
        place = paths.plain(path)
        deployment = openai_request.deployment(place)
        texts = Texts()
        prompts = _read_prompts(texts, document.get("prompt"))
        texts.add(document.get("suffix"))
        several = fallbacks.asked_at_once(document)
        made = max(positive(document.get("n")) or 1, positive(document.get("best_of")) or 1)
        stream = truth_of(document.get("stream"))
        cap = positive(document.get("max_tokens"))
        options = json_read.object_of(document.get("stream_options"))
        return RequestFacts(
            model=deployment or fallbacks.asked_model(document),
            stream=stream,
            texts=tuple(texts.texts),
            text_bytes=texts.length_bytes,
            extra_input_tokens=texts.extra_tokens,
            output_cap=DEFAULT_CAP if cap is None and _OPENAI.search(place) else cap,
            choices=prompts * min(made, openai_request.CHOICES_MAX),
            user=openai_request.user_of(document),
            usage_hidden=stream and options.get("include_usage") is not True,
            model_fixed=bool(deployment),
            unseen_input=texts.unseen or hosted.has_server_keys(document),
            fallbacks=fallbacks.read(document, deployment or fallbacks.asked_model(document)),
            fallbacks_add=several > 0,
            answers=several,
            routed=fallbacks.is_routed(document, fallbacks.asked_model(document) if not deployment else ""),
        )

    def rewrite(
        self, body: bytes, facts: RequestFacts, *, model: str | None, output_cap: int | None, ask_usage: bool
    ) -> bytes:
        """Edit the body. A cap is written into `max_tokens`, and only ever lowers the client's own.
        Raises RequestError."""
        body = rewriting.narrowed(body, facts, model)
        changes = rewriting.renamed(facts, model)
        if output_cap is not None:
            changes["max_tokens"] = rewriting.lowered(facts, output_cap)
        if ask_usage:
            changes["stream_options"] = openai_request.with_usage
        return json_edit.edit(body, changes) if changes else body

    def read_document(self, document: object) -> Reading:
        if not isinstance(document, dict):
            return Reading({}, problem="no_usage")
        return openai_usage.read(document, document.get("usage"))

    def stream_meter(self, *, hide_usage: bool, count: Callable[[str], int]) -> OpenAIStreamMeter:
        return OpenAIStreamMeter(hide_usage=hide_usage, count=count)

    def error_body(self, rejection: Rejection) -> bytes:
        return openai_error(rejection)


def _read_prompts(texts: Texts, prompt: Any) -> int:
    """Take the prompts. Returns how many there are, at least one."""
    return min(max(read_inputs(texts, prompt), 1), PROMPTS_MAX)


def read_inputs(texts: Texts, value: Any) -> int:
    """Take a text, token ids, or a list of either. Returns how many inputs there are."""
    if not isinstance(value, list):
        texts.add(value)
        return int(value is not None)
    if value and all(type(item) is int for item in value):
        texts.extra_tokens += len(value)
        return 1
    for item in value:
        if isinstance(item, list) and all(type(token) is int for token in item):
            texts.extra_tokens += len(item)
        else:
            hosted.add_unknown(texts, item)
    return len(value)
