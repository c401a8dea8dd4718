"""What an exchange remembers of itself is what would be worked out anew."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from unit.exchange.driver import NOW_MS, snapshot_of

from spendgate.dialects.base import RequestFacts
from spendgate.exchange.context import ExchangeContext
from spendgate.exchange.snapshot import Address

SNAPSHOT = snapshot_of()
FACTS = RequestFacts("gpt-4o", False, (), 0)
ASKED = (
    None,
    FACTS,
    replace(FACTS, service_tier="flex"),
    replace(FACTS, service_tier="flex", batch=True),
    replace(FACTS, residency="us"),
    replace(FACTS, fallbacks=("gpt-4o-mini",)),
    replace(FACTS, cache_writes=frozenset({"cache_write_12h"})),
)
PLACES = (
    Address("openai-chat", "/v1/chat/completions", "api.openai.com"),
    Address("openai-chat", "/v1/chat/completions", "us.api.openai.com"),
    Address("anthropic-messages", "/v1/messages"),
    Address("mcp", "/mcp"),
)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(("gpt-4o", "gpt-4o-mini", "unheard-of")),
        st.sampled_from((0, NOW_MS, NOW_MS + 1)),
        st.sampled_from(ASKED),
        st.sampled_from(PLACES),
    ),
    max_size=12,
)


@given(STEPS)
def test_the_tariff_is_that_of_the_exchange_as_it_stands(
    steps: list[tuple[str, int, RequestFacts | None, Address]],
) -> None:
    case = ExchangeContext("x", "", SNAPSHOT)
    for model, at_ms, facts, address in steps:
        case.at_ms, case.facts, case.address = at_ms, facts, address
        anew = ExchangeContext("x", "", SNAPSHOT, facts=facts, address=address, at_ms=at_ms)
        assert case.tariff(model) == anew.tariff(model)
        assert case.tariff(model) == anew.tariff(model)
