"""The pages of whoever closes the books."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace

from support.asks import end

from spendgate.budget.compile import compile_budget
from spendgate.budget.load import parse_documents
from spendgate.budget.policy import Policy
from spendgate.ledger.accounts import Adjustment
from spendgate.ledger.drift import Drift
from spendgate.ledger.redis.closing import close_month
from spendgate.policy.month_budgets import BudgetBook

from .conftest import T0, USD, House
from .test_pages import words

OCTOBER = "20261020"
DAY_MS = 86_400_000


async def test_adjustments_say_what_why_who_and_whether_a_budget_counts_them(house: House) -> None:
    await house.spend("red", 5 * USD)
    await house.ledger.adjust(
        [
            Adjustment("a-1", "red", -3 * USD, "a credit of the provider", "mei", "chat", "o3", "20261102"),
            Adjustment("a-2", "blue", 2 * USD, "a late bill", by="kofi", day="20261103", scopes=()),
        ],
        T0,
    )  # fmt: skip
    async with house.client() as client:
        page = await client.get("/adjustments?month=2026-11")
        said, one = words(page), words(await client.get("/adjustments?month=2026-11&team=red"))
        none = words(await client.get("/adjustments?month=2026-10"))
        file = await client.get("/adjustments.csv?month=2026-11")
    assert (
        "2026-11-02 red -$3.00 in the budget chat o3 a credit of the provider a-1 mei 2026-11-18 11:06:40 UTC"
        in said
    )
    assert "2026-11-03 blue +$2.00 accounting entry" in said
    assert "In budgets -$3.00" in said and "Accounting entries +$2.00" in said
    assert "Adjustments 1" in one and "kofi" not in one
    assert "Nothing was adjusted" in none
    assert file.text.splitlines()[1].startswith(
        "2026-11-03,2026-11-03,1795000000000,blue,(none),(none),2.00,no,a late bill"
    )
    assert 'href="/spend?from=2026-11-02&amp;to=2026-11-02&amp;team=red"' in page.text


async def test_closes_say_which_months_are_frozen_and_what_corrected_them_later(house: House) -> None:
    await house.ledger.adjust(
        [
            Adjustment("o", "red", 9 * USD, "october", day=OCTOBER),
            Adjustment("p", "blue", USD, "october", day=OCTOBER),
        ],
        T0,
    )
    await close_month(house.ledger, ["red"], "202610", "finance", T0)
    await house.ledger.adjust([Adjustment("late", "red", USD, "it came late", day=OCTOBER)], T0)
    async with house.client() as client:
        months, month = words(await client.get("/closes")), words(await client.get("/closes?month=2026-10"))
    assert "October 2026 Closed in part $10.00 2 1 2026-11-18 11:06:40 UTC finance" in months
    assert "November 2026 Running $1.00" in months
    assert re.search(r"red Closed \$9\.00 0 2026-11-18 11:06:40 UTC finance [0-9a-f]{12}", month)
    assert re.search(r"blue Open \$1\.00 0 – – [0-9a-f]{12}", month)
    assert "the same to the nano-dollar" in month
    assert "Corrected later +$1.00 1 adjustment" in month and "it came late" in month
    await house.ledger.calls.redis.hincrby("sg1:{red}:b:month:202610", "s", 5 * USD)
    async with house.client() as client:
        tampered = words(await client.get("/closes?month=2026-10"))
    assert "red Changed since it was $9.00 $14.00" in tampered and "differs by -$5.00" in tampered


async def test_drift_says_what_was_invoiced_what_was_metered_and_what_is_open(house: House) -> None:
    async with house.client() as client:
        assert "No invoice was reconciled yet" in words(await client.get("/drift"))
        await house.ledger.note_drift(
            Drift("openai", "2026-10", T0, {"gpt-4o": (USD, 51 * USD, 50 * USD), "o3": (0, 2 * USD, 2 * USD)})
        )
        said = words(await client.get("/drift"))
    assert (
        "OpenAI, October 2026 Invoiced $53.00 Metered $52.00 Open drift +$1.00 +1.9 % of the invoice" in said
    )
    assert "gpt-4o $51.00 $50.00 +$1.00" in said


async def test_prices_are_those_in_force_and_a_model_without_one_is_named(house: House) -> None:
    await house.spend("red", 2 * USD, model="gpt-4o")
    await house.spend("red", USD, model="never-heard-of-9")
    async with house.client() as client:
        said, found = words(await client.get("/prices")), words(await client.get("/prices?q=o3-mini"))
        nothing = words(await client.get("/prices?q=no-such-model"))
    assert "gpt-4o OpenAI $2.50 $1.25 – $10.00 $2.00" in said
    assert "1 model has no price of its own here" in said and "never-heard-of-9 No price : charged as" in said
    assert "o3-mini OpenAI" in found and "never-heard-of-9" not in found
    assert "No model has “no-such-model” in its name" in nothing


async def test_the_chargeback_page_adds_up_and_every_number_leads_on(house: House) -> None:
    await house.spend("red", 40 * USD)
    await house.spend("blue", 2 * USD)
    async with house.client() as client:
        page = await client.get("/chargeback")
    assert "red $40.00 95.2 % – 1 0 10 $0.00" in words(page) and "Total $42.00" in words(page)
    assert 'href="/spend?month=2026-11&amp;team=red"' in page.text


async def test_a_month_is_judged_by_its_budget_with_what_the_one_before_left(house: House) -> None:
    text = (
        "apiVersion: ai.systemhardening.com/v1\nkind: LLMBudget\nmetadata: {name: red}\n"
        "spec: {team: red, monthlyBudgetUSD: 100, rollover: {percent: 50}}\n"
    )
    policy = Policy.of(map(compile_budget, parse_documents(text)))
    house.snapshot = replace(house.snapshot, policy=policy)
    await house.ledger.settle([end("y1", 20 * USD, at_ms=T0 - 30 * DAY_MS)], T0)
    await house.spend("red", 120 * USD)
    async with house.client() as client:
        overview, team = words(await client.get("/")), words(await client.get("/teams/red"))
        spend = words(await client.get("/spend?month=2026-11&team=red"))
        says = words(await client.get("/teams/red/policy"))
        past = words(await client.get("/?month=2026-10"))
    assert "red 80.0 % $150.00 $120.00" in overview and "Downgrading" in overview
    assert "80.0 % of $150.00 used" in team and "Spent $120.00 80.0 % of $150.00" in spend
    assert "Rolls over what last month left, at most 50 % of the month: $50.00 into this one" in says
    assert "month 120.00 0.00 150.00" in says
    assert "red 20.0 % $100.00 $20.00" in past  # September is not known


async def test_a_past_month_is_judged_by_its_own_budgets(house: House) -> None:
    await house.ledger.adjust([Adjustment("o", "red", 90 * USD, "october", day=OCTOBER)], T0)
    text = (
        "apiVersion: ai.systemhardening.com/v1\nkind: LLMBudget\nmetadata: {name: red}\n"
        "spec: {team: red, monthlyBudgetUSD: 300}\n"
    )
    then = Policy.of(map(compile_budget, parse_documents(text)))
    await BudgetBook(house.ledger.calls.redis).note(then, "202610")
    async with house.client() as client:
        overview, team = (
            words(await client.get("/?month=2026-10")),
            words(await client.get("/teams/red?month=2026-10")),
        )
        spend = words(await client.get("/spend?month=2026-10&team=red"))
        quarter = words(await client.get("/?period=2026-Q4"))
    assert "red 30.0 % $300.00 $90.00 Ready" in overview
    assert "30.0 % of $300.00 used" in team and "Spent $90.00 30.0 % of $300.00" in spend
    assert "red 22.5 % $400.00 $90.00" in quarter  # October's 300 and November's 100


async def test_the_chargeback_and_its_files_have_groups_of_a_month_that_is_over_its_own(house: House) -> None:
    def policy(usd: int, *members: str) -> Policy:
        spec = f"{{team: eng, members: [{', '.join(members)}], monthlyBudgetUSD: {usd}}}"
        text = (
            "{apiVersion: ai.systemhardening.com/v1, kind: LLMBudget, "
            f"metadata: {{name: eng}}, spec: {spec}}}"
        )
        return Policy.of(map(compile_budget, parse_documents(text)))

    house.snapshot = replace(house.snapshot, policy=policy(20, "red", "blue"))
    await BudgetBook(house.ledger.calls.redis).note(policy(4, "red"), "202610")
    october = [Adjustment(t, t, 2 * USD, "october", day=OCTOBER) for t in ("red", "blue")]
    await house.ledger.adjust(october, T0)
    for team, usd in (("red", 5), ("blue", 2), ("green", 1)):
        await house.spend(team, usd * USD)
    async with house.client() as client:
        page, past = [words(await client.get(f"/chargeback?month=2026-{m}")) for m in (11, 10)]
        made = (await client.get("/chargeback?month=2026-11&as=json")).json()
        focus = (await client.get("/chargeback?month=2026-10&as=focus")).text
    assert "eng red , blue $7.00 $20.00 35.0 %" in page
    assert "eng red $2.00 $4.00 50.0 %" in past
    assert [(g["group"], g["cost_usd"], g["teams"]) for g in made["groups"]] == [
        ("eng", "7.00", ["blue", "red"])
    ]
    tagged = {r["SubAccountId"]: json.loads(r["Tags"]) for r in csv.DictReader(io.StringIO(focus))}
    assert {t for t, tags in tagged.items() if tags.get("group:eng")} == {"red"}
