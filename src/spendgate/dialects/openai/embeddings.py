"""OpenAI embeddings: `POST …/embeddings`, also as Azure, Mistral, vLLM and others speak it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from spendgate.dialects.base import NO_HEADERS, Reading, Rejection, RequestFacts
from spendgate.dialects.json_api import JsonApi, openai_error
from spendgate.dialects.openai import request as openai_request
from spendgate.dialects.openai import usage
from spendgate.dialects.openai.completions import read_inputs
from spendgate.dialects.openai.stream import OpenAIStreamMeter
from spendgate.dialects.request import fallbacks, paths, rewriting
from spendgate.dialects.request.texts import Texts, parse_request
from spendgate.dialects.wire import json_edit, json_read
from spendgate.dialects.wire.traits import UsageFields


class OpenAIEmbeddings(JsonApi):
    """The dialect `openai-embeddings`. There is no output, and no stream."""

    name = "openai-embeddings"
    title = "OpenAI embeddings; also Azure, Mistral, vLLM"
    provider = "openai"
    copied = True
    operation = "embeddings"
    paths: tuple[str, ...] = ("/v1/embeddings",)
    usage_fields: UsageFields = usage.TOTAL_FIELDS
    logged = True
    path_regex = "/+embeddings"

    def matches(self, method: str, path: str, content_type: str) -> bool:
        ollama = re.search("/api/+embeddings$", paths.plain(path), re.IGNORECASE)
        return ollama is None and super().matches(method, path, content_type)

    def streams(self, media_type: str, asked: bool) -> bool:
        return False

    def read_request(self, body: bytes, path: str, headers: Mapping[str, str] = NO_HEADERS) -> RequestFacts:
        document = parse_request(body)
        deployment = openai_request.deployment(paths.plain(path))
        texts = Texts()
        read_inputs(texts, document.get("input"))
        model = deployment or fallbacks.asked_model(document)
        several = fallbacks.asked_at_once(document)
        return RequestFacts(
            model=model,
            stream=False,
            texts=tuple(texts.texts),
            text_bytes=texts.length_bytes,
            extra_input_tokens=texts.extra_tokens,
            output_cap=0,
            user=openai_request.user_of(document),
            model_fixed=bool(deployment),
            unseen_input=texts.unseen,
            dear_kinds=frozenset(texts.dear_kinds),
            fallbacks=fallbacks.read(document, model),
            fallbacks_add=several > 0,
            answers=several,
        )

    def rewrite(
        self, body: bytes, facts: RequestFacts, *, model: str | None, output_cap: int | None, ask_usage: bool
    ) -> bytes:
        """Edit the model: the only thing there is to change. Raises RequestError."""
        if model is None or facts.model_fixed:
            return body
        body = rewriting.narrowed(body, facts, model)
        return json_edit.edit(body, {"model": json_read.dumps(model).encode()})

    def read_document(self, document: object) -> Reading:
        if not isinstance(document, dict):
            return Reading({}, problem="no_usage")
        return usage.read_total(document)

    def stream_meter(self, *, hide_usage: bool, count: Callable[[str], int]) -> OpenAIStreamMeter:
        """None is ever asked for (`streams`)."""
        return OpenAIStreamMeter(hide_usage=hide_usage, count=count)

    def error_body(self, rejection: Rejection) -> bytes:
        return openai_error(rejection)
