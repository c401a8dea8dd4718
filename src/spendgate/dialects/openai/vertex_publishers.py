"""Other publishers' models on Vertex AI: `POST …/publishers/mistralai/models/MODEL:rawPredict` and `:streamRawPredict`
(also meta's, ai21's, …). The body is that of the publisher's own API, mostly OpenAI's chat; the path names the model.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from spendgate.dialects.base import NO_HEADERS, RequestFacts
from spendgate.dialects.openai import request as openai_request
from spendgate.dialects.openai.chat import OpenAIChat
from spendgate.dialects.request import hosted, paths
from spendgate.dialects.request.texts import MODEL_CHARACTERS_MAX, Texts, parse_request
from spendgate.errors import RequestError

_CALL = re.compile(r"/publishers/([^/]+)/models/([^/]+):(rawPredict|streamRawPredict)$", re.IGNORECASE)


class VertexPublishers(OpenAIChat):
    """The dialect `vertex-publishers`."""

    name = "vertex-publishers"
    title = "Other publishers' models on Vertex AI (Mistral, Meta, AI21)"
    provider = "google"
    copied = False
    paths: tuple[str, ...] = (
        "/v1/projects/PROJECT/locations/PLACE/publishers/PUBLISHER/models/MODEL:rawPredict",
        "/v1/projects/PROJECT/locations/PLACE/publishers/PUBLISHER/models/MODEL:streamRawPredict",
    )
    logged = False
    not_metered: tuple[str, ...] = ()
    path_regex = "/+publishers/+[^/]+/+models/+[^/]+:(r|streamR)awPredict"

    def matches(self, method: str, path: str, content_type: str) -> bool:
        call = _CALL.search(paths.plain(path))
        return (
            call is not None
            and call[1].lower() != "anthropic"
            and super().matches(method, path, content_type)
        )

    def read_request(self, body: bytes, path: str, headers: Mapping[str, str] = NO_HEADERS) -> RequestFacts:
        call = _CALL.search(paths.plain(path))
        if call is None or len(call[2]) > MODEL_CHARACTERS_MAX:
            raise RequestError(
                "the path names no model; write …/publishers/PUBLISHER/models/MODEL:rawPredict"
            )
        facts = openai_request.read(body, "")
        document = parse_request(body)
        if "messages" not in document:
            texts = Texts()
            hosted.add_unknown(texts, document)
            facts = replace(
                facts, texts=tuple(texts.texts), text_bytes=texts.length_bytes,
                extra_input_tokens=texts.extra_tokens, unseen_input=facts.unseen_input or texts.unseen,
            )  # fmt: skip
        # Mistral's schema is closed, and its streams tell their usage unasked
        streams = facts.stream or call[3].lower() == "streamrawpredict"
        return replace(facts, model=call[2], model_fixed=True, stream=streams, usage_hidden=False)
