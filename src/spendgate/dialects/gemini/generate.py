"""Gemini: `POST …/models/MODEL:generateContent` and `:streamGenerateContent`, also as Vertex AI speaks it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from spendgate.dialects.base import NO_HEADERS, Reading, Rejection, RequestFacts
from spendgate.dialects.gemini import request as gemini_request
from spendgate.dialects.gemini import usage as gemini_usage
from spendgate.dialects.gemini.stream import GeminiStreamMeter
from spendgate.dialects.json_api import EVENT_STREAM, JsonApi
from spendgate.dialects.request import paths
from spendgate.dialects.request.texts import TIER_CHARACTERS_MAX, short
from spendgate.dialects.wire import json_read
from spendgate.dialects.wire.spelling import GOOGLE
from spendgate.dialects.wire.traits import UsageFields

_STATUSES = {
    400: "INVALID_ARGUMENT",
    402: "FAILED_PRECONDITION",
    403: "PERMISSION_DENIED",
    413: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
}
"""google.rpc.Code by HTTP status."""


class Gemini(JsonApi):
    """The dialect `gemini`. The path names the model; a tuned model's endpoint cannot be changed."""

    name = "gemini"
    title = "Gemini, Vertex AI"
    provider = "google"
    operation = "generate_content"
    paths: tuple[str, ...] = (
        "/v1beta/models/MODEL:generateContent",
        "/v1beta/models/MODEL:streamGenerateContent",
    )
    path_marks: tuple[str, ...] = ("/v1beta/", "/models/")
    usage_fields: UsageFields = gemini_usage.FIELDS
    usage_events: Mapping[str, str] = MappingProxyType({"": "every chunk, laid over each other"})
    logged = True
    spelling = GOOGLE
    not_metered: tuple[str, ...] = ("storage of cached contents by the hour",)
    path_regex = ":(g|streamG)enerateContent"

    def streams(self, media_type: str, asked: bool) -> bool:
        return media_type == EVENT_STREAM or (asked and media_type == "application/json")

    def read_request(self, body: bytes, path: str, headers: Mapping[str, str] = NO_HEADERS) -> RequestFacts:
        return gemini_request.read(body, paths.plain(path), fixed=gemini_request.is_fixed(path))

    def rewrite(
        self, body: bytes, facts: RequestFacts, *, model: str | None, output_cap: int | None, ask_usage: bool
    ) -> bytes:
        """See `gemini_request.rewrite`. Answers always carry usage: `ask_usage` changes nothing."""
        return gemini_request.rewrite(body, facts, output_cap=output_cap)

    def rewrite_path(self, target: str, model: str) -> str | None:
        return gemini_request.rewrite_path(target, model)

    def read_document(self, document: object) -> Reading:
        """A list is a streamed answer that was collected: its chunks' usage is cumulative."""
        usage: object = None
        model, fees = "", dict[str, int]()
        for chunk in document if isinstance(document, list) else [document]:
            if not isinstance(chunk, dict):
                continue
            model = gemini_usage.model_of(chunk) or model
            for kind, n in gemini_usage.fees_of(chunk, model).items():
                fees[kind] = max(fees.get(kind, 0), n)
            latest = chunk.get("usageMetadata")
            if isinstance(usage, dict) and isinstance(latest, dict):
                gemini_usage.lay_over(usage, latest)
            else:
                usage = dict(latest) if isinstance(latest, dict) else latest or usage
        return gemini_usage.read(model, usage, fees)

    def served_tier(self, headers: Mapping[str, str]) -> str:
        return short(headers.get("x-gemini-service-tier"), TIER_CHARACTERS_MAX)

    def stream_meter(self, *, hide_usage: bool, count: Callable[[str], int]) -> GeminiStreamMeter:
        return GeminiStreamMeter(count=count)

    def error_body(self, rejection: Rejection) -> bytes:
        return google_error(rejection)


def _status(rejection: Rejection) -> str:
    """The google.rpc.Code; a budget is no fault of the request's form, whatever HTTP status it is told with."""
    if rejection.status == 400 and rejection.type == "budget_exceeded":
        return "FAILED_PRECONDITION"
    return _STATUSES.get(rejection.status, "UNKNOWN")


def google_error(rejection: Rejection) -> bytes:
    """A refusal as google.rpc's status, which Google's SDKs raise as their own exception."""
    info = {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": rejection.code.upper(),
        "domain": "spendgate",
        "metadata": {k: f"{v}" for k, v in rejection.details.items() if v is not None},
    }
    error = {
        "code": rejection.status,
        "message": rejection.message,
        "status": _status(rejection),
        "details": [info],
    }
    return json_read.dumps({"error": error}).encode()
