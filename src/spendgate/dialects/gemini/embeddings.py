"""Gemini embeddings: `POST …/models/MODEL:embedContent` and `:batchEmbedContents`, also as Vertex AI speaks it.

Newer models tell `usageMetadata`; `gemini-embedding-001` tells nothing: its estimate is charged.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from spendgate.dialects.base import NO_HEADERS, RequestFacts
from spendgate.dialects.gemini import request as gemini_request
from spendgate.dialects.gemini.generate import Gemini
from spendgate.dialects.gemini.stream import GeminiStreamMeter
from spendgate.dialects.request import paths
from spendgate.dialects.request.texts import MODEL_CHARACTERS_MAX, Texts, parse_request
from spendgate.dialects.wire.spelling import GOOGLE
from spendgate.errors import RequestError

_CALL = re.compile(r"/([^/]+):(embedContent|batchEmbedContents)$", re.IGNORECASE)


class GeminiEmbeddings(Gemini):
    """The dialect `gemini-embeddings`. A batch names its model in its parts too, so it is never changed."""

    name = "gemini-embeddings"
    title = "Gemini embeddings"
    operation = "embeddings"
    paths: tuple[str, ...] = ("/v1beta/models/MODEL:embedContent", "/v1beta/models/MODEL:batchEmbedContents")
    path_marks: tuple[str, ...] = ()
    usage_events: Mapping[str, str] = NO_HEADERS
    logged = False
    not_metered: tuple[str, ...] = ()
    path_regex = ":(embedContent|batchEmbedContents)"

    def streams(self, media_type: str, asked: bool) -> bool:
        return False

    def read_request(self, body: bytes, path: str, headers: Mapping[str, str] = NO_HEADERS) -> RequestFacts:
        call = _CALL.search(paths.plain(path))
        if call is None or len(call[1]) > MODEL_CHARACTERS_MAX:
            raise RequestError("the path names no model; write …/models/MODEL:embedContent")
        document = parse_request(body, GOOGLE)
        texts = Texts()
        reader = gemini_request.Reader(texts)
        parts = document.get("requests")
        for part in parts if isinstance(parts, list) else [document]:
            reader.read_content(part.get("content") if isinstance(part, dict) else part)
        return RequestFacts(
            model=call[1],
            stream=False,
            texts=tuple(texts.texts),
            text_bytes=texts.length_bytes,
            extra_input_tokens=texts.extra_tokens,
            output_cap=0,
            needs=frozenset(texts.needs),
            model_fixed=True,
            dear_kinds=frozenset(texts.dear_kinds),
            unseen_input=texts.unseen,
        )

    def rewrite(
        self, body: bytes, facts: RequestFacts, *, model: str | None, output_cap: int | None, ask_usage: bool
    ) -> bytes:
        """There is nothing to change."""
        return body

    def stream_meter(self, *, hide_usage: bool, count: Callable[[str], int]) -> GeminiStreamMeter:
        """None is ever asked for (`streams`)."""
        return GeminiStreamMeter(count=count)
