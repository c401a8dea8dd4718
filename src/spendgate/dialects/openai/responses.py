"""OpenAI Responses: `POST …/responses`, also as Azure, DeepSeek, Bedrock and others speak it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from spendgate.dialects.base import NO_HEADERS, Reading, Rejection, RequestFacts
from spendgate.dialects.json_api import JsonApi, openai_error
from spendgate.dialects.openai import responses_request, responses_usage
from spendgate.dialects.openai.responses_stream import ResponsesStreamMeter
from spendgate.dialects.wire.traits import UsageFields


class OpenAIResponses(JsonApi):
    """The dialect `openai-responses`. An answer that is made in the background has no usage yet: it is
    charged its estimate."""

    name = "openai-responses"
    title = "OpenAI Responses; also Azure, DeepSeek"
    provider = "openai"
    copied = True
    paths: tuple[str, ...] = ("/v1/responses", "/v1/responses/compact")
    usage_fields: UsageFields = responses_usage.FIELDS
    usage_events: Mapping[str, str] = MappingProxyType({"response": "`response.completed` or its like"})
    logged = True
    usage_closes = True
    not_metered: tuple[str, ...] = (
        "storage of files and vector stores",
        "a container that is used again within its session counts as one of its own",
    )
    path_regex = "/+responses(/+compact)?"

    def read_request(self, body: bytes, path: str, headers: Mapping[str, str] = NO_HEADERS) -> RequestFacts:
        return responses_request.read(body)

    def rewrite(
        self, body: bytes, facts: RequestFacts, *, model: str | None, output_cap: int | None, ask_usage: bool
    ) -> bytes:
        """See `responses_request.rewrite`. Streams always carry usage: `ask_usage` changes nothing."""
        return responses_request.rewrite(body, facts, model=model, output_cap=output_cap)

    def read_document(self, document: object) -> Reading:
        if not isinstance(document, dict):
            return Reading({}, problem="no_usage")
        return responses_usage.read(document)

    def stream_meter(self, *, hide_usage: bool, count: Callable[[str], int]) -> ResponsesStreamMeter:
        return ResponsesStreamMeter(count=count)

    def error_body(self, rejection: Rejection) -> bytes:
        return openai_error(rejection)
