"""Every official SDK raises its own exception from our refusals, and asks as often as the page says."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import httpx
import pytest
from support.gateway import Gateway
from support.policy import budget, policy
from support.processes import until
from support.provider import Provider
from support.scripts import load_script
from support.sdks import ANSWERS, Call, Raised, make

from spendgate.tokens.count import count

TABLE = load_script("build_sdk_table")
STATUS = {sdk.dialect: 402 for sdk in TABLE.SDKS} | {"bedrock-converse": 400}


def team(sdk: Any, status: int) -> str:
    return f"{sdk.name}-{status}".replace(":", "-")


def cases(*statuses: int) -> list[tuple[Any, int]]:
    return [(sdk, status) for sdk in TABLE.SDKS for status in statuses if status in sdk.raised]


HOW = ("json", "stream")
LIMITED = {"modelLimits": [{"modelPattern": "*", "allowedApps": ["nobody"]}]}
POLICY = policy(
    *(budget(team(sdk, status), 0) for sdk, status in cases(429, 402, 400)),
    *(budget(team(sdk, 403), 10, **LIMITED) for sdk in TABLE.SDKS),
    *(budget(f"{sdk}-{how}", 10) for sdk in ANSWERS for how in HOW),
)


@pytest.fixture(scope="module")
def measured(
    gateway: Gateway, provider: Provider, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, tuple[Raised, float]]]:
    """Team → (what was raised, how often was asked), all SDKs at once: two gateways of different status."""
    folder = tmp_path_factory.mktemp("status")
    with Gateway(folder, provider.url, POLICY, config={"reject_status": STATUS}, workers=1) as other:
        places = {429: gateway, 403: gateway, 402: other, 400: other}
        todo = cases(429, 403, 402, 400)
        raised = make([Call(sdk.name, places[status].url, team(sdk, status)) for sdk, status in todo])
        yield {
            team(sdk, status): (found, _asked(places[status], team(sdk, status), sdk.raised[status][1]))
            for (sdk, status), found in zip(todo, raised, strict=True)
        }


def _asked(gateway: Gateway, name: str, expected: int) -> float:
    """How often was asked: each try has a line in the usage log before it is counted."""
    counted = until(
        lambda: gateway.metric("llm_requests_rejected_budget_total", team=name),
        lambda n: n >= expected,
        f"{expected} refusals of {name}",
    )
    return max(counted, len(gateway.usage(name)))


@pytest.mark.parametrize(
    ("sdk", "status"), [pytest.param(*c, id=team(*c)) for c in cases(429, 402, 403, 400)]
)
def test_an_sdk_raises_its_own_exception_after_as_many_tries_as_the_page_says(
    measured: dict[str, tuple[Raised, float]], sdk: Any, status: int
) -> None:
    raised, tries = measured[team(sdk, status)]
    assert (raised.name, raised.status, tries) == (sdk.raised[status][0], status, sdk.raised[status][1])
    assert f"eam {team(sdk, status)}" in raised.text  # our message reaches the developer


def test_a_call_that_an_sdk_repeats_is_refused_money_once(
    gateway: Gateway, measured: dict[str, tuple[Raised, float]]
) -> None:
    assert measured
    for sdk in TABLE.SDKS:
        name = team(sdk, 429)
        money = until(
            partial(gateway.metric, "spendgate_refused_usd_total", team=name),
            lambda n: n > 0,
            f"refused money of {name}",
        )
        counted = gateway.metric("spendgate_refused_calls_total", team=name)
        assert counted == 1, f"{name}: {counted} calls, {money} USD"


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("sdk", ANSWERS)
def test_an_sdk_is_answered_as_ever_and_billed_as_the_provider_bills(
    gateway: Gateway, provider: Provider, sdk: str, how: str
) -> None:
    bill = provider.billed()
    headers = {"x-llm-team": f"{sdk}-{how}", "x-mock-output-tokens": "7"}
    assert count(ANSWERS[sdk](gateway.url, headers, how == "stream")) == 7
    line = gateway.line(f"{sdk}-{how}")
    [(_, billed)] = bill.now()["models"].items()
    assert (line["tokens"], line["outcome"]) == (billed["tokens"], "complete")


def test_a_refusal_names_no_time_to_come_back_for(gateway: Gateway) -> None:
    for path, model in (("/v1/chat/completions", "gpt-4o"), ("/v2/chat", "command-a-03-2025")):
        body = {"model": model, "messages": [{"role": "user", "content": "hi"}]}
        headers = {"x-llm-team": team(TABLE.SDKS[0], 429)}
        got = httpx.post(gateway.url + path, json=body, headers=headers, trust_env=False, timeout=60)
        assert got.status_code == 429
        assert "retry-after" not in got.headers
        assert got.headers["x-should-retry"] == "false"


def test_the_committed_page_is_what_the_table_says() -> None:
    committed = TABLE.PAGE.read_text(encoding="utf-8")
    assert committed == TABLE.page(), "run .venv/bin/python scripts/build_sdk_table.py and commit"
