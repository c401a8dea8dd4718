"""Bedrock Converse: `POST /model/MODEL/converse` and `/converse-stream`."""

from __future__ import annotations

from collections.abc import Callable

from spendgate.dialects import bedrock_request, bedrock_usage, jsonbody, paths
from spendgate.dialects.base import Reading, Rejection, RequestFacts
from spendgate.dialects.bedrock_stream import BedrockStreamMeter
from spendgate.dialects.json_api import JsonApi

_EXCEPTIONS = {
    400: "ValidationException",
    402: "ServiceQuotaExceededException",
    403: "AccessDeniedException",
    413: "ValidationException",
    429: "ThrottlingException",
}
"""The exception that an SDK raises, by HTTP status (Bedrock runtime API, "Errors")."""


class BedrockConverse(JsonApi):
    """The dialect `bedrock-converse`. The client signs the request (SigV4), so nothing of it is rewritten;
    answers do not name their model."""

    name = "bedrock-converse"
    path_regex = "/+converse(-stream)?"

    def matches(self, method: str, path: str, content_type: str) -> bool:
        return "/model/" in paths.plain(path) and super().matches(method, path, content_type)

    def streams(self, media_type: str, asked: bool) -> bool:
        return media_type == "application/vnd.amazon.eventstream"

    def read_request(self, body: bytes, path: str) -> RequestFacts:
        return bedrock_request.read(body, paths.plain(path))

    def rewrite(
        self, body: bytes, facts: RequestFacts, *, model: str | None, output_cap: int | None, ask_usage: bool
    ) -> bytes:
        """The body as it is: it is signed."""
        return body

    def read_document(self, document: object) -> Reading:
        return bedrock_usage.read(document.get("usage") if isinstance(document, dict) else None)

    def stream_meter(self, *, hide_usage: bool, count: Callable[[str], int]) -> BedrockStreamMeter:
        return BedrockStreamMeter(count=count)

    def error_body(self, rejection: Rejection) -> bytes:
        error = {"message": rejection.message, "code": rejection.code, "details": rejection.details}
        return jsonbody.dumps(error).encode()

    def error_headers(self, rejection: Rejection) -> tuple[tuple[str, str], ...]:
        return (("x-amzn-errortype", _EXCEPTIONS.get(rejection.status, "ServiceUnavailableException")),)
