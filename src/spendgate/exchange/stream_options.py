"""May a stream's usage be asked for on the client's behalf? `stream_options` is a field that the client did not send:
it must never break a request. Pure.

| never asked | source |
|---|---|
| an upstream with `stream_usage: never` | the settings |
| Azure OpenAI before the API version 2024-09-01-preview | its API's changelog |
| Azure OpenAI with `data_sources` | "extra inputs are not permitted" (its reference of On Your Data) |
| models as a service on Azure AI (`*.models.ai.azure.com`, `*.inference.ai.azure.com`) | their schema is closed |
| Mistral | its schema is closed, and its streams tell their usage unasked |
| a deployment or model that refused a request for it within a day | what its answer said |
"""

from __future__ import annotations

import re
from dataclasses import replace
from urllib.parse import parse_qsl

from spendgate.dialects.base import RequestFacts
from spendgate.dialects.openai.request import deployment
from spendgate.dialects.request.hosted import mentions
from spendgate.exchange.context import ExchangeContext

REFUSAL_STATUS = frozenset({400, 404, 405, 415, 422})
"""With these a server says that it does not know a field (422: FastAPI and those who copy it)."""
REFUSAL_BYTES_MAX = 64 * 1024
"""So much of a refusal is looked at."""
_NAMES = re.compile(rb"stream_options|include_usage|streamOptions|includeUsage")
_SINCE = "2024-09-01"
_VERSION = re.compile(r"^\d{4}-\d{2}-\d{2}")
_CLOSED = (".models.ai.azure.com", ".inference.ai.azure.com")


def may_ask(case: ExchangeContext, facts: RequestFacts, body: bytes) -> bool:
    """May this stream's usage be asked for?"""
    snapshot, target = case.snapshot, case.target
    place = snapshot.place(facts.model, case.address)
    if not snapshot.asks_usage(facts.model, case.address.dialect):
        return False
    if case.learned is not None and case.learned.refuses(place, case.at_ms):
        return False
    if place.provider == "mistral":
        return False
    host = place.host.partition(":")[0].lower()
    if host.endswith(_CLOSED):
        return False
    path, _, query = target.partition("?")
    if not (deployment(path) or place.provider == "azure"):
        return True
    version = next((v for k, v in parse_qsl(query) if k.lower() == "api-version"), "")
    is_old = _VERSION.match(version) is not None and version[:10] < _SINCE
    return not (is_old or mentions(body, b"data_sources"))


def as_it_goes(
    case: ExchangeContext, facts: RequestFacts, body: bytes, switched_off: bool, fixed: bool
) -> RequestFacts:
    """What of the usage the answer will show, by what the request switches off, and by what may be changed here
    (`fixed`: nothing)."""
    if switched_off:
        facts = replace(facts, flags=(*facts.flags, "usage_switched_off"), output_hidden=True)
    if fixed:
        facts = replace(facts, body_fixed=True, fixed_because="entry", usage_hidden=False)
    if facts.usage_hidden and not may_ask(case, facts, body):
        facts = replace(facts, usage_hidden=False)
    if case.taken_over is not None and case.taken_over.usage_hidden:
        facts = replace(facts, usage_hidden=True)
    return facts


class Refusal:
    """A refused request's answer, as it comes by: does it name the field that was added?"""

    def __init__(self) -> None:
        self._seen = b""

    def names_field(self, data: bytes) -> bool:
        """Take a piece; True once the field is named."""
        if len(self._seen) < REFUSAL_BYTES_MAX:
            self._seen += data[: REFUSAL_BYTES_MAX - len(self._seen)]
        return _NAMES.search(self._seen) is not None
