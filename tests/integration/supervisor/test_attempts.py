"""What Envoy does with one call beyond sending it once: each attempt that a provider may bill is charged."""

from __future__ import annotations

import asyncio
import copy
import json
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from support.authz_gateway import serving
from support.policy import budget, policy
from support.ports import free_port
from support.processes import SPENDGATE, Command, until
from support.raw_upstream import JSON, SSE, RawUpstream, Request, cut_off, fixed, pieces

from spendgate.ledger.exchanges import BESIDE

HOLD = Decimal("0.00815")
"""800 output tokens of gpt-4o, and what bounds its input."""
ANSWER = json.dumps(
    {
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "gpt-4o-2024-08-06",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hello"}}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13},
    }
).encode()  # fmt: skip
TRUE = Decimal("0.0000625")
CHUNK, USAGE, DONE = (
    b"data: " + data.encode() + b"\n\n"
    for data in (
        '{"id":"1","object":"chat.completion.chunk","created":1,"model":"gpt-4o-2024-08-06","choices":'
        '[{"index":0,"delta":{"role":"assistant","content":"hello"},"finish_reason":"stop"}]}',
        '{"id":"1","object":"chat.completion.chunk","created":1,"model":"gpt-4o-2024-08-06","choices":[],'
        '"usage":{"prompt_tokens":9,"completion_tokens":4,"total_tokens":13}}',
        "[DONE]",
    )
)
TRIES = {"retry_on": "5xx,reset", "num_retries": 3, "per_try_timeout": "0.3s"}
CASES: dict[str, dict[str, Any]] = {
    "route-timeout": {"timeout": "0.4s"},
    "tries": {"retry_policy": TRIES},
    "none-answers": {"retry_policy": {**TRIES, "num_retries": 2}},
    "resets": {"retry_policy": {"retry_on": "reset", "num_retries": 2}},
    "errors": {"retry_policy": {"retry_on": "5xx", "num_retries": 2}},
    "hedge": {
        "retry_policy": {**TRIES, "num_retries": 1}, "hedge_policy": {"hedge_on_per_try_timeout": True}
    },
    "left": {"retry_policy": TRIES},
    "mirror": {"request_mirror_policies": [{"cluster": "llm"}]},
    "redirect": {"internal_redirect_policy": {"max_internal_redirects": 3, "redirect_response_codes": [307]}},
    "dead-first": {"cluster": "dead-first", "retry_policy": {"retry_on": "connect-failure", "num_retries": 4}},
    "dead": {"cluster": "dead", "retry_policy": {"retry_on": "connect-failure", "num_retries": 2}},
}  # fmt: skip
"""What stands on the route of each case."""
ENTRIES = ("", "unlogged-", "authz-", "lean-")
"""Listeners of one Envoy: as it is rendered; without its access logs; with ext_authz; lean."""


@dataclass
class Provider:
    """Answers by the case that a request names; `seen` counts the requests of each."""

    seen: Counter[str] = field(default_factory=Counter)

    async def __call__(self, request: Request, writer: asyncio.StreamWriter) -> None:
        case, book = request.header("x-case") or "", request.header("x-book") or ""
        self.seen[book] += 1
        nth = self.seen[book]
        match case:
            case "route-timeout" | "none-answers":
                await asyncio.sleep(3)
            case "tries" | "left" if nth < 4:
                await asyncio.sleep(3)
            case "hedge" if nth == 1:
                await asyncio.sleep(3)
            case "resets" if nth < 3:
                cut_off(writer)
                return
            case "errors" if nth < 3:
                await fixed(b'{"error": {"message": "try again"}}', JSON, status="500 Oh")(request, writer)
                return
            case "redirect" if nth % 3:
                there = f"location: http://api.example/moved/{nth % 3}/v1/chat/completions"
                await fixed(b"", there, status="307 There")(request, writer)
                return
        if b'"stream": true' in request.body or b'"stream":true' in request.body:
            parts = [CHUNK, *([USAGE] if b"include_usage" in request.body else []), DONE]
            await pieces(parts, SSE)(request, writer)
            return
        await fixed(ANSWER, JSON)(request, writer)


@dataclass
class World:
    urls: dict[str, str]
    admin: str
    usage_log: Path
    provider: Provider

    def ask(self, case: str, entry: str = "", *, timeout: float = 30, **more: Any) -> httpx.Response:
        """One call through an entry, of the team that is named as both; `more` in its body."""
        messages = [{"role": "user", "content": "hi there"}]
        body = {"model": "gpt-4o", "max_tokens": 800, "messages": messages, **more}
        headers = {"x-llm-team": entry + case, "x-llm-app": "a", "x-case": case, "x-book": entry + case}
        url = f"{self.urls[entry]}/v1/chat/completions"
        return httpx.post(url, json=body, headers=headers, trust_env=False, timeout=timeout)

    def row(self, team: str) -> dict[str, Any]:
        rows = httpx.get(f"{self.admin}/v1/budgets", trust_env=False, timeout=60).json()
        return next((r for r in rows if r["team"] == team), {"settled_usd": "0", "reserved_usd": "0"})

    def spent(self, team: str, usd: Decimal) -> dict[str, Any]:
        """The row once it says so and nothing is held."""

        def done(row: dict[str, Any]) -> bool:
            return Decimal(row["settled_usd"]) == usd and Decimal(row["reserved_usd"]) == 0

        return until(lambda: self.row(team), done, f"{usd} of {team}", 8)

    def lines(self, team: str) -> list[dict[str, Any]]:
        text = self.usage_log.read_text() if self.usage_log.exists() else ""
        every = [json.loads(x) for x in text[: text.rfind("\n") + 1].splitlines()]
        return [x for x in every if x["team"] == team]

    def exchange(self, team: str, besides: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """The line of the team's one exchange, and so many of what is charged beside it. The two may be written by
        two workers, so that either may come first."""
        lines = until(lambda: self.lines(team), lambda x: len(x) == 1 + besides, f"the lines of {team}", 8)
        [own] = [x for x in lines if not x["exchange_id"].endswith(BESIDE)]
        return own, [x for x in lines if x is not own]


def patched(config: dict[str, Any]) -> dict[str, Any]:
    """The listener of a rendered bootstrap with a route of its own for each case, before all others."""
    [listener] = config["static_resources"]["listeners"]
    [host] = manager_of(listener)["route_config"]["virtual_hosts"]
    llm = next(r for r in host["routes"] if r["name"] == "llm")
    for case, more in CASES.items():
        route = copy.deepcopy(llm)
        route["name"] = case
        route["match"] = {"prefix": "/", "headers": [{"name": "x-case", "string_match": {"exact": case}}]}
        route["route"] |= json.loads(json.dumps(more).replace('"llm"', json.dumps(llm["route"]["cluster"])))
        host["routes"].insert(0, route)
    return dict(listener)


def manager_of(listener: dict[str, Any]) -> dict[str, Any]:
    """The connection manager of a listener."""
    [chain] = listener["filter_chains"]
    return dict(chain["filters"][0])["typed_config"]


def unlogged(listener: dict[str, Any]) -> dict[str, Any]:
    """The same as a mesh has it that logs nothing to us."""
    manager = manager_of(listener)
    asking, router = manager["http_filters"][0]["typed_config"], manager["http_filters"][-1]["typed_config"]
    del manager["access_log"], router["upstream_log"], asking["grpc_service"]["initial_metadata"]
    return listener


def with_dead(clusters: list[dict[str, Any]]) -> None:
    """Add clusters whose first hosts, or all, nobody listens on."""
    live = clusters[0]
    for name in ("dead-first", "dead"):
        nowhere = {"socket_address": {"address": "127.0.0.1", "port_value": free_port()}}
        dead = {**copy.deepcopy(live), "name": name, "lb_policy": "ROUND_ROBIN"}
        [locality] = dead["load_assignment"]["endpoints"]
        hosts = [{"endpoint": {"address": nowhere}}] * 2
        locality["lb_endpoints"] = [*hosts, *(locality["lb_endpoints"] if name == "dead-first" else [])]
        clusters.append(dead)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("attempts")
    teams = [budget(entry + case, 1000) for entry in ENTRIES for case in CASES]
    (folder / "policy.yaml").write_text(policy(*teams, budget("sent-on", 1000, members=["redirect"])))
    listens = {entry: f"127.0.0.1:{free_port()}" for entry in ENTRIES}
    admin = f"127.0.0.1:{free_port()}"
    grpc, provider = f"unix:{folder}/w", Provider()
    with RawUpstream(provider) as upstream:
        serve = Command(
            folder / "serve",
            ["serve", "--grpc", grpc, "--workers", "2", "--admin", admin, "--data-dir", str(folder / "data"),
             "--policy", str(folder / "policy.yaml")],
        )  # fmt: skip
        serve.ready()

        def rendered(entry: str, kind: str = "ext_proc", *more: str) -> dict[str, Any]:
            done = subprocess.run(
                [SPENDGATE, "render", "bootstrap", "--entry", kind, "--listen", listens[entry], "--upstream",
                 upstream.url, "--grpc", grpc, "--workers", "2", *more],
                capture_output=True, text=True, check=True,
            )  # fmt: skip
            return dict(yaml.safe_load(done.stdout))

        config = rendered("")
        listeners = [
            patched(config),
            {**unlogged(patched(rendered("unlogged-"))), "name": "unlogged"},
            {**patched(rendered("authz-", "ext_authz")), "name": "authz"},
            {**patched(rendered("lean-", "ext_proc", "--lean")), "name": "lean"},
        ]
        config["static_resources"]["listeners"] = listeners
        with_dead(config["static_resources"]["clusters"])
        try:
            with serving(folder / "e", listens[""], config):
                urls = {entry: f"http://{at}" for entry, at in listens.items()}
                yield World(urls, f"http://{admin}", folder / "data" / "usage.jsonl", provider)
        finally:
            status = serve.stop()
        assert status == 0, serve.stderr


# -- each attempt is told apart -----------------------------------------------------------------------------


@pytest.mark.parametrize("entry", ["", "authz-", "lean-"])
@pytest.mark.parametrize(
    ("case", "sent", "beside"),
    [
        ("tries", 4, 3),
        ("resets", 3, 2),
        ("hedge", 2, 1),
        ("errors", 3, 0),
        ("dead-first", 1, 0),
        ("mirror", 2, 1),
    ],
)
def test_an_answer_is_charged_and_each_attempt_before_it_that_a_provider_may_bill(
    world: World, entry: str, case: str, sent: int, beside: int
) -> None:
    answer = world.ask(case, entry)
    assert (answer.status_code, answer.content) == (200, ANSWER)
    assert "x-envoy-attempt-count" not in answer.headers
    assert ("x-spendgate-cost-usd" in answer.headers) == (entry == ""), "the others see no answer"
    row = world.spent(entry + case, TRUE + beside * HOLD)
    assert row["requests"] == 1
    assert world.provider.seen[entry + case] == sent
    own, more = world.exchange(entry + case, besides=beside > 0)
    assert (own["outcome"], Decimal(own["cost_usd"])) == ("complete", TRUE)
    for line in more:
        assert line["exchange_id"].startswith(own["exchange_id"])
        assert (line["outcome"], line["unmetered"], line["charged_by"]) == ("unmetered", "attempts", "hold")
        assert (line["attempts"], Decimal(line["cost_usd"])) == (beside, beside * HOLD)


def test_the_usage_line_has_how_often_it_was_sent(world: World) -> None:
    world.ask("tries", "unlogged-")
    world.spent("unlogged-tries", TRUE + 3 * HOLD)
    own, _ = world.exchange("unlogged-tries", besides=1)
    assert own["attempts"] == 4


def test_without_access_logs_every_attempt_but_the_answer_counts_as_billed(world: World) -> None:
    world.ask("errors", "unlogged-")
    assert world.spent("unlogged-errors", TRUE + 2 * HOLD)["requests"] == 1


@pytest.mark.parametrize("entry", ["", "unlogged-", "authz-", "lean-"])
@pytest.mark.parametrize(("case", "sent"), [("route-timeout", 1), ("none-answers", 3)])
def test_a_call_that_envoy_gave_up_is_charged_the_hold_of_each_time_it_was_sent(
    world: World, entry: str, case: str, sent: int
) -> None:
    assert world.ask(case, entry).status_code == 504
    row = world.spent(entry + case, sent * HOLD)
    assert row["requests"] == 1
    assert world.provider.seen[entry + case] == sent
    own, more = world.exchange(entry + case, besides=sent > 1)
    assert {line["unmetered"] for line in (own, *more)} == {"attempts"}


def test_an_internal_redirect_is_one_exchange_at_the_price_of_its_answer(world: World) -> None:
    for nth in range(1, 9):
        answer = world.ask("redirect")
        assert answer.headers["x-spendgate-cost-usd"] == str(TRUE)
        assert world.spent("redirect", nth * TRUE)["requests"] == nth
        assert world.spent("sent-on", nth * TRUE)["requests"] == nth, "in the group's account, too"
    assert world.provider.seen["redirect"] == 8 * 3
    lines = world.lines("redirect")
    assert [(line["outcome"], line["cost_usd"]) for line in lines] == [("complete", str(TRUE))] * 8
    assert world.lines("unattributed") == []


def test_a_redirected_stream_keeps_to_itself_what_its_client_did_not_ask_for(world: World) -> None:
    before = Decimal(world.row("redirect")["settled_usd"])
    answer = world.ask("redirect", stream=True)
    assert answer.content == CHUNK + DONE
    world.spent("redirect", before + TRUE)


@pytest.mark.parametrize("entry", ["", "lean-"])
def test_a_call_that_nobody_got_is_free(world: World, entry: str) -> None:
    assert world.ask("dead", entry).status_code == 503
    world.spent(entry + "dead", Decimal(0))
    assert world.provider.seen[entry + "dead"] == 0


@pytest.mark.parametrize("entry", ["", "lean-"])
def test_attempts_before_the_client_left_are_charged_too(world: World, entry: str) -> None:
    with pytest.raises(httpx.ReadTimeout):
        world.ask("left", entry, timeout=0.8)
    sent = world.provider.seen[entry + "left"]
    assert sent > 1
    assert world.spent(entry + "left", sent * HOLD)["requests"] == 1
    own, [beside] = world.exchange(entry + "left", besides=1)
    assert (own["unmetered"], beside["unmetered"]) == ("aborted", "attempts")
