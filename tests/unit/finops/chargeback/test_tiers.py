"""A day of many exchanges is priced as what it was, whatever its sum of tokens comes to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from support.billing import PRICES

from spendgate.finops.backfill import from_usage
from spendgate.finops.chargeback.chargeback import at_day, chargeback, exchange_costs, price_for
from spendgate.finops.chargeback.tiers import cost_at, part_of, with_requests
from spendgate.finops.invoice.line import Line
from spendgate.finops.log_cells import cells_of
from spendgate.ledger.accounts import DayCell
from spendgate.pricing.cost import cost_nanousd
from spendgate.pricing.load import table
from spendgate.pricing.table import PriceTable
from spendgate.records.outcome import Outcome
from spendgate.records.record import UsageRecord

DAY = "20261007"
MODEL = "gemini-2.5-pro"
PRO = price_for(PRICES, MODEL, at_day(DAY))
SMALL = {"input": 2_000, "output": 1_000}
LARGE = {"input": 300_000, "output": 1_000}


def priced(folder: Path, text: str) -> PriceTable:
    path = folder / "p.yaml"
    path.write_text(text)
    return table([path])


def cell(*exchanges: dict[str, int], model: str = MODEL) -> DayCell:
    price = price_for(PRICES, model, at_day(DAY))
    tokens = {k: sum(x.get(k, 0) for x in exchanges) for k in {k for x in exchanges for k in x}}
    cost = sum(cost_nanousd(price, x, PRICES.stand_ins) for x in exchanges)
    return DayCell("red", DAY, "chat", model, len(exchanges), cost, tokens)


def costs(*cells: DayCell) -> dict[str, int]:
    (line,) = chargeback("202610", "ledger", cells, PRICES).lines
    assert sum(k.cost_nanousd for k in line.kinds) == line.cost_nanousd
    return {k.kind: k.cost_nanousd for k in line.kinds}


def test_small_requests_are_not_in_a_tier_because_there_are_many() -> None:
    assert costs(cell(*[SMALL] * 300)) == {"input": 750_000_000, "output": 3_000_000_000}


def test_a_day_within_the_tier_is_shared_at_its_rates_and_a_mixed_one_between() -> None:
    large = costs(cell(*[LARGE] * 3))
    assert large == {"input": 2_250_000_000, "output": 45_000_000}
    mixed = cell(LARGE, *[SMALL] * 150)
    part = part_of(PRO, with_requests(mixed.tokens, mixed.requests), mixed.cost_nanousd)
    assert part is not None and 0 < part[0] < part[1]
    assert cost_at(PRO, mixed.tokens, part) == mixed.cost_nanousd
    assert sum(costs(mixed).values()) == mixed.cost_nanousd


def test_days_are_shared_out_at_the_prices_of_each(tmp_path: Path) -> None:
    prices = priced(tmp_path,
        "models:\n  house:\n    - {from: 2026-10-01, input: 1, output: 1}\n"
        "    - {from: 2026-10-15, input: 1, output: 9}\n")  # fmt: skip
    tokens = {"input": 1000, "output": 1000}
    cells = [DayCell("red", "20261005", "a", "house", 1, 2_000_000, tokens),
             DayCell("red", "20261020", "a", "house", 1, 10_000_000, tokens)]  # fmt: skip
    (line,) = chargeback("202610", "ledger", cells, prices).lines
    assert {k.kind: k.cost_nanousd for k in line.kinds} == {"input": 2_000_000, "output": 10_000_000}


def test_a_fee_for_each_request_is_no_cost_of_tokens(tmp_path: Path) -> None:
    prices = priced(tmp_path, "models:\n  house: {input: 1, output: 1, requests: 5000}\n")
    fee = cost_nanousd(price_for(prices, "house"), {"requests": 10})
    assert fee
    day = DayCell("red", DAY, "a", "house", 10, 2_000_000 + fee, {"input": 1000, "output": 1000})
    (line,) = chargeback("202610", "ledger", [day], prices).lines
    assert {k.kind: k.cost_nanousd for k in line.kinds} == {
        "input": 1_000_000, "output": 1_000_000, "requests": fee,
    }  # fmt: skip


def logged(number: int, tokens: dict[str, int]) -> UsageRecord:
    cost = cost_nanousd(PRO, tokens, PRICES.stand_ins)
    return UsageRecord(
        exchange_id=f"{number:032x}", request_id="", at_ms=1_791_374_400_000, team="red", app="chat", user="", run="",
        dialect="", model_requested=MODEL, model=MODEL, upstream="", tokens=tokens, cost_nanousd=cost,
        estimate_nanousd=cost, price_version="", decision="allow", reason="within_budget", outcome=Outcome.COMPLETE,
    )  # fmt: skip


def test_usage_logs_tell_the_cost_of_each_kind_to_the_nano_dollar() -> None:
    records = [logged(i, LARGE if i % 3 == 0 else SMALL) for i in range(9)]
    cells = cells_of(records, "202610", kinds=lambda r: exchange_costs(r, PRICES))
    assert costs(*cells) == {
        "input": 3 * 750_000_000 + 6 * 2_500_000, "output": 3 * 15_000_000 + 6 * 10_000_000,
    }  # fmt: skip


def usage(of: DayCell) -> list[Line]:
    return [Line(of.day, of.model, kind, tokens=n, amounts=0) for kind, n in of.tokens.items()]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from([SMALL, LARGE, {"input": 199_999, "output": 7}]), min_size=1, max_size=40))
def test_law_unchanged_prices_and_tokens_need_no_adjustment(exchanges: list[dict[str, int]]) -> None:
    day = cell(*exchanges)
    assert from_usage(usage(day), [day], PRICES, (DAY, DAY), "x").targets() == {}


def test_a_changed_price_of_a_tiered_model_changes_the_small_requests_at_its_base_rate(
    tmp_path: Path,
) -> None:
    half = priced(tmp_path, "models:\n  gemini-2.5-pro: {input: 0.625, output: 5.00}\n")
    day = cell(*[SMALL] * 300)
    found = from_usage(usage(day), [day], half, (DAY, DAY), "x", before=PRICES).targets()
    assert found == {DAY: {("red", "chat", MODEL): -day.cost_nanousd // 2}}


def test_the_price_of_a_day_is_the_days(tmp_path: Path) -> None:
    dated = priced(tmp_path,
        "models:\n  gpt-4o:\n    - {from: 2026-01-01, input: 2.50, output: 10.00, cached_input: 1.25}\n"
        "    - {from: 2026-10-15, input: 2.00, output: 8.00, cached_input: 1.00}\n")  # fmt: skip
    late = cell({"input": 1_000_000, "output": 100_000}, model="gpt-4o")
    days = [replace(late, day="20261005"), replace(late, day="20261020")]
    lines = [x for d in days for x in usage(d)]
    found = from_usage(lines, days, dated, ("20261001", "20261031"), "x").targets()
    assert found == {"20261020": {("red", "chat", "gpt-4o"): -700_000_000}}
