"""Anthropic's batches of messages: `POST …/v1/messages/batches`. The answers come within a day, elsewhere: a
batch is charged what its requests may cost at most, at the price of batches."""

from __future__ import annotations

from collections.abc import Mapping

from spendgate.dialects.anthropic import request as anthropic_request
from spendgate.dialects.anthropic.messages import AnthropicMessages
from spendgate.dialects.base import NO_HEADERS, Reading, RequestFacts
from spendgate.dialects.request import hosted
from spendgate.dialects.request.texts import parse_request
from spendgate.dialects.wire.json_read import object_of
from spendgate.dialects.wire.traits import NO_FIELDS, UsageFields
from spendgate.errors import RequestError
from spendgate.usage import Usage

REQUESTS_MAX = 100_000
"""Anthropic refuses more in one batch."""
OVERHEAD_TOKENS = 800
"""The vendor's hidden tokens of a further request in the batch; the first one's are counted elsewhere."""


class AnthropicBatches(AnthropicMessages):
    """The dialect `anthropic-batches`. Its requests may name several models, so none is changed."""

    name = "anthropic-batches"
    title = "Anthropic message batches: charged their estimate"
    paths: tuple[str, ...] = ("/v1/messages/batches",)
    path_marks: tuple[str, ...] = ()
    usage_fields: UsageFields = NO_FIELDS
    usage_events: Mapping[str, str] = NO_HEADERS
    logged = False
    path_regex = "/+v1/+messages/+batches"

    def streams(self, media_type: str, asked: bool) -> bool:
        return False

    def read_request(self, body: bytes, path: str, headers: Mapping[str, str] = NO_HEADERS) -> RequestFacts:
        document = parse_request(body)
        listed = document.get("requests")
        if not isinstance(listed, list) or not 0 < len(listed) <= REQUESTS_MAX:
            raise RequestError(f"requests: not a list of 1 to {REQUESTS_MAX}")
        cache_writes = hosted.cache_writes(body, b"cache_control", document)
        read = [
            anthropic_request.read_document(object_of(object_of(r).get("params")), cache_writes=cache_writes)
            for r in listed
        ]
        models = list(dict.fromkeys(m for f in read for m in (f.model, *f.fallbacks, *f.other_models)))
        fees: Usage = {}
        for facts in read:
            for kind, n in facts.fee_kinds.items():
                fees[kind] = fees.get(kind, 0) + n
        return RequestFacts(
            model=models[0],
            other_models=tuple(models[1:]),
            batch=True,
            stream=False,
            texts=tuple(text for facts in read for text in facts.texts),
            text_bytes=sum(facts.text_bytes for facts in read),
            extra_input_tokens=sum(f.extra_input_tokens for f in read) + OVERHEAD_TOKENS * (len(read) - 1),
            tool_input_tokens=sum(facts.tool_input_tokens for facts in read),
            output_cap=0,
            extra_output_tokens=sum((f.output_cap or 0) + f.extra_output_tokens for f in read),
            unseen_results=any(facts.unseen_results for facts in read),
            turns=max(facts.turns for facts in read),
            unseen_input=any(facts.unseen_input for facts in read),
            unseen_windows=max(1, sum(facts.unseen_input for facts in read)),
            needs=frozenset(need for facts in read for need in facts.needs),
            dear_kinds=frozenset(kind for facts in read for kind in facts.dear_kinds),
            fee_kinds=fees,
            cache_writes=cache_writes,
            model_fixed=True,
            service_tier="batch",
        )

    def rewrite(
        self, body: bytes, facts: RequestFacts, *, model: str | None, output_cap: int | None, ask_usage: bool
    ) -> bytes:
        """There is nothing to change."""
        return body

    def read_document(self, document: object) -> Reading:
        """A batch that was taken on has used nothing yet."""
        return Reading(
            {}, problem="deferred" if isinstance(document, dict) and "id" in document else "no_usage"
        )
