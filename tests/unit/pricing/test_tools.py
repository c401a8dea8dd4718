"""Prices of MCP tools: by server and tool, or by a glob, and never a model's."""

from __future__ import annotations

from pathlib import Path

import pytest

from spendgate.errors import ConfigurationError
from spendgate.pricing.cost import cost_nanousd
from spendgate.pricing.load import table
from spendgate.pricing.parse import parse
from spendgate.pricing.table import PriceTable
from spendgate.pricing.terms import TOOLS, Terms

FILE = """
tools:
  search/web: {requests: 0.05}
  "search/*": {requests: 0.01}
  "*/*": {requests: 0.002}
discounts:
  - {percent: 50, provider: mcp, model: "search/w*"}
"""
AT_TOOLS = Terms(TOOLS)


@pytest.fixture
def prices(tmp_path: Path) -> PriceTable:
    path = tmp_path / "prices.yaml"
    path.write_text(FILE)
    return table([path])


@pytest.mark.parametrize(
    ("tool", "nanousd"), [("search/web", 25_000_000), ("search/deep", 10_000_000), ("git/log", 2_000_000)]
)
def test_the_most_specific_line_prices_a_tool(prices: PriceTable, tool: str, nanousd: int) -> None:
    price = prices.find(tool, AT_TOOLS)
    assert price is not None
    assert cost_nanousd(price, {"requests": 1}) == nanousd


def test_no_model_is_priced_as_a_tool_and_no_tool_as_a_model(prices: PriceTable) -> None:
    assert prices.find("search/web") is None
    assert prices.find("somebody/else") is None
    assert prices.find("gpt-4o", AT_TOOLS) is None
    assert table().find("search/web", AT_TOOLS) is None


def test_they_are_part_of_the_version(prices: PriceTable) -> None:
    assert prices.version != table().version


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("tools:\n  web: {requests: 1}\n", "p.yaml:2: tools.web: this names no server and tool"),
        ("tools:\n  s/web: {input: 1}\n", "p.yaml:2: tools.s/web.input: a tool is priced by the call"),
        ("tools:\n  s/web: {requests: -1}\n", "p.yaml:2: tools.s/web.requests: -1 is negative"),
        ("tools: [a]\n", "p.yaml:1: tools: this is not a mapping"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(text: str, problem: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse(text, "p.yaml")
    assert problem in str(caught.value)
