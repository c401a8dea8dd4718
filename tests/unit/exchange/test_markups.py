"""Discounts and markups: what is charged, what the provider bills and what the list says are three numbers."""

from __future__ import annotations

from pathlib import Path

import pytest

from spendgate.dialects.base import Reading
from spendgate.errors import ConfigurationError
from spendgate.exchange.billing import Tariff, whole_answer
from spendgate.pricing.load import table
from spendgate.pricing.parse import parse
from spendgate.pricing.table import PriceTable

MODEL = "models: {m: {input: 10, output: 100}}\n"
USAGE = {"input": 1_000_000, "output": 100_000}
"""$20 at list prices."""


def prices(tmp_path: Path, discounts: str) -> PriceTable:
    path = tmp_path / "prices.yaml"
    path.write_text(f"{MODEL}discounts: {discounts}\n")
    return table([path])


@pytest.mark.parametrize(
    ("discounts", "charged", "effective", "listed"),
    [
        ("[{percent: -15}]", 23_000_000_000, 20_000_000_000, 20_000_000_000),
        ("[{percent: 10}]", 18_000_000_000, 18_000_000_000, 20_000_000_000),
        ("[{percent: 10}, {percent: -50}]", 27_000_000_000, 18_000_000_000, 20_000_000_000),
        ("[{percent: -1000, model: other}]", 20_000_000_000, 20_000_000_000, 20_000_000_000),
        ("[{percent: -50}, {percent: -15, model: m}]", 23_000_000_000, 20_000_000_000, 20_000_000_000),
        ("[{percent: -1000}]", 220_000_000_000, 20_000_000_000, 20_000_000_000),
    ],
)
def test_a_bill_keeps_them_apart(
    tmp_path: Path, discounts: str, charged: int, effective: int, listed: int
) -> None:
    bill = whole_answer(Tariff(prices(tmp_path, discounts)), "m", Reading(USAGE, "m"), 0)
    assert bill.cost_nanousd == charged
    assert bill.cost_nanousd - bill.markup_nanousd == effective
    assert bill.cost_nanousd + bill.off_list_nanousd == listed


def test_what_the_provider_told_gets_the_markup_and_no_discount(tmp_path: Path) -> None:
    tariff = Tariff(prices(tmp_path, "[{percent: 10}, {percent: -15}]"))
    bill = whole_answer(tariff, "m", Reading(USAGE, "m", told_nanousd=1_000), 0)
    assert (bill.cost_nanousd, bill.markup_nanousd, bill.off_list_nanousd) == (1_150, 150, -150)


def test_of_several_models_the_parts_add_up(tmp_path: Path) -> None:
    tariff = Tariff(prices(tmp_path, "[{percent: -15}]"))
    parts = (("m", USAGE), ("m", {"input": 1_000}))
    bill = whole_answer(tariff, "m", Reading(USAGE, "m", parts=parts), 0)
    assert bill.cost_nanousd == sum(p.cost_nanousd for p in bill.parts) == 23_011_500_000
    assert bill.markup_nanousd == 3_001_500_000


def test_invoices_are_held_against_what_providers_bill(tmp_path: Path) -> None:
    table_ = prices(tmp_path, "[{percent: 10}, {percent: -15}]").without_markups()
    bill = whole_answer(Tariff(table_), "m", Reading(USAGE, "m"), 0)
    assert (bill.cost_nanousd, bill.markup_nanousd) == (18_000_000_000, 0)


@pytest.mark.parametrize("percent", ["-1000.01", "-0.001", "0", "-0", "100.01", "--5"])
def test_a_percentage_out_of_bounds_is_named(percent: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse(f"{MODEL}discounts: [{{percent: {percent}}}]\n", "p.yaml")
    assert "p.yaml:2: discounts[0]" in str(caught.value)
