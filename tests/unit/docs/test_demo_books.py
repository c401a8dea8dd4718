"""The demo's last word is honest: a difference of a nano-dollar is found, on either side."""

from __future__ import annotations

from typing import Any

import pytest
from support.scripts import load_script

from spendgate.pricing.load import table

books: Any = load_script("demo_books")
INVOICE = {"models": {"gpt-4o": {"requests": 2, "tokens": {"input": 4, "output": 100}}}}


def rows(*amounts: str) -> list[dict[str, Any]]:
    return [{"models": {"gpt-4o": usd}} for usd in amounts]


def test_equal_books_differ_by_nothing_over_all_teams() -> None:
    (line,) = books.compare(INVOICE, rows("0.001", "0.00001"), table())
    assert (line.provider_nanousd, line.ledger_nanousd, line.difference_nanousd) == (1_010_000, 1_010_000, 0)


@pytest.mark.parametrize(("usd", "off"), [("0.001010001", 1), ("0.001009999", -1)])
def test_a_difference_of_a_nano_dollar_is_found(usd: str, off: int) -> None:
    (line,) = books.compare(INVOICE, rows(usd), table())
    assert line.difference_nanousd == off


def test_a_model_in_one_of_the_books_only_is_a_difference() -> None:
    missing = books.compare(INVOICE, [], table())
    assert [line.difference_nanousd for line in missing] == [-1_010_000]
    surplus = books.compare({"models": {}}, rows("0.5"), table())
    assert [line.difference_nanousd for line in surplus] == [500_000_000]


def test_a_model_without_a_price_is_an_error_that_names_it() -> None:
    with pytest.raises(ValueError, match="nobody-sells-this"):
        books.compare({"models": {}}, [{"models": {"nobody-sells-this": "1"}}], table())
