"""Exchanges that do not reach their end: who pays for what."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import openai
import pytest
from support.calls import chat, message, who
from support.gateway import Gateway
from support.invoice import cost, total
from support.policy import budget, policy
from support.ports import free_port
from support.processes import until
from support.provider import Provider
from support.raw_http import JSON, send
from support.raw_upstream import SSE, RawUpstream, pieces, reset_at_once
from support.second_envoy import Config, before, worker_of

POLICY = RAW_POLICY = policy(budget("bounded", 1000))
CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"
MODELS = {CHAT: "gpt-4o", MESSAGES: "claude-opus-4-1"}
TEXT = "Tell me a story of a budget."


def ask(model: str, **more: object) -> bytes:
    prompt = [{"role": "user", "content": TEXT}]
    return json.dumps({"model": model, "max_tokens": 1000, "messages": prompt, **more}).encode()


def connect(gateway: Gateway, target: str, team: str, body: bytes, **mock: Any) -> socket.socket:
    """Send a request and leave the socket open. The header `x-of` tells at the provider whose it is."""
    address = urlsplit(gateway.url)
    s = socket.create_connection((str(address.hostname), address.port), timeout=60)
    head = {**JSON, **who(team, **mock), "x-of": team, "host": "x", "content-length": str(len(body))}
    lines = [f"POST {target} HTTP/1.1", *(f"{k}: {v}" for k, v in head.items())]
    s.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
    return s


def under_way(gateway: Gateway, provider: Provider, team: str) -> dict[str, Any]:
    """The team's row once its request is held for and the provider has it: one that is left before that is not sent."""
    row = until(lambda: gateway.row(team), lambda r: r["reserved_usd"] != "0.00", "the reservation")
    until(lambda: provider.requests(10), lambda last: any(_is_of(r, team) for r in last), "the request")
    return row


def _is_of(request: dict[str, Any], team: str) -> bool:
    return ["x-of", team] in [list(header) for header in request["headers"]]


def read_until(s: socket.socket, mark: bytes, times: int) -> None:
    """Read until `mark` came so many times."""
    data = b""
    while data.count(mark) < times:
        piece = s.recv(65536)
        assert piece, data
        data += piece


@pytest.mark.parametrize("asked", [True, False], ids=["usage-asked", "usage-hidden"])
@pytest.mark.parametrize(("target", "mark"), [(CHAT, b'"content":'), (MESSAGES, b"text_delta")])
def test_a_client_that_leaves_a_stream_is_billed_for_what_was_streamed(
    gateway: Gateway, provider: Provider, target: str, mark: bytes, asked: bool
) -> None:
    team, model = f"left-{target[-5:]}-{asked}", MODELS[target]
    bill = provider.billed()
    options = {"stream_options": {"include_usage": True}} if asked and target == CHAT else {}
    body = ask(model, stream=True, **options)
    with connect(gateway, target, team, body, chunk_ms=60, output_tokens=500) as s:
        read_until(s, mark, 15)
    line = gateway.line(team)
    assert line["outcome"] == "aborted"
    invoice = until(lambda: bill.tokens(model), bool, "the mock's own bill")
    assert abs(line["tokens"]["output"] - invoice["output"]) <= 2
    assert abs(line["tokens"]["input"] - invoice["input"]) <= (10 if target == CHAT else 0)
    assert Decimal(line["cost_usd"]) == cost(model, line["tokens"]) == gateway.spent(team, 1)


def test_a_client_that_leaves_a_stream_before_it_began_is_billed_for_the_input_alone(
    gateway: Gateway, provider: Provider
) -> None:
    with connect(gateway, CHAT, "left-early", ask("gpt-4o", stream=True), delay_ms=3000):
        under_way(gateway, provider, "left-early")
    line = gateway.line("left-early")
    assert line["outcome"] == "aborted"
    assert set(line["tokens"]) == {"input"}
    assert 5 <= line["tokens"]["input"] <= 30
    assert gateway.spent("left-early", 1) == cost("gpt-4o", line["tokens"])


@pytest.mark.parametrize("model", ["gpt-4o", "o3"], ids=["not-streamed", "reasoning"])
def test_a_client_that_leaves_where_output_can_be_hidden_is_billed_its_hold(
    gateway: Gateway, provider: Provider, model: str
) -> None:
    team = f"left-hidden-{model}"
    body = ask(model) if model == "gpt-4o" else ask(model, stream=True)
    with connect(gateway, CHAT, team, body, delay_ms=3000):
        held = under_way(gateway, provider, team)
    line = gateway.line(team)
    assert (line["outcome"], line["unmetered"], line["charged_by"]) == ("aborted", "aborted", "hold")
    assert line["cost_usd"] == line["estimate_usd"] == held["reserved_usd"]
    assert gateway.spent(team, 1) == Decimal(line["cost_usd"]) > 0
    assert gateway.metric("spendgate_unmetered_usd_total", team=team, reason="aborted") > 0


@pytest.mark.parametrize("charset", ["utf-16", "utf-32-be"])
def test_a_request_in_another_charset_that_is_left_is_billed_its_hold(
    gateway: Gateway, provider: Provider, charset: str
) -> None:
    team, body = f"left-{charset}", ask("gpt-4o").decode().encode(charset)
    with connect(gateway, CHAT, team, body, delay_ms=3000):
        under_way(gateway, provider, team)
    line = gateway.line(team)
    assert (line["unmetered"], line["cost_usd"]) == ("aborted", line["estimate_usd"])
    assert gateway.spent(team, 1) == Decimal(line["cost_usd"]) > 0


def test_an_estimate_that_fits_no_ledger_is_refused(raw_gateway: Gateway, upstream: RawUpstream) -> None:
    seen = len(upstream.requests)
    answer = send(
        raw_gateway.url, "POST", CHAT, {**JSON, **who("bounded")}, ask("gpt-9-ultra", max_tokens=10**12)
    )
    assert answer.status == 429
    assert json.loads(answer.body)["error"]["code"] == "monthly_budget_exceeded"
    assert len(upstream.requests) == seen


def test_a_client_that_leaves_while_it_sends_its_request_costs_nothing(gateway: Gateway) -> None:
    body = ask("gpt-4o")
    address = urlsplit(gateway.url)
    with socket.create_connection((str(address.hostname), address.port)) as s:
        head = {**JSON, **who("never-sent"), "host": "x", "content-length": str(len(body))}
        lines = [f"POST {CHAT} HTTP/1.1", *(f"{k}: {v}" for k, v in head.items())]
        s.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body[:20])
    chat(gateway, "never-sent", max_tokens=5)
    assert gateway.settled("never-sent", 1)["requests"] == 1


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
@pytest.mark.parametrize("status", [400, 401, 429, 500, 529])
def test_a_provider_that_answers_an_error_costs_nothing(gateway: Gateway, status: int, stream: bool) -> None:
    team = f"error-{status}-{stream}"
    with pytest.raises(openai.APIStatusError) as caught:
        gateway.openai.with_options(max_retries=0).chat.completions.create(
            model="gpt-4o",
            messages=[{"role": "user", "content": TEXT}],
            stream=stream,
            extra_headers=who(team, status=status),
        )
    assert caught.value.status_code == status
    line = gateway.line(team)
    assert (line["outcome"], line["cost_usd"], line["tokens"]) == ("failed", "0.00", {})
    row = gateway.quiet(team)
    assert (row["settled_usd"], row["requests"]) == ("0.00", 0)


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
def test_a_provider_that_resets_before_it_answers_is_owed_what_was_held(
    gateway: Gateway, stream: bool
) -> None:
    team = f"reset-{stream}"
    answer = send(
        gateway.url, "POST", CHAT, {**JSON, **who(team, reset="before")}, ask("gpt-4o", stream=stream)
    )
    assert answer.status in (502, 503)
    line = gateway.line(team)
    assert (line["outcome"], line["unmetered"]) == ("unmetered", "attempts")
    assert gateway.quiet(team)["settled_usd"] == line["cost_usd"] == line["estimate_usd"] != "0.00"


def test_a_reset_of_the_raw_connection_is_owed_what_was_held(
    raw_gateway: Gateway, upstream: RawUpstream
) -> None:
    upstream.reply = reset_at_once
    assert send(raw_gateway.url, "POST", CHAT, {**JSON, **who("raw")}, ask("gpt-4o")).status == 503
    line = raw_gateway.line("raw")
    assert (line["unmetered"], line["cost_usd"]) == ("attempts", line["estimate_usd"])


@pytest.fixture(scope="module")
def closed_door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway whose provider refuses connections."""
    with Gateway(tmp_path_factory.mktemp("closed"), f"http://127.0.0.1:{free_port()}", workers=1) as running:
        yield running


def test_a_provider_that_refuses_the_connection_costs_nothing(closed_door: Gateway) -> None:
    with pytest.raises(openai.InternalServerError):
        chat(closed_door, "refused", more={"stream": True})
    lines = closed_door.lines("refused", 3)  # the SDK tries thrice
    assert {(x["outcome"], x["cost_usd"]) for x in lines} == {("failed", "0.00")}
    assert closed_door.quiet("refused")["settled_usd"] == "0.00"


@pytest.mark.parametrize(("target", "model"), [(CHAT, "gpt-4o-mini"), (MESSAGES, "claude-opus-4-1")])
def test_a_stream_that_the_provider_cuts_is_billed_by_what_flowed(
    gateway: Gateway, provider: Provider, target: str, model: str
) -> None:
    team = f"cut-{target[-5:]}"
    bill = provider.billed()
    body = ask(model, stream=True)
    with connect(gateway, target, team, body, reset="mid", output_tokens=40, chunk_ms=10) as s:
        while s.recv(65536):
            pass
    line = gateway.line(team)
    assert line["outcome"] in ("failed", "aborted")
    assert abs(line["tokens"]["output"] - bill.tokens(model)["output"]) <= 2
    assert abs(line["tokens"]["input"] - bill.tokens(model)["input"]) <= (10 if target == CHAT else 0)
    assert gateway.spent(team, 1) == cost(model, line["tokens"])


def test_a_stream_that_ends_without_its_last_event_is_billed_by_what_flowed(
    raw_gateway: Gateway, upstream: RawUpstream
) -> None:
    delta = b'data: {"model":"gpt-4o","choices":[{"index":0,"delta":{"content":" budget"}}]}\n\n'
    upstream.reply = pieces([delta] * 12, SSE)
    answer = send(raw_gateway.url, "POST", CHAT, {**JSON, **who("no-end")}, ask("gpt-4o", stream=True))
    assert answer.body == delta * 12
    line = raw_gateway.line("no-end")
    assert (line["outcome"], line["tokens"]["output"]) == ("failed", 12)


def test_what_the_sdk_retries_is_billed_once(gateway: Gateway, provider: Provider) -> None:
    bill = provider.billed()
    chat(gateway, "retried", max_tokens=9, fail_times=1, fail_key="sdk-retry")
    message(gateway, "retried", max_tokens=9, fail_times=1, fail_key="sdk-retry-claude")
    row = gateway.settled("retried", 2)
    assert bill.now()["errors"] == 2
    assert (row["requests"], Decimal(row["settled_usd"])) == (2, total(bill.now()))


def retries(config: Config) -> None:
    """Let every route retry."""
    manager = config["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    for route in manager["route_config"]["virtual_hosts"][0]["routes"]:
        route.get("route", {})["retry_policy"] = {"retry_on": "5xx", "num_retries": 2}


@pytest.fixture
def retrying(gateway: Gateway, provider: Provider, tmp_path: Path) -> Iterator[str]:
    """A second Envoy before the same workers, whose routes retry."""
    with before(worker_of(gateway), provider.url, tmp_path, retries) as url:
        yield url


def test_what_envoy_retries_is_billed_once(gateway: Gateway, provider: Provider, retrying: str) -> None:
    bill = provider.billed()
    for n in range(1, 6):  # the workers of a fresh Envoy take a moment to count as healthy
        headers = {**JSON, **who("envoy-retried", fail_times=1, fail_key=f"route-{n}", output_tokens=9)}
        assert send(retrying, "POST", CHAT, headers, ask("gpt-4o")).status == 200
    assert bill.now()["errors"] == 5, "Envoy tried each twice"
    row = gateway.settled("envoy-retried", 5)
    assert (row["requests"], Decimal(row["settled_usd"])) == (5, total(bill.now()))
    assert len(gateway.usage("envoy-retried")) == 5
