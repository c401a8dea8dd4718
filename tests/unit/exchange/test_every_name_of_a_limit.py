"""A limit holds for its models by every name, and for every model that a request lets answer."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from unit.exchange.driver import Drive, snapshot_of

from spendgate.exchange import events as e

CHAT = "/v1/chat/completions"
MESSAGES = "/v1/messages"
LIMITED = """
team: ml
monthlyBudgetUSD: 1000
modelLimits:
- {modelPattern: gpt-4o, maxMonthlyUSD: 0}
- {modelPattern: "claude-opus*", allowedApps: [vip]}
- {modelPattern: "*", maxMonthlyUSD: 500}
"""
OPUS = "anthropic/claude-opus-4-1"


def asked(policy: str, path: str = CHAT, **fields: Any) -> tuple[Drive, Any]:
    d = Drive(snapshot_of(policy))
    body = {
        "model": "gpt-4o-mini",
        "max_tokens": 10,
        "messages": [{"role": "user", "content": "hi"}],
        **fields,
    }
    return d, d.send(body, path=path)


def code(action: Any) -> str:
    assert isinstance(action, e.Reject), action
    return action.reason


@pytest.mark.parametrize(
    "name", ["gpt-4o", "openai/gpt-4o", "GPT-4O", "gpt-4o ", "gpt-4o:nitro", "azure/gpt-4o"]
)
def test_a_models_limit_is_passed_by_no_other_name(name: str) -> None:
    assert code(asked(LIMITED, model=name)[1]) == "model_budget_exceeded"


@pytest.mark.parametrize(
    "name", [OPUS, "anthropic/claude-opus-4.1", "us.anthropic.claude-opus-4-1-20250805-v1:0"]
)
def test_an_app_that_is_not_allowed_is_refused_by_every_name(name: str) -> None:
    assert code(asked(LIMITED, MESSAGES, model=name)[1]) == "app_not_allowed_for_model"


def test_all_names_of_a_pattern_move_one_counter() -> None:
    policy = "{team: ml, monthlyBudgetUSD: 10, modelLimits: [{modelPattern: gpt-4o, maxMonthlyUSD: 5}]}"
    held = {}
    for name in ("gpt-4o", "openai/gpt-4o", "gpt-4o-2024-08-06"):
        d, _ = asked(policy, model=name)
        held[name] = d.ledger.committed["ml"]["model:gpt-4o"]
    assert len(set(held.values())) == 1 and held["gpt-4o"] > 0


LISTS: list[tuple[str, dict[str, Any]]] = [
    (CHAT, {"models": ["gpt-4o-mini", OPUS]}),
    (CHAT, {"fallbacks": [{"model": OPUS}]}),
    (CHAT, {"fallbacks": [{"gpt-4o-mini": [OPUS]}]}),
    (CHAT, {"route": "fallback"}),
    (CHAT, {"model": "openrouter/auto"}),
    (MESSAGES, {"model": "claude-fable-5", "fallbacks": [{"model": "claude-opus-4-1"}]}),
    ("/v1/responses", {"input": "hi", "models": [OPUS]}),
]


@pytest.mark.parametrize(("path", "fields"), LISTS, ids=str)
def test_a_model_that_may_answer_from_a_list_is_as_limited_as_one_asked_for(
    path: str, fields: dict[str, Any]
) -> None:
    assert code(asked(LIMITED, path, **fields)[1]) == "app_not_allowed_for_model"
    limit = (
        "{team: ml, monthlyBudgetUSD: 10, modelLimits: [{modelPattern: 'claude-opus*', maxMonthlyUSD: 0}]}"
    )
    assert code(asked(limit, path, **fields)[1]) == "model_budget_exceeded"


def test_a_list_is_held_at_its_dearest_model() -> None:
    policy = "{team: ml, monthlyBudgetUSD: 10}"
    dear, _ = asked(policy, model=OPUS)
    listed, _ = asked(policy, models=["gpt-4o-mini", OPUS])
    plain, _ = asked(policy)
    holds = [d.ledger.committed["ml"]["month"] for d in (plain, dear, listed)]
    assert holds[0] < holds[1] <= holds[2]


def test_an_unpriced_model_in_a_list_is_refused_where_unpriced_models_are() -> None:
    policy = "{team: ml, monthlyBudgetUSD: 10, unpricedModels: reject}"
    assert code(asked(policy, models=["never-heard-of"])[1]) == "unpriced_model"


def test_a_downgrade_takes_the_list_out_and_holds_for_what_it_writes() -> None:
    policy = """
team: ml
monthlyBudgetUSD: 10
defaultModel: gpt-4o-mini
modelLimits: [{modelPattern: "claude-opus*", maxMonthlyUSD: 0}]
"""
    d = Drive(snapshot_of(policy))
    d.ledger.committed["ml"]["month"] = 9_000_000_000
    body = {"model": "gpt-4o", "max_tokens": 10, "messages": [], "models": [OPUS], "route": "fallback"}
    action = d.send(body, path=CHAT)
    assert isinstance(action, e.Forward) and action.body is not None
    sent = orjson.loads(action.body)
    assert sent["model"] == "gpt-4o-mini" and "models" not in sent and "route" not in sent
    assert d.ledger.committed["ml"]["month"] - 9_000_000_000 < 1_000_000


@pytest.mark.parametrize("asked_for", ["gpt-4o-mini", "openai/gpt-4o-mini"])
def test_a_model_that_is_the_cheap_one_already_keeps_the_name_that_its_provider_knows(asked_for: str) -> None:
    policy = "{team: ml, monthlyBudgetUSD: 10, defaultModel: gpt-4o-mini}"
    d = Drive(snapshot_of(policy))
    d.ledger.committed["ml"]["month"] = 9_000_000_000
    action = d.send({"model": asked_for, "max_tokens": 10, "messages": []}, path=CHAT)
    assert isinstance(action, e.Forward) and action.body is None


def test_a_downgrades_glob_covers_every_name() -> None:
    policy = "{team: ml, monthlyBudgetUSD: 10, downgrades: [{from: 'gpt-4o*', to: gpt-4o-mini}]}"
    d = Drive(snapshot_of(policy))
    d.ledger.committed["ml"]["month"] = 9_000_000_000
    action = d.send({"model": "openai/gpt-4o", "max_tokens": 10, "messages": []}, path=CHAT)
    assert isinstance(action, e.Forward) and action.body is not None
    assert orjson.loads(action.body)["model"] == "gpt-4o-mini"


def answered(d: Drive, model: str, **usage: int) -> int:
    d.answer()
    told = {"prompt_tokens": 1_000, "completion_tokens": 100, "total_tokens": 1_100, **usage}
    d.piece(orjson.dumps({"model": model, "choices": [], "usage": told}), end=True)
    return d.ending.record.cost_nanousd


def test_a_fall_back_that_answers_is_charged_at_its_own_price_and_to_its_own_name() -> None:
    d, _ = asked("{team: ml, monthlyBudgetUSD: 10}", models=["gpt-4o-mini", OPUS])
    assert answered(d, OPUS) == 1_000 * 15_000 + 100 * 75_000
    assert (d.ending.record.model_requested, d.ending.record.model) == ("gpt-4o-mini", OPUS)
    d, _ = asked("{team: ml, monthlyBudgetUSD: 10}", models=["gpt-4o-mini", OPUS])
    assert answered(d, "gpt-4o-mini-2024-07-18") == 1_000 * 150 + 100 * 600
    assert d.ending.record.model == "gpt-4o-mini"


def test_where_nothing_tells_which_of_a_list_answered_the_dearest_is_charged() -> None:
    d, _ = asked("{team: ml, monthlyBudgetUSD: 10}", models=["gpt-4o-mini", OPUS])
    assert answered(d, "") == 1_000 * 15_000 + 100 * 75_000


def test_an_answer_of_another_name_is_charged_as_the_model_that_answered_and_flagged() -> None:
    d, _ = asked("{team: ml, monthlyBudgetUSD: 10}")
    assert answered(d, OPUS) == 1_000 * 15_000 + 100 * 75_000
    assert d.ending.record.flags == ("model_mismatch",)


def test_what_is_spent_counts_for_the_limit_of_the_model_that_answered_alone() -> None:
    policy = """
team: ml
monthlyBudgetUSD: 10
modelLimits: [{modelPattern: "gpt-*", maxMonthlyUSD: 5}, {modelPattern: "claude-opus*", maxMonthlyUSD: 5}]
"""
    for model, spent in ((OPUS, "model:claude-opus*"), ("gpt-4o-mini-2024-07-18", "model:gpt-*")):
        d, _ = asked(policy, models=["gpt-4o-mini", OPUS])
        books = d.ledger.committed["ml"]
        assert books["month"] == books["model:gpt-*"] == books["model:claude-opus*"] > 0
        cost = answered(d, model)
        other = {"model:gpt-*", "model:claude-opus*"} - {spent}
        assert (books["month"], books[spent], books[other.pop()]) == (cost, cost, 0)
    d, _ = asked(policy, models=["gpt-4o-mini", OPUS])
    cost = answered(d, "")
    assert {d.ledger.committed["ml"][s] for s in ("month", "model:gpt-*", "model:claude-opus*")} == {cost}


def required(policy: str, model: str, require: str) -> Any:
    d = Drive(snapshot_of(policy))
    body = {"model": model, "max_tokens": 10, "messages": []}
    return d.send(body, path=CHAT, headers={"x-require-model": require})


def test_a_required_model_keeps_the_name_that_its_provider_knows_and_passes_no_limit_by_another() -> None:
    policy = (
        "{team: ml, monthlyBudgetUSD: 10, modelLimits: [{modelPattern: 'claude-opus*', maxMonthlyUSD: 0}]}"
    )
    for require in ("gpt-4o-mini", "openai/gpt-4o-mini", "GPT-4o-mini"):
        action = required(policy, "openai/gpt-4o-mini", require)
        assert isinstance(action, e.Forward) and action.body is None
    changed = required(policy, "gpt-4o-mini", "gpt-4o-2024-08-06")
    assert isinstance(changed, e.Forward) and changed.body is not None
    assert orjson.loads(changed.body)["model"] == "gpt-4o-2024-08-06"
    assert code(required(policy, "gpt-4o-mini", OPUS)) == "model_budget_exceeded"
