"""Every cause of a drift is found, named and sized, alone and beside others; the causes add up to it."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.billing import PRICES, Use, cells, invoice, month, more, usd

from spendgate.finops.chargeback.chargeback import at_day, price_for
from spendgate.finops.invoice.line import Line
from spendgate.finops.reconciliation import causes as c
from spendgate.finops.reconciliation import reconcile as r
from spendgate.ledger.accounts import DayCell
from spendgate.pricing.cost import cost_nanousd

USD = 10**9


def nano(amount: Decimal) -> int:
    return int(amount * USD)


def compare(metered: list[DayCell], billed: list[Line], **more_facts: object) -> r.Reconciliation:
    return r.reconcile("openai", "202610", metered, billed, PRICES, **more_facts)  # type: ignore[arg-type]


def causes(metered: list[DayCell], billed: list[Line], **more_facts: object) -> dict[str, int]:
    found = compare(metered, billed, **more_facts)
    assert sum(found.causes.values()) == found.invoiced_nanousd - found.metered_nanousd
    return found.causes


def test_books_that_agree_have_no_drift_and_no_cause() -> None:
    found = compare(cells(month()), invoice(month()))
    assert (found.drift_nanousd, found.causes, len(found.models)) == (0, {}, 1)
    assert found.models[0].model == "gpt-4o"
    assert len(found.models[0].days) == 31


def test_a_changed_price_is_the_invoice_less_the_metered_tokens_at_ours() -> None:
    found = compare(cells(month()), invoice(month(), "1.2"))
    assert found.causes == {c.PRICE: pytest.approx(found.metered_nanousd * 0.2, abs=100)}
    assert "billed at" in found.models[0].notes[0]


def test_a_price_that_changed_within_the_month_is_found_from_its_day_on() -> None:
    uses = month()
    found = causes(cells(uses), [*invoice(uses[:20]), *invoice(uses[20:], "0.5")])
    late = sum(c.cost_nanousd for c in cells(uses[20:]))
    assert found == {c.PRICE: pytest.approx(-late / 2, abs=100)}


def test_a_model_that_was_never_metered_is_direct_egress() -> None:
    shadow = Use(7, "gpt-4o-mini", 50)
    found = compare(cells(month()), [*invoice(month()), *invoice([shadow])])
    egress = next(m for m in found.models if m.is_egress)
    assert egress.model == "gpt-4o-mini-2026-08-06"
    assert egress.causes == {c.BYPASS: nano(usd("gpt-4o-mini", shadow.tokens))}


@pytest.mark.parametrize("counted", [True, False])
def test_requests_past_the_gateway_are_a_bypass_of_the_tokens_missed(counted: bool) -> None:
    uses = month()
    billed = [replace(more(u, input=100_000, output=9_000), requests=u.requests + 30) for u in uses[10:14]]
    lines = [*invoice(uses[:10]), *invoice(billed), *invoice(uses[14:])]
    if not counted:
        lines = [replace(x, requests=0) for x in lines]
    missed = nano(usd("gpt-4o", {"input": 400_000, "output": 36_000}))
    assert causes(cells(uses), lines) == {c.BYPASS: missed}


def test_aborted_streams_are_output_that_the_provider_counted_further() -> None:
    uses = month()
    billed = [more(u, output=700) for u in uses]
    assert causes(cells(uses), invoice(billed)) == {c.ABORTED: nano(usd("gpt-4o", {"output": 700 * 31}))}
    fewer = [more(u, output=-700) for u in uses]
    assert causes(cells(uses), invoice(fewer)) == {c.ABORTED: -nano(usd("gpt-4o", {"output": 700 * 31}))}


def test_other_cache_semantics_are_the_same_input_in_other_kinds() -> None:
    uses = month()
    billed = [more(u, input=50_000, cached_input=-50_000) for u in uses]
    per_day = nano(usd("gpt-4o", {"input": 50_000})) - nano(usd("gpt-4o", {"cached_input": 50_000}))
    assert causes(cells(uses), invoice(billed)) == {c.CACHE: 31 * per_day}


def test_exchanges_settled_at_their_estimate_cost_what_their_tokens_do() -> None:
    uses = month()
    guess = DayCell("red", "20261009", "chat", "gpt-4o", 4, 2 * USD, {})
    billed = [
        replace(more(u, input=9_000, output=800), requests=u.requests + 4) if u.day == 9 else u for u in uses
    ]
    true = nano(usd("gpt-4o", {"input": 9_000, "output": 800}))
    assert causes([*cells(uses), guess], invoice(billed)) == {c.ESTIMATES: true - 2 * USD}
    # the ledger keeps them in one cell with what was metered
    joined = [
        replace(c, requests=c.requests + 4, cost_nanousd=c.cost_nanousd + 2 * USD)
        if c.day == "20261009"
        else c
        for c in cells(uses)
    ]
    assert causes(joined, invoice(billed)) == {c.ESTIMATES: true - 2 * USD}


def test_amounts_printed_in_cents_are_rounding() -> None:
    uses = month()
    lines = [replace(x, cost_usd=round(x.cost_usd, 2)) for x in invoice(uses)]
    found = compare(cells(uses), lines)
    assert set(found.causes) == {c.ROUNDING}
    assert abs(found.drift_nanousd) <= 31 * 3 * USD // 200


def test_an_amount_that_is_printed_as_nothing_was_rounded_too() -> None:
    use = Use(
        3, tokens={"input": 1_800, "cached_input": 3_900, "output": 490}
    )  # half a cent each, and printed as 0.00
    lines = [
        Line(x.day, x.model, x.kind, Decimal("0.00"), use.tokens[x.kind])
        for x in invoice([use], tokens=False)
    ]
    found = compare([use.cell()], lines, quantum=Decimal("0.01"))
    assert set(found.causes) == {c.ROUNDING}
    bare = [replace(x, tokens=0) for x in lines]  # a file of money alone
    assert set(compare([use.cell()], bare, quantum=Decimal("0.01")).causes) == {c.ROUNDING}
    dear = Use(3, tokens={k: 9 * n for k, n in use.tokens.items()})
    assert set(compare([dear.cell()], bare, quantum=Decimal("0.01")).causes) == {c.MISSING}


def test_what_the_invoice_has_not_is_said_to_be_missing() -> None:
    uses = month()
    found = causes(cells(uses), invoice(uses[:-2]))
    assert found == {c.MISSING: -sum(c.cost_nanousd for c in cells(uses[-2:]))}
    only_mini = causes(cells([*uses, Use(3, "gpt-4o-mini")]), invoice(uses))
    assert only_mini == {c.MISSING: -cells([Use(3, "gpt-4o-mini")])[0].cost_nanousd}


def test_several_causes_in_one_month_are_told_apart_by_their_days() -> None:
    uses = month()
    lines = [
        *invoice(uses[:8]),
        *invoice([replace(more(u, input=50_000, output=2_000), requests=u.requests + 9) for u in uses[8:10]]),
        *invoice([more(u, output=500) for u in uses[10:20]]),
        *invoice([more(u, input=30_000, cached_input=-30_000) for u in uses[20:25]]),
        *invoice(uses[25:], "1.1"),
    ]
    found = causes(cells(uses), lines)
    assert found == {
        c.BYPASS: nano(usd("gpt-4o", {"input": 100_000, "output": 4_000})),
        c.ABORTED: nano(usd("gpt-4o", {"output": 5_000})),
        c.CACHE: nano(usd("gpt-4o", {"input": 150_000})) - nano(usd("gpt-4o", {"cached_input": 150_000})),
        c.PRICE: pytest.approx(sum(c.cost_nanousd for c in cells(uses[25:])) / 10, abs=10),
    }


def test_a_day_whose_money_agrees_has_no_cause_whatever_its_tokens_say() -> None:
    uses = month()
    lines = [replace(x, tokens=x.tokens * 3, kind="output" if x.tokens else x.kind) for x in invoice(uses)]
    assert causes(cells(uses), lines) == {}


def test_faults_of_a_provider_are_named_as_such() -> None:
    uses = month()
    again = [more(u, input=u.tokens["cached_input"]) for u in uses]
    cached = sum(u.tokens["cached_input"] for u in uses)
    assert causes(cells(uses), invoice(again)) == {c.CACHED_TWICE: nano(usd("gpt-4o", {"input": cached}))}
    double = [*invoice(uses), *invoice(uses[:3])]
    assert causes(cells(uses), double) == {c.TWICE: sum(x.cost_nanousd for x in cells(uses[:3]))}


def test_more_input_at_the_same_output_is_no_aborted_stream() -> None:
    uses = month()
    found = causes(cells(uses), invoice([more(u, input=150_000) for u in uses]))
    assert set(found) == {c.UNEXPLAINED}


def test_searches_billed_as_a_line_belong_to_the_models_that_metered_them_and_the_rest_is_a_fee() -> None:
    def day(model: str, searches: int) -> DayCell:
        usage = {"input": 1000, "searches": searches}
        price = price_for(PRICES, model, at_day("20261003"))
        return DayCell(
            "red", "20261003", "chat", model, 1, cost_nanousd(price, usage, PRICES.stand_ins), usage
        )

    both = [day("gpt-5.4", 30), day("gpt-5.5", 10)]
    fee = Line("20261003", "web search tool calls", "searches", Decimal("0.50"), charge="fee")
    tokens = [
        Line("20261003", m, "input", Decimal(cost_nanousd(price_for(PRICES, m), {"input": 1000})) / USD)
        for m in ("gpt-5.4", "gpt-5.5")
    ]
    found = compare(both, [*tokens, fee])
    assert {m.model: m.drift_nanousd for m in found.models} == {
        "gpt-5.4": 0, "gpt-5.5": 0, "web search tool calls": USD // 10,
    }  # fmt: skip
    assert found.causes == {c.FEES: USD // 10}


def test_what_is_no_models_usage_has_a_cause_of_its_own_and_is_never_egress() -> None:
    lines = [
        Line("20261003", f"some {charge}", "", Decimal(1), charge=charge)
        for charge in ("fee", "commitment", "credit", "refund", "tax", "unknown")
    ]
    found = compare(cells(month()), [*invoice(month()), *lines])
    assert found.causes == dict.fromkeys(
        (c.FEES, c.COMMITMENTS, c.CREDITS, c.REFUNDS, c.TAXES, c.UNKNOWN), USD
    )
    assert not any(m.is_egress for m in found.models)


def test_a_meters_name_that_nothing_knows_is_not_understood_unless_its_days_are_a_models() -> None:
    uses = month()
    odd = [replace(x, model="zorg-7", exact=False) for x in invoice(uses)]
    found = compare(cells(uses), odd)
    assert (found.causes, found.drift_nanousd) == ({}, 0)
    assert "its days agree" in found.models[0].notes[0]
    stray = Line("20261003", "zorg-8", "input", Decimal(3), exact=False)
    strange = compare(cells(uses), [*invoice(uses), stray])
    assert (strange.causes, [m.is_egress for m in strange.models]) == ({c.UNKNOWN: 3 * USD}, [False, False])


def test_a_metered_model_without_a_line_is_missing_where_days_are_cut_elsewhere_too() -> None:
    beside = Use(3, "gpt-4o-mini")
    zones = TestTimeZones()
    shifts = {480: [*zones.shifted(480, 8), beside.cell()]}
    found = compare([*cells(HOURS), beside.cell()], zones.billed(), shifted=shifts)
    assert found.causes[c.MISSING] == -beside.cell().cost_nanousd


HOURS = tuple(
    Use(
        d,
        "gpt-4o",
        10,
        {"input": (30_000 + 900 * ((d * 7 + h) % 11)) * (1 + d % 5), "output": 2_000 + 90 * h},
    )
    for d in range(1, 32)
    for h in range(24)
)


class TestTimeZones:
    """A provider whose day begins eight hours after UTC's: each of its days has 16 hours of one and 8 of the next."""

    def shifted(self, minutes: int, edge: int) -> list[DayCell]:
        """Cells by days that begin later: the first `edge` hours of a day belong to the day before."""
        out = []
        for i, use in enumerate(HOURS):
            day = use.day - (i % 24 < edge)
            if day >= 1:
                out.append(replace(use, day=day).cell())
        return [*out, *self.next_month(edge)]

    def next_month(self, edge: int) -> list[DayCell]:
        return [replace(HOURS[h], day=31).cell() for h in range(edge)]

    def billed(self) -> list[Line]:
        return [
            Line(c.day, c.model, k, usd("gpt-4o", {k: n}), n)
            for c in self.shifted(480, 8)
            for k, n in c.tokens.items()
        ]

    def test_with_logs_the_hours_are_found_and_the_edges_are_the_cause(self) -> None:
        metered = cells(HOURS)
        shifts = {m: self.shifted(m, m // 60) for m in (60, 420, 480, 540)}
        found = compare(metered, self.billed(), shifted=shifts)
        assert set(found.causes) <= {c.TIME_ZONE}
        assert found.causes.get(c.TIME_ZONE, 0) == found.invoiced_nanousd - found.metered_nanousd
        assert "begin +08:00 after midnight UTC" in found.models[0].notes[0]

    def test_without_logs_days_that_only_swap_amounts_are_recognised(self) -> None:
        found = compare(cells(HOURS), self.billed())
        assert set(found.causes) <= {c.TIME_ZONE}
        assert "give --log" in found.models[0].notes[0]

    def test_a_changed_price_is_no_time_zone(self) -> None:
        shifts = {m: self.shifted(m, m // 60) for m in (60, 480)}
        lines = [replace(x, cost_usd=x.cost_usd * 2) for u in HOURS for x in u.lines()]
        assert set(causes(cells(HOURS), lines, shifted=shifts)) == {c.PRICE}


def test_an_invoice_without_tokens_off_by_the_same_factor_is_a_price_and_else_unexplained() -> None:
    uses = month()
    assert set(causes(cells(uses), invoice(uses, "1.3", tokens=False))) == {c.PRICE}
    odd = [x for i, u in enumerate(uses) for x in invoice([u], "1" if i % 2 else "1.5", tokens=False)]
    assert set(causes(cells(uses), odd)) == {c.UNEXPLAINED}


def test_what_was_corrected_before_is_no_drift_any_more() -> None:
    found = compare(cells(month()), invoice(month(), "1.2"), corrections={"gpt-4o": 100})
    (model,) = found.models
    assert (model.corrected_nanousd, model.drift_nanousd) == (100, model.gap_nanousd - 100)
    assert sum(model.causes.values()) == model.gap_nanousd


def test_adjusted_money_is_no_metering_and_other_months_are_left_out() -> None:
    extra = [
        DayCell("red", "20261003", "(none)", "gpt-4o", 0, 5 * USD, {}, adjusted_nanousd=5 * USD),
        DayCell("red", "20261103", "chat", "gpt-4o", 1, USD, {"input": 5}),
    ]
    assert (
        causes([*cells(month()), *extra], [*invoice(month()), Line("20261101", "gpt-4o", "", Decimal(9))])
        == {}
    )


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(-20, 20), st.integers(-90_000, 90_000), st.integers(-9_000, 9_000),
                       st.sampled_from(["0.9", "1", "1.25"])), min_size=5, max_size=31),
    st.booleans(),
)  # fmt: skip
def test_law_causes_add_up_to_the_drift_whatever_it_is(
    changes: list[tuple[int, int, int, str]], tokens: bool
) -> None:
    uses = month(days=len(changes))
    lines = [
        x
        for u, (n, i, o, f) in zip(uses, changes, strict=True)
        for x in invoice([replace(more(u, input=i, output=o), requests=u.requests + n)], f, tokens=tokens)
    ]
    causes(cells(uses), lines)
