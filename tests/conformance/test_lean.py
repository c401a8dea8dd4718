"""Lean: the answer passes our filter unseen, and Envoy's access log tells what it cost."""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import socket
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import openai
import pytest
from support.calls import chat, message, who
from support.gateway import Gateway
from support.invoice import cost
from support.policy import budget, policy, thresholds
from support.processes import WORKER, until
from support.provider import Provider
from support.raw_http import JSON, send
from support.raw_upstream import JSON as AS_JSON
from support.raw_upstream import SSE, RawUpstream, fixed, pieces
from support.second_envoy import Config, before, worker_of

POLICY = policy(
    budget("ml", 100), budget("failed", 100), budget("broke", 0), budget("lost", 100), budget("died", 100),
    budget("cuts", 100, cutStreams=True),
    budget("learns", 100, holds="learned"),
    budget("audited", 0, mode="audit"),
    budget("clamped", 100, outputTokenCap=7),
    budget(
        "pressed", 0.002, defaultModel="gpt-4o-mini",
        alertThresholds=thresholds((1, "alert_and_downgrade"), (100, "reject")),
    ),
)  # fmt: skip
CONFIG = {"lean": True, "unseen_ttl": "6s", "reservation_ttl": "3s"}
CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"
COST = "x-spendgate-cost-usd"
Ask = Callable[[Gateway, str], object]


def unseen(gateway: Gateway) -> float:
    """How many exchanges the access log ended."""
    entries = gateway.metrics().get("spendgate_access_log_entries_total", {})  # all of one look
    return sum(n for labels, n in entries.items() if ("outcome", "other") not in labels)


def streamed(gateway: Gateway, team: str, model: str = "gpt-4o", **more: Any) -> list[Any]:
    """A whole stream of the chat API."""
    stream = gateway.openai.chat.completions.create(
        model=model, messages=[{"role": "user", "content": "hi"}], max_completion_tokens=50, stream=True,
        extra_headers=who(team, output_tokens=9), **more,
    )  # fmt: skip
    return list(stream)


def told(gateway: Gateway, team: str) -> list[Any]:
    """The same, which tells its usage because the client asked."""
    return streamed(gateway, team, stream_options={"include_usage": True})


def messages_streamed(gateway: Gateway, team: str) -> list[Any]:
    stream = gateway.anthropic.messages.create(
        model="claude-opus-4-1", max_tokens=50, messages=[{"role": "user", "content": "hi"}], stream=True,
        extra_headers=who(team, output_tokens=9),
    )  # fmt: skip
    return list(stream)


def responses(gateway: Gateway, team: str, *, stream: bool = False) -> object:
    answer: Any = gateway.openai.responses.create(
        model="gpt-4o",
        input="hi",
        max_output_tokens=50,
        stream=stream,
        extra_headers=who(team, output_tokens=9),
    )
    return list(answer) if stream else answer


@pytest.mark.parametrize(
    ("ask", "model"),
    [
        (lambda g, t: chat(g, t, output_tokens=5, cached=2), "gpt-4o"),
        (told, "gpt-4o"),
        (lambda g, t: message(g, t, output_tokens=5), "claude-opus-4-1"),
        (messages_streamed, "claude-opus-4-1"),
        (lambda g, t: responses(g, t), "gpt-4o"),
        (lambda g, t: responses(g, t, stream=True), "gpt-4o"),
    ],
    ids=["chat", "chat-stream", "messages", "messages-stream", "responses", "responses-stream"],
)
def test_an_answer_that_nobody_looked_at_is_charged_its_true_usage(
    gateway: Gateway, provider: Provider, ask: Ask, model: str, request: pytest.FixtureRequest
) -> None:
    team = f"true-{request.node.callspec.id}"
    bill, ended = provider.billed(), unseen(gateway)
    ask(gateway, team)
    line = gateway.line(team)
    assert (line["outcome"], line["charged_by"]) == ("complete", "usage")
    assert line["tokens"] == {k: n for k, n in bill.tokens(model).items() if n}
    assert Decimal(line["cost_usd"]) == cost(model, line["tokens"]) == gateway.spent(team, 1)
    until(lambda: unseen(gateway), lambda now: now == ended + 1, "the entry is counted")


def test_what_was_decided_stands_in_the_answers_headers_and_its_cost_does_not(gateway: Gateway) -> None:
    reply = chat(gateway, "ml", output_tokens=5)
    assert reply.headers["x-spendgate-model"] == "gpt-4o"
    assert reply.headers["x-spendgate-reason"] == "within_budget"
    assert Decimal(reply.headers["x-spendgate-estimated-cost-usd"]) > 0
    assert {"x-budget-utilization", "x-budget-remaining-usd"} <= set(reply.headers)
    assert not {COST, "x-model-downgraded", "x-spendgate-kept-because"} & set(reply.headers)
    gateway.lines("ml", 1)  # its entry has come, and is no other test's


# -- what is looked at as ever ------------------------------------------------------------------------------


@pytest.mark.parametrize("team", ["cuts", "learns"])
def test_a_budget_that_looks_at_answers_sees_them(gateway: Gateway, team: str) -> None:
    ended = unseen(gateway)
    assert COST in chat(gateway, team, output_tokens=5).headers
    assert gateway.lines(team, 1)[-1]["charged_by"] == "usage"
    assert unseen(gateway) == ended


@pytest.mark.parametrize(
    "ask",
    [
        streamed,
        lambda g, t: streamed(g, t, "o3", stream_options={"include_usage": True}),
        lambda g, t: chat(g, t, model="nobody-knows", output_tokens=5),
        lambda g, t: chat(g, t, headers={"x-require-model": "gpt-4o"}, output_tokens=5),
    ],
    ids=["usage-hidden", "reasoning", "unpriced", "required"],
)
def test_an_answer_whose_cost_envoy_may_not_tell_is_looked_at(
    gateway: Gateway, ask: Ask, request: pytest.FixtureRequest
) -> None:
    team, ended = f"seen-{request.node.callspec.id}", unseen(gateway)
    ask(gateway, team)
    assert gateway.line(team)["charged_by"] == "usage"
    assert unseen(gateway) == ended


def test_a_usage_that_nobody_asked_for_is_not_shown(gateway: Gateway) -> None:
    assert all(chunk.usage is None for chunk in streamed(gateway, "ml"))


# -- decisions ----------------------------------------------------------------------------------------------


def test_a_team_without_money_is_refused_and_the_provider_gets_nothing(
    gateway: Gateway, provider: Provider
) -> None:
    bill = provider.billed()
    with pytest.raises(openai.RateLimitError) as refused:
        chat(gateway, "broke")
    assert refused.value.code == "monthly_budget_exceeded"
    assert bill.requests() == 0
    assert gateway.line("broke")["outcome"] == "refused"
    assert gateway.quiet("broke")["settled_usd"] == "0.00"


def test_what_is_written_into_a_request_is_what_is_charged(gateway: Gateway, provider: Provider) -> None:
    chat(gateway, "clamped", max_tokens=None, output_tokens=50)
    assert provider.last()["json"]["max_completion_tokens"] == 7
    assert gateway.line("clamped")["tokens"]["output"] == 7


def test_a_downgrade_is_sent_said_and_charged(gateway: Gateway, provider: Provider) -> None:
    chat(gateway, "pressed", output_tokens=5)
    gateway.settled("pressed", 1)
    reply = chat(gateway, "pressed", output_tokens=5)
    assert reply.headers["x-model-downgraded"] == "true"
    assert provider.last()["json"]["model"] == reply.answer.model == "gpt-4o-mini"
    line = gateway.lines("pressed", 2)[-1]
    assert (line["decision"], line["model_requested"], line["model"]) == (
        "downgrade",
        "gpt-4o",
        "gpt-4o-mini",
    )
    assert Decimal(line["cost_usd"]) == cost("gpt-4o-mini", line["tokens"])
    assert Decimal(line["saved_usd"]) == cost("gpt-4o", line["tokens"]) - Decimal(line["cost_usd"])


def test_audit_passes_and_is_charged(gateway: Gateway) -> None:
    assert chat(gateway, "audited", output_tokens=5).headers["x-spendgate-reason"] == "audit:would_refuse"
    assert gateway.line("audited")["charged_by"] == "usage"


# -- ends ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 500])
def test_an_error_of_the_provider_costs_nothing(gateway: Gateway, status: int) -> None:
    before_it = len(gateway.usage("failed"))
    with pytest.raises(openai.APIStatusError):
        gateway.openai.with_options(max_retries=0).chat.completions.create(
            model="gpt-4o",
            messages=[{"role": "user", "content": "hi"}],
            extra_headers=who("failed", status=status),
        )
    line = gateway.lines("failed", before_it + 1)[-1]
    assert (line["outcome"], line["cost_usd"]) == ("failed", "0.00")
    assert gateway.quiet("failed")["requests"] == 0


def left(
    gateway: Gateway, provider: Provider, team: str, target: str, until_seen: bytes, **asked: Any
) -> dict[str, Any]:
    """The line of a call whose client leaves: once the provider has it, or once so much of its answer came."""
    mock = {k.removeprefix("mock_"): asked.pop(k) for k in list(asked) if k.startswith("mock_")}
    model = "gpt-4o" if target == CHAT else "claude-opus-4-1"
    body = json.dumps(
        {"model": model, "max_tokens": 500, "messages": [{"role": "user", "content": "hi"}], **asked}
    ).encode()
    address = urlsplit(gateway.url)
    with socket.create_connection((str(address.hostname), address.port), timeout=60) as s:
        head = {**JSON, **who(team, **mock), "x-of": team, "host": "x", "content-length": str(len(body))}
        lines = [f"POST {target} HTTP/1.1", *(f"{k}: {v}" for k, v in head.items())]
        s.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        if until_seen:
            data = b""
            while data.count(until_seen) < 3:
                data += s.recv(65536)
        else:
            own = ["x-of", team]
            until(
                lambda: provider.requests(10),
                lambda last: any(own in [list(x) for x in r["headers"]] for r in last),
                "the request",
            )
    return gateway.line(team)


USAGE_ASKED = {"stream": True, "stream_options": {"include_usage": True}}


def test_a_client_that_leaves_before_the_answer_pays_by_the_law(gateway: Gateway, provider: Provider) -> None:
    whole = left(gateway, provider, "left-whole", CHAT, b"", mock_delay_ms=3000)
    assert (whole["outcome"], whole["unmetered"]) == ("aborted", "aborted")
    assert whole["cost_usd"] == whole["estimate_usd"] != "0.00"
    plain = left(gateway, provider, "left-plain", CHAT, b"", mock_delay_ms=3000, **USAGE_ASKED)
    assert plain["outcome"] == "aborted"
    assert set(plain["tokens"]) == {"input"}


@pytest.mark.parametrize(
    ("target", "mark", "asked"),
    [(CHAT, b'"content":', USAGE_ASKED), (MESSAGES, b"text_delta", {"stream": True})],
    ids=["chat", "messages"],
)
def test_a_client_that_leaves_a_stream_pays_the_hold(
    gateway: Gateway, provider: Provider, target: str, mark: bytes, asked: dict[str, Any]
) -> None:
    team = f"left-{target[4:8]}"
    line = left(gateway, provider, team, target, mark, mock_chunk_ms=50, mock_output_tokens=100, **asked)
    assert (line["outcome"], line["unmetered"], line["charged_by"]) == ("unmetered", "body_unseen", "hold")
    assert line["cost_usd"] == line["estimate_usd"]
    assert Decimal(line["cost_usd"]) == gateway.spent(team, 1)


def test_a_worker_that_dies_between_the_hold_and_the_answer_costs_nobody_a_cent(
    gateway: Gateway, provider: Provider
) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(chat, gateway, "died", output_tokens=5, delay_ms=2500)
        until(lambda: gateway.row("died")["reserved_usd"], lambda usd: usd != "0.00", "the hold")
        dead = gateway.command.children(WORKER)
        for worker in dead:
            worker.send_signal(signal.SIGKILL)
        assert asking.result().answer.usage.completion_tokens == 5
    line = gateway.line("died")
    assert (line["outcome"], line["tokens"]["output"]) == ("complete", 5)
    assert gateway.spent("died", 1) == Decimal(line["cost_usd"]) == cost("gpt-4o", line["tokens"])
    until(lambda: gateway.admin.get("/readyz").status_code, lambda s: s == 200, "readiness")


# -- Envoys that say, and do, something else ----------------------------------------------------------------


def manager(config: Config) -> dict[str, Any]:
    [chain] = config["static_resources"]["listeners"][0]["filter_chains"]
    return dict(chain["filters"][0])["typed_config"]


def without_log(config: Config) -> None:
    """Its log goes nowhere, whatever it says."""
    del manager(config)["access_log"]


def without_word(config: Config) -> None:
    """It does not say that it logs."""
    for each in manager(config)["http_filters"]:
        if each["name"] == "spendgate.ext_proc":
            del each["typed_config"]["grpc_service"]["initial_metadata"]


def as_it_is(config: Config) -> None:
    pass


def asked(url: str, team: str) -> Any:
    body = json.dumps({"model": "gpt-4o", "max_tokens": 50, "messages": [{"role": "user", "content": "hi"}]})
    answer = send(url, "POST", CHAT, {**JSON, **who(team, output_tokens=5)}, body.encode())
    assert answer.status == 200
    return answer


def test_a_hold_whose_entry_never_comes_is_charged_at_its_end(
    gateway: Gateway, provider: Provider, tmp_path: Path
) -> None:
    with before(worker_of(gateway), provider.url, tmp_path, without_log, "--lean") as url:
        asked(url, "lost")
        assert gateway.row("lost")["reserved_usd"] != "0.00"
        line = gateway.line("lost")
    assert (line["outcome"], line["unmetered"]) == ("unmetered", "expired")
    assert gateway.spent("lost", 1) == Decimal(line["cost_usd"]) == Decimal(line["estimate_usd"])


@pytest.mark.parametrize(
    ("change", "more"),
    [(without_word, ["--lean"]), (as_it_is, [])],
    ids=["lean-and-silent-of-its-log", "not-lean"],
)
def test_an_envoy_that_does_not_say_that_it_logs_shows_its_answers(
    gateway: Gateway, provider: Provider, tmp_path: Path, change: Callable[[Config], None], more: list[str]
) -> None:
    with before(worker_of(gateway), provider.url, tmp_path, change, *more) as url:
        assert asked(url, "ml").header(COST) is not None


# -- providers that do something else -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Gateway, RawUpstream]]:
    folder = tmp_path_factory.mktemp("raw")
    with RawUpstream() as upstream, Gateway(folder, upstream.url, config=CONFIG) as gateway:
        yield gateway, upstream


TELLS = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}


def chunk(**more: Any) -> bytes:
    base = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o", "choices": []}
    return b"data: " + json.dumps(base | more).encode() + b"\n\n"


@pytest.mark.parametrize("reset", [False, True])
def test_a_stream_that_breaks_off_is_charged_the_hold_whatever_it_told_so_far(
    raw: tuple[Gateway, RawUpstream], reset: bool
) -> None:
    gateway, upstream = raw
    parts = [chunk(usage=TELLS | {"completion_tokens": n, "total_tokens": 9 + n}) for n in range(1, 5)]
    upstream.reply = pieces(parts, SSE, end=False, reset=reset)
    body = {
        "model": "gpt-4o",
        "max_tokens": 50,
        "messages": [{"role": "user", "content": "hi"}],
        **USAGE_ASKED,
    }
    team = f"broke-off-{reset}"
    with contextlib.suppress(http.client.HTTPException, OSError):  # the answer's end does not come
        send(gateway.url, "POST", CHAT, {**JSON, **who(team)}, json.dumps(body).encode())
    line = gateway.line(team)
    assert (line["outcome"], line["charged_by"]) == ("unmetered", "hold")
    assert line["cost_usd"] == line["estimate_usd"]


def test_a_usage_without_input_is_charged_the_input_as_counted(
    raw: tuple[Gateway, RawUpstream],
) -> None:
    gateway, upstream = raw
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hello"}}
    document = {"model": "gpt-4o", "choices": [choice], "usage": {"completion_tokens": 4}}
    upstream.reply = fixed(json.dumps(document).encode(), AS_JSON)
    asked(gateway.url, "half")
    line = gateway.line("half")
    assert line["tokens"]["output"] == 4
    assert line["tokens"]["input"] > 0
    assert "input_missing" in line["flags"]


def test_an_answer_of_many_megabytes_passes_whole(raw: tuple[Gateway, RawUpstream]) -> None:
    gateway, upstream = raw
    text = "x" * 5_000_000
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
    document = {"model": "gpt-4o", "choices": [choice], "usage": TELLS}
    upstream.reply = fixed(json.dumps(document).encode(), AS_JSON)
    assert len(asked(gateway.url, "large").body) > 5_000_000
    assert gateway.line("large")["tokens"] == {"input": 9, "output": 4}


def test_a_gateway_that_stops_hears_of_its_last_answers(provider: Provider, tmp_path: Path) -> None:
    with Gateway(tmp_path, provider.url, config=CONFIG, clean=False) as stopping:
        chat(stopping, "ml", output_tokens=5)
    assert [line["outcome"] for line in stopping.usage("ml")] == ["complete"]
