"""What the teams of a group cost together stands beside the teams, in every output."""

from __future__ import annotations

import csv
import io
import json
import re
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st
from support.policy import budget

from spendgate.budget.load import policy_from_documents
from spendgate.budget.policy import Policy
from spendgate.cli.report import render
from spendgate.finops.chargeback.chargeback import Chargeback, chargeback
from spendgate.finops.chargeback.focus import Month, focus_rows
from spendgate.finops.chargeback.groups import GROUP_RULE, Groups, of_group, of_teams, with_groups
from spendgate.finops.chargeback.html import to_html
from spendgate.finops.chargeback.render import to_csv, to_json, to_markdown
from spendgate.ledger.accounts import DayCell
from spendgate.pricing.load import table

PRICES = table()
USD = 10**9


def budgets(*documents: str) -> Policy:
    return policy_from_documents([json.loads(d) for d in documents])


GROUPS = Groups(
    budgets(
        budget("org", 50, members=["*"]),
        budget("engineering", 20, members=["payments", "search-*"]),
        budget("=idle", 5, members=["nobody"]),
        budget("payments", 9),
    ),
    {"org": 50 * USD, "engineering": 20 * USD, "=idle": 5 * USD},
)


def cell(team: str, nano: int, day: str = "20261124", **more: object) -> DayCell:
    return DayCell(team, day, "chat", "gpt-4o", 1, nano, {"input": 1000}, **more)  # type: ignore[arg-type]


def report(*cells: DayCell) -> Chargeback:
    return chargeback("202611", "ledger", cells, PRICES)


SPENT = report(
    cell("payments", 5 * USD + 1),
    cell("search-api", 7 * USD),
    cell("unattributed", 2 * USD),
    cell("sales", 1),
)


def test_a_group_has_the_sum_of_its_teams_to_the_nano_dollar_beside_its_budget() -> None:
    made = json.loads(to_json(with_groups(SPENT, GROUPS)))
    assert made["cost_usd"] == "14.000000002"
    assert [(g["group"], g["cost_usd"], g["budget_usd"], g["utilization"]) for g in made["groups"]] == [
        ("=idle", "0.00", "5.00", 0.0),
        ("engineering", "12.000000001", "20.00", 0.6),
        ("org", "14.000000002", "50.00", 0.28),
    ]
    assert made["groups"][1]["teams"] == ["payments", "search-api"]
    assert made["groups"][1]["requests"] == 2
    assert made["group_rule"] == GROUP_RULE
    assert not {"groups", "group_rule"} & json.loads(to_json(SPENT)).keys()


def test_every_output_shows_groups_and_says_that_they_do_not_add_up_to_the_total() -> None:
    made = with_groups(SPENT, GROUPS)
    for output in ("table", "md", "html"):
        text = render(made, output)
        assert GROUP_RULE.lower() in text.lower(), output
        (row,) = (x for x in text.splitlines() if "engineering" in x)
        assert re.search(r"payments, search-api.*12\.00.*20\.00.*60\.0\s?%", row), output
        assert GROUP_RULE not in render(SPENT, output)


def test_a_row_of_csv_names_the_groups_of_its_team_and_all_rows_still_add_up() -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv(with_groups(SPENT, GROUPS)))))
    assert {r["team"]: r["groups"] for r in rows} == {
        "payments": "engineering;org",
        "search-api": "engineering;org",
        "unattributed": "org",
        "sales": "org",
    }
    assert sum(Decimal(r["cost_usd"]) for r in rows) == Decimal("14.000000002")
    engineering = sum(Decimal(r["cost_usd"]) for r in rows if "engineering" in r["groups"].split(";"))
    assert engineering == Decimal("12.000000001")
    assert "groups" not in to_csv(SPENT).splitlines()[0]


def test_a_groups_name_can_not_break_out_of_a_table_a_page_or_a_spreadsheet() -> None:
    name = '=1|<script>alert("x")</script>'
    groups = Groups(budgets(budget(name, 1, members=["sales"])), {name: USD})
    made = with_groups(SPENT, groups)
    assert "<script" not in to_html(made)
    (row,) = (x for x in to_markdown(made).splitlines() if "alert" in x)
    assert "<script" not in row and row.replace("\\|", "").count("|") == 10
    (found,) = {r["groups"] for r in csv.DictReader(io.StringIO(to_csv(made))) if r["team"] == "sales"}
    assert found == f"'{name}"


def test_one_groups_report_has_its_teams_alone_and_no_other_group() -> None:
    part = of_group(
        report(cell("payments", 5), cell("sales", 7), cell("sales", 9, "20261125")), GROUPS, "engineering"
    )
    assert (list(part.teams), part.cost_nanousd, [g.name for g in part.groups]) == (
        ["payments"],
        5,
        ["engineering"],
    )
    assert part.days == {"20261124": {"payments": 5}}


def test_one_teams_report_has_the_days_of_that_team_alone() -> None:
    part = of_teams(report(cell("payments", 5), cell("sales", 7)), lambda team: team == "sales")
    assert (part.cost_nanousd, part.days) == (7, {"20261124": {"sales": 7}})


def test_focus_has_a_tag_for_each_group_so_that_a_department_can_be_added_up() -> None:
    cells = [cell("payments", 5 * USD + 1, tags=(("project", "beta"),)), cell("sales", 1)]
    rows = list(focus_rows(Month("202611", cells, PRICES, "acme", groups=GROUPS)))
    tags = {r["SubAccountId"]: json.loads(r["Tags"]) for r in rows}
    own = {"app": "chat", "model": "gpt-4o"}
    assert tags == {
        "payments": own | {"project": "beta", "group:engineering": True, "group:org": True},
        "sales": own | {"group:org": True},
    }
    of_department = [r for r in rows if json.loads(r["Tags"]).get("group:engineering")]
    assert sum(Decimal(r["BilledCost"]) for r in of_department) == Decimal("5.000000001")


teams = st.sampled_from(["payments", "search-1", "search-2", "sales", "unattributed", ""])


@settings(deadline=None)
@given(st.lists(st.tuples(teams, st.integers(-(10**6), 10**12)), max_size=12))
def test_a_groups_sum_is_that_of_the_cells_of_its_teams(spent: list[tuple[str, int]]) -> None:
    made = with_groups(report(*(cell(t, n) for t, n in spent)), GROUPS)
    sums = {g.name: g.cost_nanousd for g in made.groups}
    members = {"payments", "search-1", "search-2"}
    assert sums["engineering"] == sum(n for t, n in spent if t in members)
    assert sums["org"] == made.cost_nanousd
