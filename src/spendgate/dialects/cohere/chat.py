"""Cohere chat, version 2: `POST …/v2/chat`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from spendgate.dialects.base import NO_HEADERS, Reading, Rejection, RequestFacts
from spendgate.dialects.cohere import request
from spendgate.dialects.cohere import usage as cohere_usage
from spendgate.dialects.cohere.stream import CohereStreamMeter
from spendgate.dialects.json_api import JsonApi
from spendgate.dialects.wire import json_read
from spendgate.dialects.wire.traits import UsageFields


class CohereApi(JsonApi):
    """A dialect of Cohere's."""

    provider = "cohere"
    numbers_retries = False

    def error_body(self, rejection: Rejection) -> bytes:
        error = {"message": rejection.message, "code": rejection.code, "details": rejection.details}
        return json_read.dumps(error).encode()


class CohereChat(CohereApi):
    """The dialect `cohere-chat`. Answers do not name their model."""

    name = "cohere-chat"
    title = "Cohere chat, version 2"
    paths: tuple[str, ...] = ("/v2/chat",)
    path_marks: tuple[str, ...] = ("/v2/",)
    usage_fields: UsageFields = cohere_usage.FIELDS
    usage_events: Mapping[str, str] = MappingProxyType({"delta": "`message-end`"})
    path_regex = "/+v2/+chat"

    def read_request(self, body: bytes, path: str, headers: Mapping[str, str] = NO_HEADERS) -> RequestFacts:
        return request.read(body)

    def rewrite(
        self, body: bytes, facts: RequestFacts, *, model: str | None, output_cap: int | None, ask_usage: bool
    ) -> bytes:
        """See `cohere.request.rewrite`. Streams always carry usage: `ask_usage` changes nothing."""
        return request.rewrite(body, facts, model=model, output_cap=output_cap)

    def read_document(self, document: object) -> Reading:
        return cohere_usage.read(document.get("usage") if isinstance(document, dict) else None)

    def stream_meter(self, *, hide_usage: bool, count: Callable[[str], int]) -> CohereStreamMeter:
        return CohereStreamMeter(count=count)
