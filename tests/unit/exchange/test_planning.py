"""What a snapshot keeps of plans decides nothing: one that has served many requests plans as a fresh one does, and as
the decision does where nothing is kept."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.exchange.driver import NOW_MS, PRICES, snapshot_of

from spendgate.budget.load import policy_from_documents
from spendgate.budget.patterns import team_pattern
from spendgate.budget.policy import Policy, TeamBudget
from spendgate.dialects.base import RequestFacts
from spendgate.exchange import planning
from spendgate.exchange import snapshot as snapshots
from spendgate.exchange.planning import Planned, gather
from spendgate.exchange.snapshot import Address, Snapshot, snapshot
from spendgate.identity.identity import Identity
from spendgate.pricing.price import ALWAYS, Entry, Hours, Period, Price, Tier
from spendgate.pricing.table import PriceTable
from spendgate.pricing.terms import Discount
from spendgate.settings.config import Settings
from spendgate.tokens.count import Counted

USD = 1_000_000_000


def ms(*when: int) -> int:
    return int(datetime(*when, tzinfo=UTC).timestamp() * 1000)  # type: ignore[misc,arg-type]


RAISE_ENDS, PRICE_CHANGES = ms(2026, 11, 30, 23, 59), ms(2026, 12, 7)
BORDERS = (
    ms(2026, 11, 29, 23), ms(2026, 11, 30), ms(2026, 11, 30, 14), ms(2026, 11, 30, 22), RAISE_ENDS,
    ms(2026, 12, 1), PRICE_CHANGES, ms(2026, 12, 6, 23), ms(2027, 1, 1), ms(2027, 3, 28, 1),
)  # fmt: skip
"""Hours, days, weeks, months and years end, here and in Berlin; an increase ends, prices change."""

INCREASE = {"increase": [{"usd": 40, "until": datetime.fromtimestamp(RAISE_ENDS / 1000, UTC).isoformat()}]}

# of a budget, each in force or not: what plans are kept with, and what leaves more to each request
PARTS: list[dict[str, Any]] = [
    {"dailyBudgetUSD": 10, "maxUSDPerHour": 2},
    {"modelLimits": [{"modelPattern": "gpt-*", "maxMonthlyUSD": 50}]},
    {"modelLimits": [{"modelPattern": "dated", "maxMonthlyUSD": 5, "allowedApps": ["a"]}]},
    {"apps": [{"name": "a", "essential": True, "maxMonthlyUSD": 7}, {"name": "b", "maxMonthlyUSD": 3}]},
    {"apps": [{"name": "b", "essential": True}]},
    {"maxUSDPerRequest": Decimal("0.004")},
    {"outputTokenCap": 100},
    {"clampOutput": True},
    {"overshootPercent": 0},
    INCREASE,
    {"limits": [{"per": "team", "max": 9, "window": "week"}], "timeZone": "Europe/Berlin"},
    {"limits": [{"per": "team", "max": 100_000, "unit": "tokens", "window": "day"}], "timeZone": "Asia/Tokyo"},
    {"limits": [{"per": "app", "max": 9, "window": "day", "overrides": [{"match": "a", "max": 20}]}]},
    {"limits": [{"per": "model", "max": 9, "unit": "requests", "window": "hour"}]},
    {"limits": [{"per": "team", "match": "gpt-*", "max": 9, "window": "quarter"}]},
    {"rollover": {"percent": 20}},
    {"alertThresholds": [{"percent": 50, "action": "alert"}]},
    {"failurePolicy": "closed"},
    {"failurePolicy": "open"},
    {"failOpenLimitUSD": 3},
    {"unpricedModels": "reject"},
    {"unpricedModels": "allow"},
]  # fmt: skip
OTHER_PARTS: list[dict[str, Any]] = [
    {"limits": [{"per": "user", "max": 9}]},
    {"limits": [{"per": "run", "max": 9, "window": "total"}]},
    {"limits": [{"per": "provider", "max": 9}]},
    {"limits": [{"per": "tag:project", "max": 9}]},
    {"maxUSDPerRun": 3},
    {"defaultModel": "gpt-4o-mini"},
    {"downgrades": [{"from": "gpt-4o", "to": "gpt-4o-mini"}]},
    {"costRouting": {"enabled": True, "cheapModel": "gpt-4o-mini", "complexityThreshold": 300}},
    {"mode": "audit"},
    {"holds": "learned"},
]


def compiled(**spec: Any) -> dict[str, Any]:
    """The fields of a budget that a document with this sets."""
    spec = {"team": "one", "monthlyBudgetUSD": 8000} | spec
    meta = {"name": "b", "namespace": "test"}
    document = {
        "apiVersion": "ai.systemhardening.com/v1",
        "kind": "LLMBudget",
        "metadata": meta,
        "spec": spec,
    }
    (budget,) = policy_from_documents([document]).every
    return {f.name: getattr(budget, f.name) for f in fields(TeamBudget) if f.init}


PLAIN = compiled()
SET, OTHER = (
    [{k: v for k, v in compiled(**part).items() if v != PLAIN[k]} for part in parts]
    for parts in (PARTS, OTHER_PARTS)
)


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    """Budgets of two teams, perhaps of their group and of a template."""
    named: dict[str, dict[str, Any]] = {"one": {}, "two": {}}
    if draw(st.booleans()):
        named["all"] = {"members": (team_pattern("one"), team_pattern("t*"))}
    if draw(st.booleans()):
        named["t*"] = {}
    budgets = []
    for team, more in named.items():
        found = PLAIN | {"team": team, "monthly_nanousd": draw(st.sampled_from([0, 1, 100, 8000])) * USD}
        for part in draw(st.lists(st.sampled_from(SET), min_size=1, max_size=3)):
            found |= part
        if draw(st.integers(0, 2)) == 2:
            found |= draw(st.sampled_from(OTHER))
        budgets.append(TeamBudget(**found | more))
    return Policy.of(budgets, lapsed=["gone"])


RATES = [{"input": 2_500_000, "output": 10_000_000}, {"input": 1_000_000, "output": 4_000_000, "requests": 5}]
DATED = Entry(
    Price("dated", {}, max_output_tokens=2_000),
    (Period(ALWAYS, RATES[0], (Tier(500, {"input": 3_000_000}),)), Period(PRICE_CHANGES, RATES[1])),
    residency={"eu": 110},
)
HOURLY = Entry(
    Price("hourly", {}, minimum={"requests": 3}), (Period(ALWAYS, RATES[1]),), (Hours(840, 1320, RATES[0]),)
)
OWN = PriceTable(
    {"dated": DATED, "hourly": HOURLY, "azure/gpt-4o": Price("gpt-4o", RATES[1])},
    globs={"mine-*": Price("mine", RATES[0]), "model-*": Price("router", RATES[0])},
    aliases={"prod": "gpt-4o"},
    catalogue=PRICES.catalogue,
    discounts=(
        Discount(1_000, model="gpt-4o", until_ms=ms(2026, 12, 1)),
        Discount(-500, since_ms=ms(2026, 11, 30, 15), until_ms=ms(2026, 12, 6, 23)),
    ),
)
SETTINGS = [
    Settings(),
    Settings.model_validate({"unbudgeted": "reject", "default_output_tokens": 300}),
    Settings.model_validate(
        {
            "upstreams": [
                {"name": "azure", "url": "https://x.openai.azure.com", "models": ["gpt-*"]},
                {"name": "rest", "url": "https://api.openai.com", "residency": "eu"},
            ]
        }
    ),
]
MODELS = [
    "gpt-4o",
    "gpt-4o",
    "dated",
    "gpt-4o-2024-08-06",
    "dated",
    "hourly",
    "mine-x",
    "prod",
    "nobodys",
    "model-router",
]
FACTS = st.builds(
    RequestFacts,
    model=st.sampled_from(MODELS),
    stream=st.booleans(),
    texts=st.just(()),
    text_bytes=st.just(0),
    extra_input_tokens=st.sampled_from([0, 0, 85]),
    output_cap=st.sampled_from([None, 0, 1, 50, 300, 50_000]),
    choices=st.sampled_from([1, 1, 3]),
    needs=st.sampled_from([frozenset(), frozenset({"tools"})]),
    extra_output_tokens=st.sampled_from([0, 0, 7]),
    output_cap_min=st.sampled_from([0, 0, 1024]),
    cache_writes=st.sampled_from([frozenset(), frozenset({"cache_write_5m"}), frozenset({"cache_write_1h"})]),
    dear_kinds=st.sampled_from([frozenset(), frozenset({"input_audio", "output_audio"})]),
    body_fixed=st.sampled_from([False, False, True]),
)  # fmt: skip
ODD: list[dict[str, Any]] = [
    {"fallbacks": ("gpt-4o-mini",)}, {"fallbacks": ("gpt-4o-mini",), "fallbacks_add": True},
    {"other_models": ("dated",)},
    {"routed": True}, {"unseen_input": True}, {"service_tier": "flex"}, {"service_tier": "priority", "batch": True},
    {"residency": "eu"}, {"fee_kinds": {"searches": 2}}, {"fee_nanousd": 5}, {"tool_input_tokens": 10}, {"turns": 3},
]  # fmt: skip
IDENTITIES = st.builds(
    Identity,
    st.sampled_from([*["one"] * 6, *["two"] * 3, "tea", "gone", "nobody", "spendgate-doctor"]),
    st.sampled_from(["a", "b", "made-up"]),
    user=st.sampled_from(["", "ann"]),
    run=st.sampled_from(["", "", "r1"]),
    tags=st.sampled_from([(), (("project", "x"),)]),
)
ADDRESSES = [
    Address("openai-chat", "/v1/chat/completions", "api.openai.com"),
    Address("openai-chat", "/v1/chat/completions", "eu.api.openai.com"),
    Address("openai-chat", "/openai/deployments/prod/chat/completions", "mine.openai.azure.com"),
    Address("openai-chat"),
]
Asked = tuple[Identity, RequestFacts, Counted, str, int, Address, bool]


@st.composite
def stories(draw: st.DrawFn) -> list[Asked]:
    """What the same few callers ask for at the same few addresses, before and after something changes."""

    def few(of: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        return st.sampled_from(draw(st.lists(of, min_size=1, max_size=2)))

    border = draw(st.sampled_from(BORDERS))
    asked = st.tuples(
        few(IDENTITIES),
        few(st.builds(lambda facts, odd: replace(facts, **odd), FACTS, st.sampled_from([*[{}] * 48, *ODD]))),
        few(st.builds(Counted, st.integers(1, 900), st.booleans(), st.integers(900, 3_000))),
        st.sampled_from([*[""] * 19, "gpt-4o-mini"]),
        st.sampled_from([-60_000, -1, 0, 30_000]).map(lambda ms: border + ms),
        few(st.sampled_from(ADDRESSES)),
        st.booleans(),
    )
    return draw(st.lists(asked, min_size=8, max_size=16))


def planned(of: Snapshot, asked: Asked) -> Planned:
    identity, facts, counted, require, now_ms, address, seen = asked
    return gather(of, identity, "openai-chat", facts, counted, require, "x", now_ms, address, seen=seen)


@contextmanager
def nothing_kept() -> Iterator[None]:
    """Each plan is computed."""
    with patch.object(planning, "is_plain", lambda facts: False):
        yield


@settings(max_examples=400, deadline=None)
@given(
    st.lists(policies(), min_size=1, max_size=2),
    st.sampled_from(SETTINGS),
    stories(),
    st.sampled_from([1, 2, 4096, 4096]),
    st.integers(0, 16),
)
def test_what_is_kept_decides_nothing(
    policy: list[Policy], given: Settings, asked: list[Asked], kept: int, reloaded: int
) -> None:
    warm = [snapshot(each, OWN, given) for each in policy]
    with patch.object(snapshots, "KEPT_MAX", kept):
        for n, one in enumerate(asked):
            of = (n >= reloaded) % len(policy)
            found = planned(warm[of], one)
            assert found == planned(snapshot(policy[of], OWN, given), one)
            with nothing_kept():
                assert found == planned(warm[of], one)
            of_it = warm[of]
            assert all(len(x) <= kept for x in (of_it._frames, of_it._offers, of_it._sold, of_it._routed))


AZURE, EU = ADDRESSES[2], ADDRESSES[1]
CHANGES: list[tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    (INCREASE, {"now_ms": RAISE_ENDS - 1}, {"now_ms": RAISE_ENDS}),
    ({"apps": [{"name": "a", "essential": True}]}, {"app": "a"}, {"app": "b"}),
    ({"apps": [{"name": "a", "maxMonthlyUSD": 7}]}, {"app": "a"}, {"app": "b"}),
    ({"limits": [{"per": "app", "max": 9}]}, {"app": "a"}, {"app": "b"}),
    ({"limits": [{"per": "model", "max": 9}]}, {"model": "gpt-4o"}, {"model": "gpt-4o-mini"}),
    ({"limits": [{"per": "team", "match": "gpt-4o", "max": 9}]}, {"model": "gpt-4o"}, {"model": "dated"}),
    ({"modelLimits": [{"modelPattern": "*4o", "maxMonthlyUSD": 5}]}, {"model": "gpt-4o"}, {"model": "dated"}),
    ({"modelLimits": [{"modelPattern": "*", "allowedApps": ["a"]}]}, {"app": "a"}, {"app": "b"}),
    ({"maxUSDPerRun": 3}, {}, {"run": "r1"}),
    ({"limits": [{"per": "user", "max": 9}]}, {"user": "ann"}, {"user": "bob"}),
    ({}, {"model": "dated", "now_ms": PRICE_CHANGES - 1}, {"model": "dated", "now_ms": PRICE_CHANGES}),
    ({}, {"model": "hourly", "now_ms": ms(2026, 11, 30, 13, 59)}, {"model": "hourly", "now_ms": ms(2026, 11, 30, 14)}),
    ({}, {"now_ms": ms(2026, 12, 1) - 1}, {"now_ms": ms(2026, 12, 1)}),
    ({}, {"now_ms": ms(2026, 11, 30, 15) - 1}, {"now_ms": ms(2026, 11, 30, 15)}),
    ({}, {}, {"address": AZURE}),
    ({}, {"address": replace(AZURE, host="")}, {"address": ADDRESSES[3]}),
    ({}, {"model": "dated"}, {"model": "dated", "address": EU}),
    ({}, {"model": "model-router"}, {"model": "model-router", "address": AZURE}),
]  # fmt: skip
"""What a budget says, and two requests between which it, or a price, makes a difference."""


@pytest.mark.parametrize("of_group", [False, True])
@pytest.mark.parametrize(("spec", "one", "other"), CHANGES)
def test_what_makes_a_difference_is_not_kept(
    spec: dict[str, Any], one: dict[str, Any], other: dict[str, Any], of_group: bool
) -> None:
    budgets = [
        TeamBudget(**compiled() | {"team": "ml"}),
        TeamBudget(**compiled(**spec, members=["ml"], team="all")),
    ]
    if not of_group:
        budgets = [TeamBudget(**compiled(**spec) | {"team": "ml"})]
    known = snapshot(Policy.of(budgets), OWN, Settings())
    for first, second in ((one, other), (other, one)):
        plans = gather_for(known, **first), gather_for(known, **second)
        with nothing_kept():
            assert plans == tuple(
                gather_for(snapshot(Policy.of(budgets), OWN, Settings()), **each) for each in (first, second)
            )
        says_nothing = of_group and "allowedApps" in str(
            spec
        )  # which app may use a model, a group does not say
        assert says_nothing or plans[0] != plans[1]


def test_a_period_of_a_calendar_ends_within_what_is_kept() -> None:
    spec = {"limits": [{"per": "team", "max": 9, "window": "week"}], "timeZone": "Europe/Berlin"}
    known = snapshot(Policy.of([TeamBudget(**compiled(**spec) | {"team": "ml"})]), OWN, Settings())
    monday = ms(2026, 11, 29, 23)
    before, after = gather_for(known, now_ms=monday - 1), gather_for(known, now_ms=monday)
    assert (
        before.choices[0].candidate.bounds[1].periods[1:] == after.choices[0].candidate.bounds[1].periods[:-1]
    )


@pytest.mark.parametrize("given", SETTINGS)
def test_who_serves_is_kept_by_model_and_address(given: Settings) -> None:
    known = snapshot(Policy(), OWN, given)
    addresses = [*ADDRESSES, Address("bedrock-converse"), Address("mcp", "/mcp", "api.openai.com")]
    for address, model in [(a, m) for a in addresses for m in MODELS] * 2:
        for more in ((None, "", ""), (5, "flex", ""), (None, "", "us")):
            fresh = snapshot(Policy(), OWN, given)
            assert known.terms(model, address, *more) == fresh.terms(model, address, *more)
            assert known.place(model, address) == fresh.place(model, address)
            assert known.goes_to(model, address.dialect) == fresh.goes_to(model, address.dialect)


def test_long_names_are_not_kept() -> None:
    known = snapshot_of("team: ml\nmonthlyBudgetUSD: 100")
    long = Address("openai-chat", "/v1/chat/completions", "x" * snapshots.KEY_CHARACTERS_MAX)
    assert gather_for(known, address=long) == gather_for(known, address=long)
    assert not known._offers and not known._sold and known._frames


def test_a_plain_request_is_planned_by_what_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    known = snapshot_of("team: ml\nmonthlyBudgetUSD: 100")
    with nothing_kept():
        first = gather_for(known)
    monkeypatch.setattr(planning, "plan", None)
    assert first == gather_for(known) == gather_for(known)
    assert (len(known._frames), len(known._offers)) == (1, 1)


def test_made_up_names_are_not_kept_where_no_budget_asks_for_them() -> None:
    known = snapshot_of("team: ml\nmonthlyBudgetUSD: 100")
    for n in range(9):
        gather_for(known, app=f"app{n}", model=f"gpt-4o-{n}")
    assert len(known._frames) == 1


def test_what_is_kept_ends_with_the_snapshot() -> None:
    known = snapshot_of("team: ml\nmonthlyBudgetUSD: 100")
    gather_for(known)
    assert known._frames and known._offers
    again = known.with_extractors(())
    assert not again._frames and not again._offers and again != known


def gather_for(
    known: Snapshot,
    app: str = "a",
    model: str = "gpt-4o",
    *,
    now_ms: int = NOW_MS,
    address: Address = ADDRESSES[0],
    user: str = "",
    run: str = "",
) -> Planned:
    facts, counted = RequestFacts(model, False, (), 0), Counted(9, True, 30)
    return gather(
        known, Identity("ml", app, user, run), "openai-chat", facts, counted, "", "x", now_ms, address
    )
