"""What Bedrock's dialects have in common: paths that name the model, requests that are signed, its errors."""

from __future__ import annotations

from collections.abc import Mapping

from spendgate.dialects.base import Rejection, RequestFacts
from spendgate.dialects.json_api import JsonApi
from spendgate.dialects.request import paths
from spendgate.dialects.request.texts import TIER_CHARACTERS_MAX, short
from spendgate.dialects.wire import json_read

EVENT_STREAM = "application/vnd.amazon.eventstream"

_EXCEPTIONS = {
    400: "ServiceQuotaExceededException",
    402: "ServiceQuotaExceededException",
    403: "AccessDeniedException",
    413: "ValidationException",
    429: "ThrottlingException",
}
"""The exception that an SDK raises, by HTTP status (Bedrock runtime API, "Errors")."""


_TIER, _LATENCY = "x-amzn-bedrock-service-tier", "x-amzn-bedrock-performanceconfig-latency"


def tier_of(headers: Mapping[str, str]) -> str:
    """The tier that the headers of an invocation ask for, or that those of its answer tell; `` where they do not."""
    if headers.get(_LATENCY) == OPTIMIZED:
        return OPTIMIZED
    return short(headers.get(_TIER), TIER_CHARACTERS_MAX)


OPTIMIZED = "optimized"
"""The word for Bedrock's latency-optimised inference, a tier of its own."""


class BedrockApi(JsonApi):
    """A dialect of Bedrock's. The client signs the request (SigV4), so nothing of it is rewritten."""

    provider = "aws"
    not_metered: tuple[str, ...] = (
        "a guardrail's checks where the request asks for no trace (they are held for)",
        "prompt routing (1 USD a thousand requests)",
    )

    def matches(self, method: str, path: str, content_type: str) -> bool:
        return "/model/" in paths.plain(path).lower() and super().matches(method, path, content_type)

    def streams(self, media_type: str, asked: bool) -> bool:
        return media_type == EVENT_STREAM

    def served_tier(self, headers: Mapping[str, str]) -> str:
        return tier_of(headers)

    def rewrite(
        self, body: bytes, facts: RequestFacts, *, model: str | None, output_cap: int | None, ask_usage: bool
    ) -> bytes:
        """The body as it is: it is signed."""
        return body

    def error_body(self, rejection: Rejection) -> bytes:
        error = {"message": rejection.message, "code": rejection.code, "details": rejection.details}
        return json_read.dumps(error).encode()

    def error_headers(self, rejection: Rejection) -> tuple[tuple[str, str], ...]:
        return (("x-amzn-errortype", _EXCEPTIONS.get(rejection.status, "ServiceUnavailableException")),)
