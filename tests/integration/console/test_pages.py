"""The console's pages over a real ledger: what they say, and what they do not let anybody do."""

from __future__ import annotations

import asyncio
import csv
import io
import re
from dataclasses import replace
from decimal import Decimal
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from support.asks import ask, bound, candidate, end

from spendgate.budget.compile import compile_budget
from spendgate.budget.load import parse_documents
from spendgate.budget.policy import Policy
from spendgate.console.asking import ProposalService
from spendgate.console.settings import ConsoleSettings
from spendgate.errors import ConfigurationError
from spendgate.exchange.snapshot import snapshot
from spendgate.ledger.accounts import Adjustment
from spendgate.proposals.forges import PullRequest
from spendgate.proposals.propose import ChangeRequest, Proposal
from spendgate.settings.config import Settings

from .conftest import T0, TOKEN, USD, House

ODD = 'a/b <i>&"é'


def words(page: httpx.Response) -> str:
    """What a person reads of a page."""
    return " ".join(re.sub(r"<[^>]*>", " ", page.text).split())


async def test_the_overview_shows_every_team_with_the_fullest_budget_first(house: House) -> None:
    await house.spend("red", 85 * USD)
    await house.spend("nobody's", 2 * USD)
    async with house.client() as client:
        page = await client.get("/")
    assert page.status_code == 200
    said = words(page)
    assert re.search(r"red 85\.0 % \$100\.00 \$85\.00 \$0\.00 \S+ Downgrading", said)
    assert re.search(r"nobody&#39;s – – \$2\.00 \$0\.00 \S+ No budget", said)
    assert said.index("red 85.0") < said.index("&lt;i&gt;") < said.index("nobody&#39;s –")
    assert "Spent $87.00" in said


async def test_forecasts_that_are_not_read_yet_do_not_hold_the_overview_up(house: House) -> None:
    await house.spend("red", 40 * USD)
    async with house.client() as client:
        first = await client.get("/")
        assert 'data-live="1"' in first.text and "being read" in first.text
        for _ in range(500):
            page = await client.get("/")
            if "being read" not in page.text:
                break
            await asyncio.sleep(0.02)
    assert re.search(r"red 40\.0 % \$100\.00 \$40\.00 \$0\.00 \$\d\S+ Ready", words(page))
    assert 'data-live="5"' in page.text


async def test_names_from_outside_are_text_and_their_pages_are_found(house: House) -> None:
    await house.spend(ODD, 3 * USD, app="<script>alert(1)</script>")
    async with house.client() as client:
        overview = await client.get("/")
        link = re.search(r'href="(/teams/[^"?]*)[^"]*">a/b', overview.text)
        assert link is not None
        page = await client.get(link.group(1))
    assert "<i>" not in overview.text
    assert page.status_code == 200
    assert "<script>alert" not in page.text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page.text


async def test_a_teams_page_shows_apps_models_days_refusals_and_the_forecast(house: House) -> None:
    await house.spend("red", 40 * USD, app="chat", model="gpt-4o")
    await house.spend("red", 2 * USD, app="lab", model="o3")
    await house.refuse("red", user="kim")
    async with house.client() as client:
        said = words(await client.get("/teams/red"))
    assert "42.0 % of $100.00 used" in said
    for part in ("chat $40.00", "lab $2.00", "gpt-4o $40.00", "o3 $2.00", "input 20", "2026-11-18 $42.00"):
        assert part in said
    assert (
        "2026-11-18 11:06:40 UTC chat o3 the app is not among allowedApps of the model&#39;s pattern kim"
        in said
    )
    assert "Forecast, month&#39;s end" in said
    assert "Exhausted at this pace 2026-11-" in said


async def test_a_teams_page_shows_what_requests_in_flight_hold(house: House) -> None:
    await house.ledger.reserve(ask("h1", candidate(3 * USD, bound(), model="o3"), team="red", app="lab"), T0)
    async with house.client() as client:
        said = words(await client.get("/teams/red"))
    assert "Held by 1 in flight $3.00" in said
    assert re.search(r"lab o3 \$3\.00 \d+\.\d s \d+\.\d s", said)


async def test_another_month_is_read_from_its_own_books(house: House) -> None:
    await house.spend("red", 40 * USD)
    async with house.client() as client:
        said = words(await client.get("/teams/red?month=2026-10"))
        assert "Nothing was spent." in said
        assert "Forecast" not in said
        assert words(await client.get("/?month=2026-10")).count("$40.00") == 0
        assert (await client.get("/?month=soon")).status_code == 400


async def test_many_teams_come_in_pages_and_are_found_by_name(house: House) -> None:
    await house.ledger.settle([], 0)
    for n in range(120):
        await house.spend(f"team-{n:03d}", (n + 1) * USD)
    async with house.client() as client:
        first, last = words(await client.get("/")), words(await client.get("/?page=3"))
        found = words(await client.get("/?q=TEAM-07"))
    assert "Page 1 of 3" in first and "team-119" in first and "team-000" not in first
    assert "team-000" in last
    assert re.search(r"Teams 10 ", found) and "team-070" in found and "team-080" not in found


async def test_what_is_not_there_is_said_with_a_way_back(house: House) -> None:
    async with house.client() as client:
        for path in ("/teams/nobody", "/teams/nobody/policy", "/chargeback?as=doc"):
            page = await client.get(path)
            assert page.status_code == 404
            assert "All budgets" in words(page)
        assert (await client.get("/static/../pages.py")).status_code == 404


async def test_a_ledger_away_is_a_page_and_no_traceback(house: House) -> None:
    await house.ledger.close()
    broken = type(house.ledger).from_url("unix:///nowhere/at/all.sock", timeout_s=0.2)
    async with House(broken, house.snapshot).client() as client:
        page = await client.get("/")
    await broken.close()
    assert page.status_code == 503
    assert "The ledger does not answer" in words(page)


async def test_the_policy_page_explains_a_request_by_the_gateways_own_decision(house: House) -> None:
    await house.spend("red", 99 * USD)
    body = '{"model": "o3", "max_tokens": 10, "messages": [{"role": "user", "content": "hi"}]}'
    async with house.client() as client:
        shown = words(await client.get("/teams/red/policy"))
        assert "At 80 % alert and downgrade" in shown
        assert "Models o3* $5.00 a month together; only lab" in shown
        assert "month 99.00 0.00 100.00 6.00" in shown
        page = words(await client.post("/teams/red/policy", data={"app": "chat", "request": body}))
        assert "Reject: app not allowed for model" in page or "Downgrade" in page
        wrong = words(await client.post("/teams/red/policy", data={"request": "no json"}))
        assert "cannot be read" in wrong
    month = await house.ledger.month("red", "202611")
    assert (month.reserved_nanousd, month.settled_nanousd) == (0, 99 * USD)


async def test_the_policy_page_says_every_limit_in_its_own_unit(house: House) -> None:
    text = """\
apiVersion: ai.systemhardening.com/v1
kind: LLMBudget
metadata: {name: red}
spec:
  team: red
  monthlyBudgetUSD: 100
  limits:
    - {per: user, max: 50, window: month, overrides: [{match: "ann@*", max: 500}]}
    - {per: team, unit: tokens, max: 5000000, window: day, match: "llama-*"}
    - {per: team, unit: requests, max: 200, window: hour}
"""
    policy = Policy.of(map(compile_budget, parse_documents(text)))
    other = House(house.ledger, snapshot(policy, house.snapshot.prices, Settings()))
    async with other.client() as client:
        page = await client.get("/teams/red/policy")
        asked = {
            "request": '{"model": "gpt-4o", "max_tokens": 10, "messages": [{"role": "user", "content": "hi"}]}'
        }
        tried = await client.post("/teams/red/policy", data=asked)
    said = words(page)
    assert "Each user $50.00 a month; $500.00 for ann@*" in said
    assert "Each team of llama-* 5,000,000 tokens a day" in said
    assert re.search(r"0 requests 0 200 200", said), said
    assert tried.status_code == 200 and "Model used gpt-4o" in words(tried)


CARRIED = "{team: red, monthlyBudgetUSD: 100, rollover: {percent: 50}}"
LEARNED = "{team: red, monthlyBudgetUSD: 100, overshootPercent: 0, holds: learned, holdMinSamples: 3}"


@pytest.mark.parametrize(
    ("spec", "spent", "held"), [(CARRIED, 120 * USD, 0), (LEARNED, 99 * USD, USD // 20 * 19)]
)
async def test_a_dry_run_counts_what_is_carried_over_and_what_holds_have_learned(
    house: House, spec: str, spent: int, held: int
) -> None:
    text = f"apiVersion: ai.systemhardening.com/v1\nkind: LLMBudget\nmetadata: {{name: red}}\nspec: {spec}\n"
    policy = Policy.of(map(compile_budget, parse_documents(text)))
    other = House(house.ledger, snapshot(policy, house.snapshot.prices, Settings()))
    await house.ledger.adjust([Adjustment("o", "red", 60 * USD, "october", day="20261020")], T0)
    for n in range(3):
        await house.ledger.reserve(ask(f"s{n}", candidate(1, bound())), T0)
        await house.ledger.settle([replace(end(f"s{n}", 1), sample=(10, 10))], T0)
    await house.spend("red", spent)
    await house.ledger.reserve(ask("h", candidate(held, bound())), T0)
    body = '{"model": "gpt-4o", "max_tokens": 16000, "stream": true, "messages": [{"role": "user", "content": "hi"}]}'
    async with other.client() as client:  # its worst case, $0.16, alone fits into neither
        page = words(await client.post("/teams/red/policy", data={"app": "chat", "request": body}))
    assert "Allow: within budget" in page, page[page.index("Try a request") :]


async def test_the_chargeback_downloads_add_up_to_the_ledger(house: House) -> None:
    await house.spend("red", 40 * USD)
    await house.spend("blue", 2 * USD)
    async with house.client() as client:
        assert "CSV" in words(await client.get("/chargeback"))
        answer = await client.get("/chargeback?month=2026-11&as=json")
        assert answer.json()["cost_usd"] == "42.00"
        assert answer.headers["content-disposition"] == 'attachment; filename="chargeback-2026-11.json"'
        for kind in ("csv", "md", "html"):
            assert (await client.get(f"/chargeback?as={kind}")).status_code == 200
        for kind, has in (("focus", "HostProviderName"), ("focus-1.2", "PublisherName")):
            focus = await client.get(f"/chargeback?month=2026-11&as={kind}")
            rows = list(csv.DictReader(io.StringIO(focus.text)))
            assert sum(Decimal(r["BilledCost"]) for r in rows) == 42 and has in rows[0]
            assert focus.headers["content-disposition"] == f'attachment; filename="{kind}-2026-11.csv"'
        assert (await client.get("/chargeback?as=pdf")).status_code == 404


async def test_every_page_forbids_foreign_code_frames_and_caching(house: House) -> None:
    async with house.client(SPENDGATE_CONSOLE_TOKEN=TOKEN) as client:
        for path in ("/", "/sign-in", "/teams/red", "/static/console.css"):
            headers = (await client.get(path)).headers
            assert "default-src 'none'" in headers["content-security-policy"]
            assert "frame-ancestors 'none'" in headers["content-security-policy"]
            assert headers["x-content-type-options"] == "nosniff"
        assert (await client.get("/")).headers["cache-control"] == "no-store"


# -- signing in and asking ----------------------------------------------------------------------------------


class Recorded(ProposalService):
    """Takes wishes, and makes no clone."""

    wishes: list[ChangeRequest]

    def __init__(self, settings: ConsoleSettings) -> None:
        super().__init__(settings)
        self.wishes = WISHES

    async def ask(self, wish: ChangeRequest) -> Proposal:
        if wish.team == "away":
            raise ConfigurationError("away")
        self.wishes.append(wish)
        request = PullRequest("https://forge.test/pull/7", 7)
        return Proposal(
            "b", "main", "f", "c", wish.title, "", "", ("lead",), pushed=True, pull_request=request
        )


WISHES: list[ChangeRequest] = []


@pytest.fixture
def wishes() -> list[ChangeRequest]:
    WISHES.clear()
    return WISHES


async def signed_in(client: httpx.AsyncClient, name: str = "kim") -> None:
    answer = await client.post("/sign-in", data={"name": name, "token": TOKEN, "back": "/teams/red"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/teams/red")
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=strict" in cookie


ASK: dict[str, Any] = {"asking": Recorded, "SPENDGATE_CONSOLE_TOKEN": TOKEN, "SPENDGATE_POLICY_REPO": "/r"}
FORM = {"usd": "500", "until": "2026-12-15", "reason": "Black Friday"}


async def test_who_is_signed_in_proposes_a_raise_in_their_name(
    house: House, wishes: list[ChangeRequest]
) -> None:
    async with house.client(**ASK) as client:
        await signed_in(client)
        page = await client.get("/teams/red/raise")
        token = re.search(r'name="form_token" value="(\w+)"', page.text)
        assert token is not None
        done = await client.post("/teams/red/raise", data={**FORM, "form_token": token.group(1)})
    assert done.status_code == 200
    assert "https://forge.test/pull/7" in done.text
    assert "approval of lead" in words(done)
    (wish,) = wishes
    assert (wish.team, wish.usd, wish.reason, wish.asked_by) == ("red", 500, "Black Friday", "kim (console)")


async def test_nobody_asks_without_signing_in_or_from_a_foreign_page(
    house: House, wishes: list[ChangeRequest]
) -> None:
    async with house.client(**ASK, SPENDGATE_CONSOLE_ANONYMOUS="read") as client:
        assert (await client.get("/teams/red")).status_code == 200
        assert (await client.post("/teams/red/raise", data=FORM)).status_code == 401
        await signed_in(client)
        assert (await client.post("/teams/red/raise", data=FORM)).status_code == 403
        page = await client.get("/teams/red/raise")
        token = re.search(r'name="form_token" value="(\w+)"', page.text)
        assert token is not None
        good = {**FORM, "form_token": token.group(1)}
        foreign = await client.post("/teams/red/raise", data=good, headers={"sec-fetch-site": "cross-site"})
        assert foreign.status_code == 403
        assert (await client.post("/sign-out", data={})).status_code == 403
    assert wishes == []


async def test_a_wrong_wish_comes_back_with_what_was_written(
    house: House, wishes: list[ChangeRequest]
) -> None:
    async with house.client(**ASK) as client:
        await signed_in(client)
        page = await client.get("/teams/red/raise")
        token = re.search(r'name="form_token" value="(\w+)"', page.text)
        assert token is not None
        for change in ({"until": "2020-01-01"}, {"usd": "much"}, {"reason": " "}):
            done = await client.post(
                "/teams/red/raise", data={**FORM, **change, "form_token": token.group(1)}
            )
            assert done.status_code == 422
            assert "Black Friday" in done.text or "reason" in change
    assert wishes == []


async def test_strangers_see_the_sign_in_page_and_a_wrong_token_opens_nothing(house: House) -> None:
    async with house.client(SPENDGATE_CONSOLE_TOKEN=TOKEN) as client:
        page = await client.get("/")
        assert page.status_code == 401
        assert "The console&#39;s token" in page.text or "The console's token" in page.text
        wrong = await client.post("/sign-in", data={"name": "kim", "token": "wrong", "back": "/"})
        assert wrong.status_code == 401
        assert "set-cookie" not in wrong.headers
        assert (await client.get("/", headers={"authorization": f"Bearer {TOKEN}"})).status_code == 200


@pytest.mark.parametrize(
    "path",
    ["/", "/overview/days.csv", "/spend", "/spend?team=red", "/spend.csv", "/spend.focus.csv", "/teams/red",
     "/teams/red/policy", "/chargeback", "/chargeback?as=csv", "/adjustments", "/adjustments.csv", "/closes",
     "/closes?month=2026-10", "/drift", "/prices"],
)  # fmt: skip
async def test_strangers_see_no_page_and_no_file(house: House, path: str) -> None:
    await house.spend("red", 40 * USD)
    async with house.client(SPENDGATE_CONSOLE_TOKEN=TOKEN) as client:
        page = await client.get(path)
        assert page.status_code == 401 and "40.00" not in page.text and "chat" not in page.text
        known = await client.get(path, headers={"authorization": f"Bearer {TOKEN}"})
        assert known.status_code == 200, known.text


@pytest.mark.parametrize("back", ["https://evil.test/", "//evil.test", "/\\evil.test", ""])
async def test_signing_in_never_leads_to_another_site(house: House, back: str) -> None:
    async with house.client(SPENDGATE_CONSOLE_TOKEN=TOKEN) as client:
        answer = await client.post("/sign-in", data={"name": "kim", "token": TOKEN, "back": back})
    assert answer.headers["location"] == "/"


async def test_signing_out_ends_the_session(house: House) -> None:
    async with house.client(SPENDGATE_CONSOLE_TOKEN=TOKEN) as client:
        await signed_in(client)
        page = await client.get("/")
        token = re.search(r'name="form_token" value="(\w+)"', page.text)
        assert token is not None
        assert (await client.post("/sign-out", data={"form_token": token.group(1)})).status_code == 303
        assert (await client.get("/")).status_code == 401


async def test_a_form_without_end_is_refused(house: House) -> None:
    async with house.client(SPENDGATE_CONSOLE_TOKEN=TOKEN) as client:
        answer = await client.post("/sign-in", content=b"x" * (2 * 1024 * 1024))
    assert answer.status_code == 413


def test_team_names_survive_the_way_through_an_url() -> None:
    assert quote(ODD, safe="") == "a%2Fb%20%3Ci%3E%26%22%C3%A9"


async def test_the_overview_says_who_pays_for_what_and_against_which_month(house: House) -> None:
    await house.spend("red", 30 * USD, model="gpt-4o")
    await house.spend("red", 10 * USD, model="us.anthropic.claude-sonnet-4-5-20250929-v1:0")
    await house.spend("nobody's", 2 * USD, model="gemini-2.5-pro")
    await house.ledger.adjust(
        [
            Adjustment("early", "red", 21 * USD, "october, by the 18th", day="20261005"),
            Adjustment("late", "red", 9 * USD, "october, after it", day="20261025"),
        ],
        T0,
    )
    async with house.client() as client:
        said = words(await client.get("/"))
        past = words(await client.get("/?month=2026-10"))
        days = await client.get("/overview/days.csv?month=2026-11")
        teams = await client.get("/overview/teams.csv?month=2026-11")
        providers = await client.get("/overview/providers.csv")
        nothing = await client.get("/overview/pies.csv")
    assert "Spent $42.00" in said and "Without a budget $2.00 1 team" in said
    assert "Against the same days of October 2026 +100.0 %" in said
    assert "Amazon Web Services $10.00 23.8 %" in said and "OpenAI $30.00 71.4 %" in said
    assert "red $21.00 $40.00 +$19.00" in said
    assert "Against September 2026 –" in past and "Spent $30.00" in past
    assert days.text.splitlines()[0] == "day,spent_usd,before_usd"
    assert "2026-11-05,0.00,21.00" in days.text and "2026-11-18,42.00,0.00" in days.text
    assert len(days.text.splitlines()) == 19
    assert "red,40.00,21.00,19.00" in teams.text
    assert providers.headers["content-disposition"] == 'attachment; filename="providers-2026-11.csv"'
    assert nothing.status_code == 404 and "days, teams" in nothing.text


async def test_with_very_many_teams_the_overview_is_there_at_once_and_whole_a_moment_later(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spendgate.console.figures.PATIENCE_S", 0)
    await house.spend("red", 30 * USD)
    async with house.client() as client:
        assert "By provider" not in words(await client.get("/"))
        for _ in range(500):
            if "By provider" in words(await client.get("/")):
                break
            await asyncio.sleep(0.02)
        assert "By provider" in words(await client.get("/"))
