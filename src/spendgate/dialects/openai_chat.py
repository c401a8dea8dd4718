"""OpenAI chat completions: `POST …/chat/completions`, also as Azure, Groq, DeepSeek, xAI, OpenRouter, vLLM
and others speak it."""

from __future__ import annotations

from collections.abc import Callable

from spendgate.dialects import jsonbody, openai_request, openai_usage, paths
from spendgate.dialects.base import Reading, Rejection, RequestFacts
from spendgate.dialects.openai_stream import OpenAIStreamMeter


class OpenAIChat:
    """The dialect `openai-chat`."""

    name = "openai-chat"
    path_suffix = "/chat/completions"

    def matches(self, method: str, path: str, content_type: str) -> bool:
        return paths.is_call(method, content_type) and paths.plain(path).endswith("/chat/completions")

    def read_request(self, body: bytes, path: str) -> RequestFacts:
        return openai_request.read(body, paths.plain(path))

    def rewrite(
        self, body: bytes, facts: RequestFacts, *, model: str | None, output_cap: int | None, ask_usage: bool
    ) -> bytes:
        return openai_request.rewrite(body, facts, model=model, output_cap=output_cap, ask_usage=ask_usage)

    def read_usage(self, body: bytes) -> Reading:
        try:
            document = jsonbody.parse(body)
        except jsonbody.NotJson:
            return Reading({}, problem="not_json")
        if not isinstance(document, dict):
            return Reading({}, problem="no_usage")
        return openai_usage.read(document, document.get("usage"))

    def stream_meter(self, *, hide_usage: bool, count: Callable[[str], int]) -> OpenAIStreamMeter:
        return OpenAIStreamMeter(hide_usage=hide_usage, count=count)

    def error_body(self, rejection: Rejection) -> bytes:
        error = {
            "message": rejection.message,
            "type": rejection.type,
            "param": None,
            "code": rejection.code,
            "details": rejection.details,
        }
        return jsonbody.dumps({"error": error}).encode()
