"""Coding agents as installed: their first call is billed to the token, and a refusal ends their try, with our words."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from support.agents import Job, Ran, run
from support.gateway import Gateway
from support.policy import budget, policy
from support.processes import until
from support.provider import Provider
from support.scripts import load_script

from spendgate.settings.agents import agent_of

TABLE = load_script("build_sdk_table")
LIMITED = {"modelLimits": [{"modelPattern": "*", "allowedApps": ["nobody"]}]}
POLICY = policy(
    *(budget(f"{name}-rich", 1000) for name in TABLE.AGENTS),
    *(
        budget(f"{name}-broke", 0)
        for name in (*TABLE.AGENTS, "codex-websocket", "gemini-auto", "aider-named")
    ),
    budget("codex-websocket-rich", 1000),
    *(budget(f"{name}-limited", 1000, **LIMITED) for name in TABLE.AGENTS),
)
CONFIG = {"reject_status": {"app:aider-app": 400}}
MODELS = {
    "claude": "claude-sonnet-4-5", "codex": "gpt-5", "gemini": "gemini-2.5-flash",
    "opencode": "anthropic/claude-sonnet-4-5", "aider": "openai/gpt-4o",
}  # fmt: skip


class Told(NamedTuple):
    """What an agent says of its own call: all tokens of the input, all of the output or of both, USD."""

    input: int | None = None
    output: int | None = None
    total: int | None = None
    usd: Decimal | None = None


def _claude_told(ran: Ran) -> Told:
    told = json.loads(ran.out)
    usage = told["usage"]
    return Told(usage["input_tokens"], usage["output_tokens"], usd=Decimal(f"{told['total_cost_usd']:.9f}"))


def _codex_told(ran: Ran) -> Told:
    found = re.search(r"tokens used\s+([\d,]+)", ran.text)
    assert found, ran.text
    return Told(total=int(found[1].replace(",", "")))


def _gemini_told(ran: Ran) -> Told:
    [model] = json.loads(ran.out)["stats"]["models"].values()
    return Told(model["tokens"]["prompt"], model["tokens"]["candidates"])


def _opencode_told(ran: Ran) -> Told:
    events = [json.loads(line) for line in ran.out.splitlines() if line.startswith("{")]
    [part] = [event["part"] for event in events if event["type"] == "step_finish"]
    return Told(part["tokens"]["input"], part["tokens"]["output"], usd=Decimal(f"{part['cost']:.9f}"))


def _aider_told(ran: Ran) -> Told:
    found = re.search(r"(\d+) received. Cost: \$(\d+\.\d+) message", ran.text)
    assert found, ran.text
    return Told(output=int(found[1]), usd=Decimal(found[2]))


TOLD: dict[str, Callable[[Ran], Told]] = {
    "claude": _claude_told, "codex": _codex_told, "gemini": _gemini_told, "opencode": _opencode_told,
    "aider": _aider_told,
}  # fmt: skip


def ask(gateway: Gateway, folder: Path, agent: str, team: str, model: str | None = None) -> Ran:
    """One prompt through the gateway."""
    name = agent.partition("-")[0]
    app = "other" if agent == "aider-named" else f"{name}-app"
    return run(agent, Job(gateway.url, team, app, folder / team, MODELS[name] if model is None else model))


def refused(gateway: Gateway, team: str, tries: int) -> list[dict[str, Any]]:
    """The lines of a team's refusals, once there are so many; fails where there are more."""
    lines = gateway.lines(team, tries)
    until(
        lambda: gateway.metric("llm_requests_rejected_budget_total", team=team),
        lambda n: n >= tries,
        "refusals",
    )
    assert len(gateway.usage(team)) == tries, [x["model"] for x in gateway.usage(team)]
    assert {x["outcome"] for x in lines} == {"refused"}
    return lines


def sockets(gateway: Gateway, team: str) -> float:
    """How many WebSockets of a team were refused."""
    return gateway.metric("spendgate_websockets_total", team=team, action="reject")


def squeezed(text: str) -> str:
    """Without line breaks and runs of blanks, which agents put into a message as wide as they think it may be."""
    return " ".join(text.split())


@pytest.mark.parametrize("agent", TABLE.AGENTS)
def test_an_agents_first_call_costs_what_the_provider_bills_and_the_agent_itself_says(
    gateway: Gateway, provider: Provider, tmp_path: Path, agent: str
) -> None:
    bill = provider.billed()
    ran = ask(gateway, tmp_path, agent, f"{agent}-rich")
    assert ran.status == 0, ran.text
    line = gateway.line(f"{agent}-rich")
    [(model, billed)] = bill.now()["models"].items()
    assert (line["model"], line["tokens"], line["outcome"]) == (model, billed["tokens"], "complete")
    cost = Decimal(line["cost_usd"])
    assert gateway.spent(f"{agent}-rich", 1) == cost
    told, used = TOLD[agent](ran), line["tokens"]
    assert told.output in (None, used["output"])
    assert told.input in (None, used["input"])
    assert told.total in (None, used["input"] + used["output"])
    assert told.usd is None or told.usd == round(cost, -int(told.usd.as_tuple().exponent))
    sent = dict(provider.last()["headers"])["user-agent"]
    known = agent_of(line["dialect"], sent)
    assert (known.name if known is not None else None) == TABLE.AGENTS[agent].in_table, sent


@pytest.mark.parametrize("agent", TABLE.AGENTS)
def test_an_agent_stops_at_a_refusal_and_shows_what_we_say(
    gateway: Gateway, provider: Provider, tmp_path: Path, agent: str
) -> None:
    measured, team = TABLE.AGENTS[agent], f"{agent}-broke"
    bill = provider.billed()
    ran = ask(gateway, tmp_path, agent, team)
    refused(gateway, team, measured.tries)
    assert bill.requests() == 0
    shown = squeezed(ran.text)
    assert f"Team {team} has used $0.00 of its $0.00 LLM budget for" in shown
    assert re.search(r"requests are refused until \d{4}-\d\d-01 00:00 UTC\.", shown)
    assert ran.status == measured.exit


@pytest.mark.parametrize("agent", TABLE.AGENTS)
def test_an_agent_stops_where_its_app_may_not_use_the_model(
    gateway: Gateway, tmp_path: Path, agent: str
) -> None:
    team = f"{agent}-limited"
    ran = ask(gateway, tmp_path, agent, team)
    refused(gateway, team, 1)
    assert f"App {agent}-app of team {team} may not use" in squeezed(ran.text)


def test_gemini_cli_that_chooses_its_model_is_refused_for_the_choice_and_for_the_call(
    gateway: Gateway, tmp_path: Path
) -> None:
    ran = ask(gateway, tmp_path, "gemini", "gemini-auto-broke", model="")
    refused(gateway, "gemini-auto-broke", 2)
    assert "Team gemini-auto-broke has used $0.00" in squeezed(ran.text)


def test_aider_that_is_told_to_say_its_name_needs_no_setting(gateway: Gateway, tmp_path: Path) -> None:
    ran = ask(gateway, tmp_path, "aider-named", "aider-named-broke")
    refused(gateway, "aider-named-broke", 1)
    assert "Team aider-named-broke has used $0.00" in squeezed(ran.text)


def test_codex_that_prefers_a_websocket_goes_to_http_at_once_and_is_billed_exactly(
    gateway: Gateway, provider: Provider, tmp_path: Path
) -> None:
    bill, team = provider.billed(), "codex-websocket-rich"
    ran = ask(gateway, tmp_path, "codex-websocket", team)
    assert ran.status == 0, ran.text
    line = gateway.line(team)
    [(_, billed)] = bill.now()["models"].items()
    assert (line["tokens"], line["outcome"]) == (billed["tokens"], "complete")
    assert TOLD["codex"](ran).total == sum(billed["tokens"].values())
    assert sockets(gateway, team) == 1


def test_codex_that_prefers_a_websocket_is_refused_once_over_http(
    gateway: Gateway, provider: Provider, tmp_path: Path
) -> None:
    bill, team = provider.billed(), "codex-websocket-broke"
    ran = ask(gateway, tmp_path, "codex-websocket", team)
    refused(gateway, team, 1)
    assert bill.requests() == 0
    assert f"Team {team} has used $0.00 of its $0.00 LLM budget" in squeezed(ran.text)
    assert sockets(gateway, team) == 1
