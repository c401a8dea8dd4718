"""OpenAI chat completions: `POST …/chat/completions`, also as Azure, Groq, DeepSeek, xAI, OpenRouter, vLLM
and others speak it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from spendgate.dialects import openai_request, openai_usage, paths
from spendgate.dialects.base import NO_HEADERS, Reading, Rejection, RequestFacts
from spendgate.dialects.json_api import JsonApi, openai_error
from spendgate.dialects.openai_stream import OpenAIStreamMeter


class OpenAIChat(JsonApi):
    """The dialect `openai-chat`."""

    name = "openai-chat"
    path_regex = "/+chat/+completions"

    def read_request(self, body: bytes, path: str, headers: Mapping[str, str] = NO_HEADERS) -> RequestFacts:
        return openai_request.read(body, paths.plain(path))

    def rewrite(
        self, body: bytes, facts: RequestFacts, *, model: str | None, output_cap: int | None, ask_usage: bool
    ) -> bytes:
        return openai_request.rewrite(body, facts, model=model, output_cap=output_cap, ask_usage=ask_usage)

    def read_document(self, document: object) -> Reading:
        if not isinstance(document, dict):
            return Reading({}, problem="no_usage")
        return openai_usage.read(document, document.get("usage"))

    def stream_meter(self, *, hide_usage: bool, count: Callable[[str], int]) -> OpenAIStreamMeter:
        return OpenAIStreamMeter(hide_usage=hide_usage, count=count)

    def error_body(self, rejection: Rejection) -> bytes:
        return openai_error(rejection)
