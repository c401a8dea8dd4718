"""Bedrock's model invocation: `POST /model/MODEL/invoke` and `/invoke-with-response-stream`.

The bodies are the model vendors' own. What is billed stands in the answer's headers, or in the last message of
a stream, for every vendor alike; a vendor's own usage in the body may tell more (how long a cache lives).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType

from spendgate.dialects.base import NO_HEADERS, Reading, RequestFacts
from spendgate.dialects.bedrock import invoke_request, invoke_usage
from spendgate.dialects.bedrock.api import BedrockApi
from spendgate.dialects.bedrock.invoke_stream import BedrockInvokeStreamMeter
from spendgate.dialects.request import paths
from spendgate.dialects.wire import json_read
from spendgate.dialects.wire.traits import UsageFields


class BedrockInvoke(BedrockApi):
    """The dialect `bedrock-invoke`."""

    name = "bedrock-invoke"
    title = "Bedrock model invocation: Anthropic, Nova, Titan, Llama, Cohere, AI21, OpenAI and others"
    paths: tuple[str, ...] = ("/model/MODEL/invoke", "/model/MODEL/invoke-with-response-stream")
    usage_fields: UsageFields = invoke_usage.FIELDS
    usage_events: Mapping[str, str] = MappingProxyType({"": "the last chunk"})
    path_regex = "/+invoke(-with-response-stream)?"

    def read_request(self, body: bytes, path: str, headers: Mapping[str, str] = NO_HEADERS) -> RequestFacts:
        return invoke_request.read(body, paths.plain(path), headers)

    def read_answer(self, body: bytes, headers: Mapping[str, str] = NO_HEADERS) -> Reading:
        try:
            document = json_read.parse(body)
        except json_read.NotJson:
            document = None  # the headers are enough
        reading = invoke_usage.read(document, headers)
        tier = self.served_tier(headers)
        return replace(reading, service_tier=tier) if tier else reading

    def read_document(self, document: object) -> Reading:
        return invoke_usage.read(document, NO_HEADERS)

    def stream_meter(self, *, hide_usage: bool, count: Callable[[str], int]) -> BedrockInvokeStreamMeter:
        return BedrockInvokeStreamMeter(count=count)
