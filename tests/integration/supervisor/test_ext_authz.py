"""Budgets in an Envoy without ext_proc: ext_authz decides, the access log settles, no hold is left behind."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
import pytest
from support.authz_gateway import AuthzGateway, rendered, serving
from support.calls import who
from support.policy import budget, policy
from support.ports import free_port
from support.processes import until
from support.provider import Provider

from spendgate.monitoring.gateway_alerts import TIMED_OUT, UNDECIDED

POLICY = policy(
    budget("ml", 10), budget("broke", 0), budget("left", 10), budget("failed", 10), budget("blind", 10),
    budget("soon", 0.02), budget("waits", 0.02),
    budget("picky", 10, modelLimits=[{"modelPattern": "gpt-4o", "allowedApps": ["chat"]}]),
    budget("routed", 10, outputTokenCap=7, costRouting={
        "enabled": True, "cheapModel": "gpt-4o-mini", "complexityThreshold": 100,
    }),
)  # fmt: skip
CONFIG = {"unseen_ttl": "6s", "max_body_bytes": 2_000_000, "hold_wait": "500ms"}


@dataclass
class World:
    """Envoy's two addresses (with and without an access log), the gateway's admin pages, the provider."""

    url: str
    blind: str
    admin: str
    usage_log: Path
    provider: Provider

    def openai(self, url: str = "") -> Any:
        return openai.OpenAI(base_url=f"{url or self.url}/v1", api_key="k", timeout=60, max_retries=0)

    def chat(self, team: str, url: str = "", *, model: str = "gpt-4o", app: str = "app", **more: Any) -> Any:
        """One chat request; `mock`: for the provider."""
        mock = more.pop("mock", {"output_tokens": 5})
        more.setdefault("max_tokens", 50)
        return self.openai(url).chat.completions.with_raw_response.create(
            model=model, messages=[{"role": "user", "content": "hi"}],
            extra_headers={**who(team, app, **mock), **more.pop("headers", {})}, **more,
        )  # fmt: skip

    def row(self, team: str) -> dict[str, Any]:
        """The ledger's row of a team; an empty one where it has none."""
        rows = httpx.get(f"{self.admin}/v1/budgets", trust_env=False, timeout=60).json()
        return next((r for r in rows if r["team"] == team), {"requests": 0, "reserved_usd": "0.00"})

    def over(self, team: str, requests: int) -> dict[str, Any]:
        """The row once so many exchanges are settled and nothing is held."""

        def done(row: dict[str, Any]) -> bool:
            return row["requests"] >= requests and Decimal(row["reserved_usd"]) == 0

        return until(lambda: self.row(team), done, f"{requests} exchanges of {team}", 60)

    def lines(self, team: str) -> list[dict[str, Any]]:
        """Usage lines of a team."""
        text = self.usage_log.read_text() if self.usage_log.exists() else ""
        every = [json.loads(x) for x in text[: text.rfind("\n") + 1].splitlines()]
        return [x for x in every if x["team"] == team]

    def new_line(self, team: str, act: Callable[[], object]) -> dict[str, Any]:
        """The usage line that an act leads to."""
        before = len(self.lines(team))
        act()
        return until(lambda: self.lines(team), lambda x: len(x) > before, f"a line of {team}", 60)[-1]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("authz")
    listen, second = (f"127.0.0.1:{free_port()}" for _ in range(2))
    with (
        Provider(folder / "provider") as provider,
        AuthzGateway(folder, POLICY, CONFIG) as gateway,
    ):
        unlogged = gateway.bootstrap(second, provider.url)
        [chain] = unlogged["static_resources"]["listeners"][0]["filter_chains"]
        del chain["filters"][0]["typed_config"]["access_log"]
        with (
            serving(folder / "e", listen, gateway.bootstrap(listen, provider.url)) as url,
            serving(folder / "b", second, unlogged) as b,
        ):
            yield World(url, b, gateway.admin, gateway.data / "usage.jsonl", provider)


# -- decisions ----------------------------------------------------------------------------------------------


def test_a_team_without_money_gets_the_sdks_own_error_and_the_provider_nothing(world: World) -> None:
    bill = world.provider.billed()
    with pytest.raises(openai.RateLimitError) as refused:
        world.chat("broke")
    assert refused.value.code == "monthly_budget_exceeded"
    assert refused.value.response.headers["x-should-retry"] == "false"
    client = anthropic.Anthropic(base_url=world.url, api_key="k", timeout=60, max_retries=0)
    with pytest.raises(anthropic.RateLimitError):
        client.messages.create(
            model="claude-opus-4-1", max_tokens=5, messages=[{"role": "user", "content": "hi"}],
            extra_headers=who("broke"),
        )  # fmt: skip
    assert bill.requests() == 0


def test_an_app_that_may_not_use_a_model_gets_403(world: World) -> None:
    with pytest.raises(openai.PermissionDeniedError) as refused:
        world.chat("picky")
    assert refused.value.code == "app_not_allowed_for_model"
    assert world.chat("picky", app="chat").status_code == 200


def test_a_body_above_the_limit_is_refused_before_anything_is_reserved(world: World) -> None:
    before = world.row("ml")["requests"]
    answer = httpx.post(
        f"{world.url}/v1/chat/completions", content=b'{"model":"gpt-4o","x":"' + b"a" * 2_100_000 + b'"}',
        headers={**who("ml"), "content-type": "application/json"}, trust_env=False, timeout=60,
    )  # fmt: skip
    assert answer.status_code == 413
    assert world.row("ml")["requests"] == before


def test_money_runs_out_for_many_at_once_as_it_does_for_one(world: World) -> None:
    from concurrent.futures import ThreadPoolExecutor

    def one(_: int) -> int:
        try:
            return int(world.chat("soon", max_tokens=500, mock={"output_tokens": 500}).status_code)
        except openai.RateLimitError:
            return 429

    with ThreadPoolExecutor(10) as pool:
        statuses = list(pool.map(one, range(20)))
    admitted = statuses.count(200)
    assert 429 in statuses and admitted > 0
    row = world.over("soon", admitted)
    assert row["requests"] == admitted
    assert Decimal(row["settled_usd"]) <= Decimal("0.02") * Decimal("1.05")


def test_a_decision_that_takes_its_time_is_waited_for_and_asked_for_once(world: World) -> None:
    """`hold_wait` makes it slow: an Envoy that gives a try less than that asks again, then lets the request pass."""
    from concurrent.futures import ThreadPoolExecutor

    bill = world.provider.billed()
    with ThreadPoolExecutor(2) as pool:
        holding = pool.submit(
            world.chat, "waits", max_tokens=1500, mock={"output_tokens": 500, "delay_ms": 4000}
        )
        until(lambda: Decimal(world.row("waits")["reserved_usd"]), lambda held: held > 0, "a hold", 60)
        with pytest.raises(openai.RateLimitError) as refused:
            world.chat("waits", max_tokens=1500)
        assert refused.value.code == "budget_held"
        assert holding.result().status_code == 200
    assert bill.requests() == 1
    row = world.over("waits", 1)
    assert (row["requests"], row["settled_usd"]) == (1, "0.00502")
    assert [line["outcome"] for line in world.lines("waits")] == ["refused", "complete"]


def test_what_can_not_be_changed_is_kept_and_the_answer_says_so(world: World) -> None:
    line = world.new_line("routed", lambda: world.chat("routed", mock={"output_tokens": 20}))
    assert line["model"] == "gpt-4o"
    assert line["tokens"]["output"] == 20, "no output cap is written into the request"
    answer = world.chat("routed")
    assert answer.headers["x-spendgate-model"] == "gpt-4o"
    assert answer.headers["x-spendgate-kept-because"] == "entry"
    assert "x-model-downgraded" not in answer.headers


def test_the_provider_sees_no_header_of_ours(world: World) -> None:
    world.chat(
        "heads", headers={"x-spendgate-cluster": "evil", "x-llm-run": "r", "x-budget-utilization": "0"}
    )
    seen = {n.lower() for n in dict(world.provider.last()["headers"])}
    assert not {n for n in seen if n.startswith(("x-llm-", "x-spendgate-", "x-budget-", "accept-encoding"))}


# -- settling -----------------------------------------------------------------------------------------------


def test_an_answer_is_settled_at_its_true_usage(world: World) -> None:
    bill = world.provider.billed()
    line = world.new_line("ml", lambda: world.chat("ml", mock={"output_tokens": 11, "cached": 2}))
    assert line["outcome"] == "complete"
    expected = {k: n for k, n in bill.tokens("gpt-4o").items() if n}
    assert line["tokens"] == expected
    assert Decimal(line["cost_usd"]) < Decimal(line["estimate_usd"])


def test_a_stream_is_settled_at_its_true_usage_where_it_tells_it(world: World) -> None:
    def stream(**more: Any) -> Callable[[], object]:
        return lambda: list(world.openai().chat.completions.create(
            model="gpt-4o", messages=[{"role": "user", "content": "hi"}], max_tokens=50, stream=True,
            extra_headers=who("ml", output_tokens=9), **more,
        ))  # fmt: skip

    bill = world.provider.billed()
    line = world.new_line("ml", stream(stream_options={"include_usage": True}))
    assert (line["outcome"], line["tokens"]["output"]) == ("complete", 9)
    assert line["tokens"] == {k: n for k, n in bill.tokens("gpt-4o").items() if n}
    silent = world.new_line("ml", stream())
    assert (silent["outcome"], silent["unmetered"]) == ("unmetered", "body_unseen")
    assert silent["cost_usd"] == silent["estimate_usd"]


@pytest.mark.parametrize("stream", [False, True])
def test_anthropics_answers_and_streams_are_settled_at_their_true_usage(world: World, stream: bool) -> None:
    client = anthropic.Anthropic(base_url=world.url, api_key="k", timeout=60, max_retries=0)
    bill = world.provider.billed()

    def ask() -> None:
        answer: Any = client.messages.create(
            model="claude-opus-4-1", max_tokens=50, messages=[{"role": "user", "content": "hi"}],
            stream=stream, extra_headers=who("ml", output_tokens=9),
        )  # fmt: skip
        if stream:
            list(answer)

    line = world.new_line("ml", ask)
    assert line["outcome"] == "complete"
    assert line["tokens"] == {k: n for k, n in bill.tokens("claude-opus-4-1").items() if n}


@pytest.mark.parametrize("stream", [False, True])
def test_responses_are_settled_at_their_true_usage(world: World, stream: bool) -> None:
    bill = world.provider.billed()

    def ask() -> None:
        answer: Any = world.openai().responses.create(
            model="gpt-4o", input="hi", max_output_tokens=50, stream=stream,
            extra_headers=who("ml", output_tokens=9),
        )  # fmt: skip
        if stream:
            list(answer)

    line = world.new_line("ml", ask)
    assert line["outcome"] == "complete"
    assert line["tokens"] == {k: n for k, n in bill.tokens("gpt-4o").items() if n}


@pytest.mark.parametrize("status", [400, 500])
def test_an_answer_that_failed_costs_nothing(world: World, status: int) -> None:
    def fail() -> None:
        with pytest.raises(openai.APIStatusError):
            world.chat("failed", mock={"status": status})

    line = world.new_line("failed", fail)
    assert (line["outcome"], line["cost_usd"]) == ("failed", "0.00")
    row = until(lambda: world.row("failed"), lambda r: Decimal(r["reserved_usd"]) == 0, "the release", 60)
    assert row["requests"] == 0


def connected(world: World, url: str, team: str, stream: bool, **mock: Any) -> socket.socket:
    """Send a request over a socket of our own."""
    body = json.dumps(
        {
            "model": "gpt-4o",
            "max_tokens": 100,
            "messages": [{"role": "user", "content": "hi"}],
            "stream": stream,
        }
    ).encode()
    host, port = url.removeprefix("http://").split(":")
    s = socket.create_connection((host, int(port)), timeout=60)
    headers = {
        **who(team, **mock),
        "x-of": team,
        "content-type": "application/json",
        "content-length": str(len(body)),
        "host": "x",
    }
    head = "\r\n".join(["POST /v1/chat/completions HTTP/1.1", *(f"{k}: {v}" for k, v in headers.items())])
    s.sendall(head.encode() + b"\r\n\r\n" + body)
    return s


def has_it(request: dict[str, Any]) -> bool:
    """Is it that of the team `left`? One that is left before the provider has it is not sent, and costs nothing."""
    return ["x-of", "left"] in [list(header) for header in request["headers"]]


def test_a_client_that_does_not_wait_for_its_answer_pays_the_estimate(world: World) -> None:
    with connected(world, world.url, "left", False, delay_ms=5000):
        until(lambda: world.provider.requests(10), lambda last: any(has_it(r) for r in last), "the request")
    line = until(lambda: world.lines("left"), bool, "its end", 60)[-1]
    assert (line["outcome"], line["unmetered"]) == ("aborted", "aborted")
    assert line["cost_usd"] == line["estimate_usd"]
    assert Decimal(world.over("left", 1)["reserved_usd"]) == 0


def test_a_client_that_leaves_a_stream_pays_the_estimate(world: World) -> None:
    before = len(world.lines("left"))
    with connected(world, world.url, "left", True, chunk_ms=50, output_tokens=100) as s:
        data = b""
        while data.count(b'"content":') < 3:
            data += s.recv(65536)
    line = until(lambda: world.lines("left"), lambda x: len(x) > before, "its end", 60)[-1]
    assert (line["outcome"], line["cost_usd"]) == ("unmetered", line["estimate_usd"])


def test_without_an_access_log_a_hold_is_charged_at_its_end_and_never_stays(world: World) -> None:
    world.chat("blind", world.blind)
    assert Decimal(world.row("blind")["reserved_usd"]) > 0
    row = world.over("blind", 1)
    [line] = until(lambda: world.lines("blind"), bool, "its line", 60)
    assert (line["outcome"], line["unmetered"]) == ("unmetered", "expired")
    assert Decimal(row["settled_usd"]) == Decimal(line["estimate_usd"])


def test_paths_that_nobody_meters_pass(world: World) -> None:
    answer = httpx.get(f"{world.url}/v1/models", headers=who("broke"), trust_env=False, timeout=60)
    assert "x-spendgate-reason" not in answer.headers


def test_what_passes_where_no_worker_answers_is_counted_by_envoy_under_our_filters_name(
    world: World, tmp_path: Path
) -> None:
    """The names that the alerts ask for; other ext_authz filters of the chain have others."""
    listen, stats, admin, dead = (f"127.0.0.1:{free_port()}" for _ in range(4))
    config = rendered(listen, world.provider.url, "--grpc", dead, "--envoy-admin", admin, "--stats", stats)
    with serving(tmp_path / "e", listen, config) as url:
        assert world.chat("ml", url).status_code == 200
        text = httpx.get(f"http://{stats}/stats/prometheus", trust_env=False, timeout=60).text
    for name in (*UNDECIDED, *TIMED_OUT):
        if "authz" in name:
            [value] = re.findall(rf"^{name[:-1]}.*}} (\d+)$", text, re.MULTILINE)
            assert int(value) >= 1, name
