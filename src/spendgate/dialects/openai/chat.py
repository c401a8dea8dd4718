"""OpenAI chat completions: `POST …/chat/completions`, also as Azure, Groq, DeepSeek, xAI, OpenRouter, vLLM
and others speak it; Mistral's agents (`…/agents/completions`), and Perplexity's asynchronous requests
(`…/async/chat/completions`), which are read in their envelope."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType

from spendgate.dialects.base import NO_HEADERS, Reading, Rejection, RequestFacts
from spendgate.dialects.json_api import JsonApi, openai_error
from spendgate.dialects.openai import request as openai_request
from spendgate.dialects.openai import usage as openai_usage
from spendgate.dialects.openai.stream import ChatTerminator, OpenAIStreamMeter
from spendgate.dialects.request import paths
from spendgate.dialects.request.texts import MODEL_CHARACTERS_MAX, parse_request, short
from spendgate.dialects.wire import json_read
from spendgate.dialects.wire.traits import UsageFields

_ASYNC = "/async/chat/completions"
_TAKEN_ON = ("CREATED", "IN_PROGRESS")
"""The status of a request that Perplexity answers later."""


class OpenAIChat(JsonApi):
    """The dialect `openai-chat`."""

    name = "openai-chat"
    title = "OpenAI chat; also Azure deployments, Groq, DeepSeek, xAI, Mistral, Together, OpenRouter, vLLM"
    provider = "openai"
    copied = True
    paths: tuple[str, ...] = ("/v1/chat/completions", "/v1/agents/completions", "/async/chat/completions")
    usage_fields: UsageFields = openai_usage.FIELDS
    usage_events: Mapping[str, str] = MappingProxyType({"": "the last chunk, or several"})
    logged = True
    not_metered: tuple[str, ...] = (
        "documents that OpenRouter's parser reads for the model, where it does not tell its cost (they are held for)",
    )
    path_regex = "/+(chat|agents)/+completions"

    def read_request(self, body: bytes, path: str, headers: Mapping[str, str] = NO_HEADERS) -> RequestFacts:
        place = paths.plain(path)
        if place.lower().endswith(_ASYNC) and isinstance(inner := parse_request(body).get("request"), dict):
            facts = openai_request.read(json_read.dumps(inner).encode(), place)
            return replace(facts, stream=False, usage_hidden=False, body_fixed=True, fixed_because="dialect")
        return openai_request.read(body, place)

    def rewrite(
        self, body: bytes, facts: RequestFacts, *, model: str | None, output_cap: int | None, ask_usage: bool
    ) -> bytes:
        return openai_request.rewrite(body, facts, model=model, output_cap=output_cap, ask_usage=ask_usage)

    def read_document(self, document: object) -> Reading:
        if isinstance(document, list):  # LiteLLM's, of several models
            return openai_usage.joined([self._read_one(each) for each in document])
        return self._read_one(document)

    def _read_one(self, document: object) -> Reading:
        if not isinstance(document, dict):
            return Reading({}, problem="no_usage")
        if (
            document.get("usage") is None
            and document.get("status") in _TAKEN_ON
            and not document.get("choices")
        ):
            model = short(document.get("model"), MODEL_CHARACTERS_MAX)
            return Reading({}, model, "deferred")
        inner = document.get("response")
        if document.get("usage") is None and isinstance(inner, dict) and "choices" not in document:
            document = {"model": document.get("model"), **inner}  # what was answered later, in its envelope
        return openai_usage.read(document, document.get("usage"))

    def stream_meter(self, *, hide_usage: bool, count: Callable[[str], int]) -> OpenAIStreamMeter:
        return OpenAIStreamMeter(hide_usage=hide_usage, count=count)

    def stream_terminator(self) -> ChatTerminator:
        return ChatTerminator()

    def error_body(self, rejection: Rejection) -> bytes:
        return openai_error(rejection)
