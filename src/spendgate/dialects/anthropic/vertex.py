"""Anthropic on Vertex AI: `POST …/publishers/anthropic/models/MODEL:rawPredict` and `:streamRawPredict`.

The path names the model and the body does not; else the body is that of the messages API. Counting tokens
(`models/count-tokens:rawPredict`) is free.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import quote

from spendgate.dialects.anthropic import request as anthropic_request
from spendgate.dialects.anthropic.messages import AnthropicMessages
from spendgate.dialects.base import NO_HEADERS, RequestFacts
from spendgate.dialects.request import paths
from spendgate.dialects.request.texts import MODEL_CHARACTERS_MAX
from spendgate.errors import RequestError

_CALL = re.compile(r"/publishers/anthropic/models/([^/]+):(rawPredict|streamRawPredict)$", re.IGNORECASE)
_TARGET = re.compile(
    r"([^?]*/publishers/+anthropic/+models/+)[^/?]+((?::|%3[Aa])(?:r|streamR)awPredict/*)(\?.*)?$"
)
_COUNT = "/count-tokens:rawpredict"


class AnthropicVertex(AnthropicMessages):
    """The dialect `anthropic-vertex`."""

    name = "anthropic-vertex"
    title = "Anthropic on Vertex AI"
    provider = "google"
    copied = False
    paths: tuple[str, ...] = (
        "/v1/projects/PROJECT/locations/PLACE/publishers/anthropic/models/MODEL:rawPredict",
        "/v1/projects/PROJECT/locations/PLACE/publishers/anthropic/models/MODEL:streamRawPredict",
    )
    path_marks: tuple[str, ...] = ()
    logged = False
    not_metered: tuple[str, ...] = ()
    path_regex = "/+publishers/+anthropic/+models/+[^/]+:(r|streamR)awPredict"

    def matches(self, method: str, path: str, content_type: str) -> bool:
        free = paths.plain(path).lower().endswith(_COUNT)
        return not free and super().matches(method, path, content_type)

    def read_request(self, body: bytes, path: str, headers: Mapping[str, str] = NO_HEADERS) -> RequestFacts:
        call = _CALL.search(paths.plain(path))
        if call is None or len(call[1]) > MODEL_CHARACTERS_MAX:
            raise RequestError(
                "the path names no model; write …/publishers/anthropic/models/MODEL:rawPredict"
            )
        facts = anthropic_request.read(body, call[1])
        streams = facts.stream or call[2].lower() == "streamrawpredict"
        return replace(facts, stream=streams, model_fixed=_TARGET.match(path) is None)

    def rewrite(
        self, body: bytes, facts: RequestFacts, *, model: str | None, output_cap: int | None, ask_usage: bool
    ) -> bytes:
        """Edit the body's cap; the model stands in the path. Raises RequestError."""
        return anthropic_request.rewrite(body, facts, model=None, output_cap=output_cap)

    def rewrite_path(self, target: str, model: str) -> str | None:
        found = _TARGET.match(target)
        return None if found is None else f"{found[1]}{quote(model, safe='@')}{found[2]}{found[3] or ''}"
