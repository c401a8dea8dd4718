"""Bedrock Converse: `POST /model/MODEL/converse` and `/converse-stream`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from spendgate.dialects.base import NO_HEADERS, Reading, RequestFacts
from spendgate.dialects.bedrock import converse_request, converse_usage
from spendgate.dialects.bedrock.api import BedrockApi
from spendgate.dialects.bedrock.converse_stream import BedrockStreamMeter
from spendgate.dialects.request import paths
from spendgate.dialects.wire.traits import UsageFields


class BedrockConverse(BedrockApi):
    """The dialect `bedrock-converse`. Answers do not name their model."""

    name = "bedrock-converse"
    title = "Bedrock Converse"
    paths: tuple[str, ...] = ("/model/MODEL/converse", "/model/MODEL/converse-stream")
    path_marks: tuple[str, ...] = ("/model/",)
    usage_fields: UsageFields = converse_usage.FIELDS
    usage_events: Mapping[str, str] = MappingProxyType({"": "`metadata`"})
    path_regex = "/+converse(-stream)?"

    def read_request(self, body: bytes, path: str, headers: Mapping[str, str] = NO_HEADERS) -> RequestFacts:
        return converse_request.read(body, paths.plain(path))

    def read_document(self, document: object) -> Reading:
        return converse_usage.read_document(document if isinstance(document, dict) else {})

    def of_model(self, reading: Reading, model: str) -> Reading:
        return converse_usage.of_openai(reading) if "openai." in model else reading

    def stream_meter(self, *, hide_usage: bool, count: Callable[[str], int]) -> BedrockStreamMeter:
        return BedrockStreamMeter(count=count)
