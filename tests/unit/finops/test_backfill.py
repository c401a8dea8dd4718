"""A provider's usage is priced as it was used: what it does not count apart is as it was metered."""

from __future__ import annotations

from support.billing import PRICES

from spendgate.finops.backfill import from_usage
from spendgate.finops.chargeback.chargeback import at_day, price_for
from spendgate.finops.invoice.line import Line
from spendgate.ledger.accounts import DayCell
from spendgate.pricing.cost import cost_nanousd

OCTOBER = ("20261001", "20261031")
DAY = "20261005"


def cell(model: str, **tokens: int) -> DayCell:
    """One exchange, priced by our own table."""
    cost = cost_nanousd(price_for(PRICES, model, at_day(DAY)), {"requests": 1, **tokens}, PRICES.stand_ins)
    return DayCell("red", DAY, "chat", model, 1, cost, tokens)


def usage(model: str, exact: bool = True, **tokens: int) -> list[Line]:
    return [Line(DAY, model, kind, tokens=n, amounts=0, exact=exact) for kind, n in tokens.items()]


def targets(lines: list[Line], *cells: DayCell) -> dict[str, int]:
    found = from_usage(lines, cells, PRICES, OCTOBER, "nobody").targets()
    return {model: nano for places in found.values() for (_, _, model), nano in places.items()}


def test_cached_input_that_an_export_does_not_count_is_within_its_input() -> None:
    mine = cell("gpt-4o", input=1_000, cached_input=9_000, output=50)
    assert targets(usage("gpt-4o", input=10_000, output=50), mine) == {}
    more = targets(usage("gpt-4o", input=10_400, output=50), mine)
    assert more == {"gpt-4o": 400 * 2_500}  # what was missed is plain input


def test_searches_that_an_export_does_not_count_keep_their_fee() -> None:
    mine = cell("gpt-5.4", input=1_000, output=50, searches=3)
    assert targets(usage("gpt-5.4", input=1_000, output=50), mine) == {}
    fewer = [*usage("gpt-5.4", input=1_000, output=50, searches=1)]
    assert targets(fewer, mine)["gpt-5.4"] < 0


def test_a_kind_that_an_export_counts_elsewhere_is_missing_where_it_is_not() -> None:
    mine = cell("gpt-4o", input=1_000, cached_input=9_000, output=50)
    lines = usage("gpt-4o", input=10_000, output=50)
    other_day = [Line("20261006", "gpt-4o", "cached_input", tokens=5, amounts=0)]
    assert targets([*lines, *other_day], mine)["gpt-4o"] != 0


def test_a_name_out_of_a_meter_is_priced_as_the_model_that_was_metered() -> None:
    mine = cell("us.anthropic.claude-haiku-4-5-20251001-v1:0", input=16_466, output=4_455)
    assert targets(usage("claude-4.5-haiku", exact=False, input=16_466, output=4_455), mine) == {}
