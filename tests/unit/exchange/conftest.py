"""What holds of every exchange of these tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from spendgate.exchange.context import ExchangeContext
from spendgate.exchange.ticket import SettlementTicket


@pytest.fixture(autouse=True, scope="package")
def _a_ticket_that_was_kept_is_the_one_that_would_be_made_now() -> Iterator[None]:
    kept = ExchangeContext.ticket

    def ticket(self: ExchangeContext, model: str) -> SettlementTicket:
        found = kept(self, model)
        assert found == self.new_ticket(model)
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ExchangeContext, "ticket", ticket)
        yield
