from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from dataclasses import replace
from decimal import Decimal
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spendgate.cli.report import render
from spendgate.finops.chargeback.chargeback import Chargeback, chargeback, price_for, share, share_by_kind
from spendgate.finops.chargeback.charts import bars, columns
from spendgate.finops.chargeback.html import to_html
from spendgate.finops.chargeback.render import to_csv, to_json, to_markdown
from spendgate.ledger.accounts import DayCell
from spendgate.ledger.redis.codec import clean
from spendgate.pricing.cost import cost_nanousd
from spendgate.pricing.load import table
from spendgate.usage import INPUT_KINDS, OUTPUT_KINDS

PRICES = table()
names = st.text(max_size=8).map(clean)  # as the ledger keeps them
cells = st.lists(
    st.builds(
        DayCell,
        team=names,
        day=st.integers(1, 30).map(lambda d: f"202611{d:02d}"),
        app=names,
        model=st.sampled_from(["gpt-4o", "claude-sonnet-4-5", "made-up"]),
        requests=st.integers(-3, 10**6),
        cost_nanousd=st.integers(-(10**6), 10**12),
        tokens=st.dictionaries(st.sampled_from(INPUT_KINDS + OUTPUT_KINDS), st.integers(1, 10**9)),
        saved_nanousd=st.integers(-(10**9), 10**9),
        refused=st.integers(0, 10**6),
    )
)


def cell(**fields: object) -> DayCell:
    values = {
        "team": "red",
        "day": "20261124",
        "app": "chat",
        "model": "gpt-4o",
        "requests": 1,
        "cost_nanousd": 3_500_000,
        "tokens": {"input": 1000, "output": 100},
    }
    return DayCell(**(values | fields))  # type: ignore[arg-type]


def report(*given_cells: DayCell) -> Chargeback:
    return chargeback("202611", "ledger", given_cells, PRICES)


@settings(deadline=None)
@given(st.integers(-(10**15), 10**15), st.lists(st.integers(0, 10**12), min_size=1).filter(any))
def test_shares_add_up_to_the_last_nano_dollar_and_none_is_off_by_one(
    amount: int, weights: list[int]
) -> None:
    shares = share(amount, weights)
    assert sum(shares) == amount
    for got, weight in zip(shares, weights, strict=True):
        assert abs(got * sum(weights) - amount * weight) < sum(weights)


@settings(deadline=None)
@given(cells)
def test_every_total_is_the_sum_of_its_parts_in_every_output(given_cells: list[DayCell]) -> None:
    made = report(*given_cells)
    cost, requests = sum(c.cost_nanousd for c in given_cells), sum(c.requests for c in given_cells)
    assert (made.cost_nanousd, made.requests) == (cost, requests)
    assert all(x.cost_nanousd == sum(k.cost_nanousd for k in x.kinds) for x in made.lines)
    usd = Decimal(cost) / 10**9
    rows = list(csv.DictReader(io.StringIO(to_csv(made))))
    assert sum(Decimal(r["cost_usd"]) for r in rows) == usd
    assert sum(int(r["requests"]) for r in rows) == requests
    assert sum(int(r["tokens"]) for r in rows) == sum(sum(c.tokens.values()) for c in given_cells)
    saved, refused = sum(c.saved_nanousd for c in given_cells), sum(c.refused for c in given_cells)
    assert sum(Decimal(r["saved_usd"]) for r in rows) == Decimal(made.saved_nanousd) / 10**9
    assert sum(int(r["refused"]) for r in rows) == made.refused == refused
    if all(c.requests > 0 for c in given_cells):  # no line of them is left out
        assert made.saved_nanousd == saved
    data = json.loads(to_json(made))
    kinds = [k for t in data["teams"] for x in t["lines"] for k in x["kinds"]]
    assert sum(Decimal(k["cost_usd"]) for k in kinds) == Decimal(data["cost_usd"]) == usd
    assert sum(Decimal(t["cost_usd"]) for t in data["teams"]) == usd


def test_the_cost_of_a_kind_is_its_tokens_at_the_list_price_where_that_is_what_was_charged() -> None:
    price = price_for(PRICES, "gpt-4o")
    tokens = {"input": 1000, "cached_input": 400, "output": 100}
    cost = cost_nanousd(price, tokens)
    by_kind = {k.kind: k.cost_nanousd for k in share_by_kind(cost, tokens, price)}
    assert by_kind == {kind: cost_nanousd(price, {kind: n}) for kind, n in tokens.items()}


def test_an_exchange_settled_at_its_estimate_is_a_cost_of_requests_not_of_tokens() -> None:
    (line,) = report(cell(tokens={}, cost_nanousd=70)).lines
    assert [(k.kind, k.tokens, k.cost_nanousd) for k in line.kinds] == [("requests", 0, 70)]
    rows = list(csv.DictReader(io.StringIO(to_csv(report(cell(tokens={}, cost_nanousd=70))))))
    assert [(r["kind"], r["requests"], r["cost_usd"]) for r in rows] == [("requests", "1", "0.00000007")]


def test_days_add_up_and_the_dearest_team_and_line_stand_first() -> None:
    made = report(
        cell(cost_nanousd=5),
        cell(cost_nanousd=6, day="20261125"),
        cell(cost_nanousd=90, app="batch"),
        cell(cost_nanousd=200, team="blue"),
    )
    assert list(made.teams) == ["blue", "red"]
    assert [(x.app, x.cost_nanousd, x.requests) for x in made.teams["red"]] == [
        ("batch", 90, 1),
        ("chat", 11, 2),
    ]


def test_a_day_that_was_taken_back_whole_is_no_line() -> None:
    assert report(cell(), cell(requests=-1, cost_nanousd=-3_500_000, tokens={})).requests == 0
    assert report(cell(tokens={}), cell(requests=-1, cost_nanousd=-3_500_000, tokens={})).lines == ()


@pytest.mark.parametrize("output", ["table", "csv", "json", "md", "html"])
def test_a_report_by_tag_names_the_tag_above_its_values(output: str) -> None:
    made = report(cell(app="beta-search"))
    plain, tagged = (
        Counter(re.findall(r"\w+", render(x, output).lower())) for x in (made, replace(made, by="project"))
    )
    assert (plain["app"] - tagged["app"], tagged["project"] - plain["project"]) == (1, 1)


HOSTILE = '=1+1|<script>alert("x")</script>`'


def test_a_name_can_not_break_out_of_a_table_a_page_or_a_spreadsheet() -> None:
    made = report(cell(team=HOSTILE, app=HOSTILE, model=HOSTILE))
    page = to_html(made)
    assert "<script" not in page
    row = next(line for line in to_markdown(made).splitlines() if "alert" in line and line.startswith("|"))
    assert row.replace("\\|", "").count("|") == 7
    assert "<script" not in row
    (first, *_) = csv.DictReader(io.StringIO(to_csv(made)))
    assert {first["team"][0], first["app"][0], first["model"][0]} == {"'"}


class Tags(HTMLParser):
    """Checks that every tag is closed, and in order."""

    VOID = frozenset({"meta"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: dict[str, int] = {}
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen[tag] = self.seen.get(tag, 0) + 1
        self.addresses += [v or "" for k, v in attrs if k in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_well_formed_fetches_nothing_and_shows_exact_amounts() -> None:
    page = to_html(report(cell(cost_nanousd=1_234_567_890_123), cell(team="blue", model="o3")))
    tags = Tags()
    tags.feed(page)
    tags.close()
    assert tags.open == []
    assert tags.addresses == []
    assert (tags.seen["svg"], tags.seen["table"]) == (5, 3)  # three charts and two legends
    assert 'title="1234.567890123">1,234.57<' in page
    assert "Budget USD" not in page
    budgets = to_html(
        report(cell(cost_nanousd=1_234_567_890_123), cell(team="blue", model="o3")), {"red": 5 * 10**12}
    )
    assert 'title="5000.00">5,000.00</span></td><td class="n">24.7 %<' in budgets
    assert budgets.count("–") == 2  # blue has none
    assert "Nothing was spent" in to_html(report())


def test_a_chart_has_a_bar_a_name_in_proportion_and_adds_the_small_ones_up() -> None:
    few = ElementTree.fromstring(bars([("small", 25), ("large", 100), ("<none>", 0)], "t"))
    assert [r.get("width") for r in few.iter("rect")] == ["440", "110", "0"]
    many = bars([(f"team {i}", 100 - i) for i in range(40)], "t")
    assert [t.text for t in ElementTree.fromstring(many).iter("title")][-1] == (
        f"28 others: ${sum(100 - i for i in range(12, 40)) / 1e9:.9f}"
    )


def test_what_was_saved_and_refused_stands_with_its_model_also_where_nothing_was_spent() -> None:
    made = report(
        cell(model="gpt-4o-mini", saved_nanousd=70),
        cell(model="gpt-4o-mini", saved_nanousd=-20, day="20261125"),
        cell(model="o3", requests=0, cost_nanousd=0, tokens={}, refused=9),
    )
    assert [(x.model, x.saved_nanousd, x.refused) for x in made.lines] == [
        ("gpt-4o-mini", 50, 0),
        ("o3", 0, 9),
    ]
    (team,) = json.loads(to_json(made))["teams"]
    assert (team["saved_usd"], team["refused"]) == ("0.00000005", 9)


def test_the_chart_of_days_stacks_teams_in_proportion_and_adds_the_small_ones_up() -> None:
    days = {"20261101": {"a": 75, "b": 25}, "20261130": {"a": 50, "b": -5}}
    chart = ElementTree.fromstring(f"<div>{columns(days, 30, 't')}</div>")
    svg = chart[0]
    tall = [float(r.get("height") or 0) for r in svg.iter("rect")]
    assert tall == [142.5, 47.5, 95.0]
    assert len(list(svg.iter("g"))) == 30
    assert "b $-0.000000005" in "".join(t.text or "" for t in svg.iter("title"))
    many = columns({"20261101": {f"team {i}": 100 - i for i in range(20)}}, 30, "t")
    assert "14 others" in many
    assert columns({}, 30, "t").count("<g>") == 30
