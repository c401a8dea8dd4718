"""What the dialects have in common: they are POSTs of JSON that are known by their path."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace

from spendgate.dialects.base import NO_HEADERS, Reading, Rejection, RequestFacts
from spendgate.dialects.request import paths
from spendgate.dialects.response import visible
from spendgate.dialects.wire import json_read, outline
from spendgate.dialects.wire.spelling import PLAIN
from spendgate.dialects.wire.traits import NO_FIELDS, StreamTerminator, UsageFields

EVENT_STREAM = "text/event-stream"
LARGE_KINDS = frozenset({"output_image", "output_audio"})
"""Output that is large."""
MANY_TEXTS = 128
"""Of so many inputs the embeddings may be megabytes: 3,072 numbers of 20 bytes each."""


class JsonApi(ABC):
    """A dialect without its own reading, writing and metering. Subclasses add those."""

    name: str
    title: str
    provider: str
    copied = False
    operation = "chat"
    paths: tuple[str, ...]
    path_marks: tuple[str, ...] = ()
    owns_path = True
    numbers_retries = True
    usage_fields: UsageFields = NO_FIELDS
    usage_events: Mapping[str, str] = NO_HEADERS
    logged = False
    usage_closes = False
    not_metered: tuple[str, ...] = ()
    path_regex: str
    spelling = PLAIN
    takes_forms = False
    _pattern: re.Pattern[str]

    def __init_subclass__(cls) -> None:
        if hasattr(cls, "path_regex"):  # a base of several dialects has none
            cls._pattern = re.compile(f".*{cls.path_regex}", re.DOTALL | re.IGNORECASE)

    def matches(self, method: str, path: str, content_type: str) -> bool:
        return paths.is_call(method) and self._pattern.fullmatch(paths.plain(path)) is not None

    def streams(self, media_type: str, asked: bool) -> bool:
        return media_type == EVENT_STREAM

    def may_be_large(self, facts: RequestFacts) -> bool:
        """May the answer be larger than what a proxy buffers (pictures, sound, many embeddings)?"""
        if not LARGE_KINDS.isdisjoint(facts.dear_kinds) or "images" in facts.fee_kinds:
            return True
        return len(facts.texts) >= MANY_TEXTS and facts.output_cap == 0

    def reads(self, media_type: str) -> bool:
        """Does a whole answer of this media type (lower case, "" for none) tell its usage?"""
        return not media_type or media_type.endswith("json")

    def read_answer(self, body: bytes, headers: Mapping[str, str] = NO_HEADERS) -> Reading:
        try:
            document = outline.parse(body)
        except json_read.NotJson:
            return Reading({}, problem="not_json")
        reading = visible.without_usage(self.read_document(document), document)
        if reading.problem == "no_usage" and not reading.text and is_error(document):
            reading = replace(reading, error=True)
        tier = self.served_tier(headers)
        return replace(reading, service_tier=tier) if tier and not reading.service_tier else reading

    def of_model(self, reading: Reading, model: str) -> Reading:
        """A reading of an answer of this model, where models of one API count in different ways."""
        return reading

    def served_tier(self, headers: Mapping[str, str]) -> str:
        """The service tier that an answer's headers tell, "" where they do not."""
        return ""

    def refusal_status(self, rejection: Rejection) -> int:
        return rejection.status

    def error_headers(self, rejection: Rejection) -> tuple[tuple[str, str], ...]:
        return ()

    def stream_terminator(self) -> StreamTerminator | None:
        """What ends a stream early; None where it is not known how."""
        return None

    def rewrite_path(self, target: str, model: str) -> str | None:
        return None

    @abstractmethod
    def read_document(self, document: object) -> Reading:
        """Read the usage of an answer that is JSON. Never raises."""
        ...


def openai_error(rejection: Rejection) -> bytes:
    """A refusal in the shape that OpenAI's SDKs, and those that copy it, raise as their own exception."""
    error = {
        "message": rejection.message,
        "type": rejection.type,
        "param": None,
        "code": rejection.code,
        "details": rejection.details,
    }
    return json_read.dumps({"error": error}).encode()


def is_error(document: object) -> bool:
    """Is an answer nothing but an error, whatever its status says? (`{"error": …}`, `{"type": "error"}`, or an error in
    each of its choices)"""
    if isinstance(document, list):
        return bool(document) and all(map(is_error, document))
    if not isinstance(document, dict):
        return False
    choices = document.get("choices")
    if isinstance(choices, list) and choices:
        return all(
            isinstance(c, dict) and c.get("error") for c in choices
        )  # OpenRouter's, of a provider that failed
    refused = document.get("base_resp")  # MiniMax's
    if isinstance(refused, dict) and refused.get("status_code"):
        return True
    return bool(document.get("error")) or document.get("type") == "error" or document.get("object") == "error"
