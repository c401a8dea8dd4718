"""The bills of tests/corpus/bills through a real Envoy: JSON, streams, and streams over HTTP/2 on both sides."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from support.bills import Bill, bills, judge, price_list
from support.calls import who
from support.gateway import Gateway
from support.http2 import Got, Http2Upstream, Reply, post
from support.policy import budget, policy
from support.processes import until
from support.raw_upstream import RawUpstream, Request, fixed, pieces
from support.second_envoy import before, http2_upstream, worker_of


def asked_model(bill: Bill) -> str:
    deployed = bill.path.partition("/deployments/")[2].partition("/")[0]
    return deployed or (str(bill.ask.get("model")) if isinstance(bill.ask, dict) else "")


BILLS = {str(b): b for b in bills() if not b.upstream}
"""Those of a provider that the path or the model tells; the others need settings of their own."""
DEPLOYMENTS = ("gpt-4", "gpt-35-turbo", "model-router", "house-deployment", "prod-chat")
AZURE = {str(b): b for b in bills() if b.upstream == {"provider": "azure"} and asked_model(b) in DEPLOYMENTS}
"""Azure's, by deployments whose names no other bill asks for: one gateway sends them there."""
STREAMED = [name for name, b in BILLS.items() if b.streams and b.content_type == "text/event-stream"][::4]
SOME = BILLS | AZURE


def labels(bill: Bill) -> list[tuple[str, str]]:
    label = [("content-type", bill.content_type)] if bill.content_type else []
    return [*label, *bill.answer_headers.items()]


async def reply(request: Request, writer: asyncio.StreamWriter) -> None:
    bill = SOME[str(request.header("x-case"))]
    head = [f"{name}: {value}" for name, value in labels(bill)]
    answer = pieces(bill.answer, *head) if bill.streams else fixed(b"".join(bill.answer), *head)
    await answer(request, writer)


def over(got: Got) -> Reply:
    bill = SOME.get(got.headers.get("x-case", ""))
    if bill is None:
        return Reply((b"{}",))  # whoever looks whether it is there
    return Reply(tuple(bill.answer), tuple(labels(bill)), pause_s=0.002)


def asked(bill: Bill, way: str) -> dict[str, str]:
    """The headers of a bill's request."""
    run = {"x-case": str(bill), "x-llm-run": f"{way} {bill}", "content-type": "application/json"}
    return {**run, **who("ml"), **bill.headers}


def lines(gateway: Gateway, runs: int) -> dict[str, dict[str, Any]]:
    """The usage log by run, once so many runs are in it."""
    return until(
        lambda: {x["run"]: x for x in gateway.usage("ml")}, lambda by: len(by) >= runs, f"{runs} lines"
    )


def told(gateway: Gateway, of: dict[str, Bill], way: str) -> dict[str, dict[str, Any]]:
    """Ask for each bill, one after the other."""
    with httpx.Client(base_url=gateway.url, trust_env=False, timeout=30) as client:
        for bill in of.values():
            answer = client.post(bill.path, content=bill.body, headers=asked(bill, way))
            assert answer.status_code == bill.status, (str(bill), answer.text)
    return lines(gateway, len(of))


@pytest.fixture(scope="module")
def upstream() -> Iterator[RawUpstream]:
    with RawUpstream(reply) as running:
        yield running


@pytest.fixture(scope="module")
def gateway(upstream: RawUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    rules, prices = policy(budget("ml", 100_000)), price_list(bills())
    upstreams = [
        {"name": "azure", "url": upstream.url, "provider": "azure", "models": [*DEPLOYMENTS]},
        {"name": "any", "url": upstream.url},
    ]
    folder, config = tmp_path_factory.mktemp("bills"), {"upstreams": upstreams}
    with Gateway(folder, "", rules, config=config, prices=prices, workers=1) as running:
        yield running


@pytest.fixture(scope="module")
def through(gateway: Gateway) -> dict[str, dict[str, Any]]:
    return told(gateway, SOME, "plain")


@pytest.fixture(scope="module")
def through_http2(gateway: Gateway, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("http2")
    with (
        Http2Upstream(over) as provider,
        before(worker_of(gateway), provider.url, folder, http2_upstream) as url,
    ):
        for name in STREAMED:
            bill = BILLS[name]
            got = post(url, bill.path, list(asked(bill, "http2").items()), bill.body)
            assert got.headers[":status"] == "200"
    return until(
        lambda: {x["run"]: x for x in gateway.usage("ml") if x["run"].startswith("http2")},
        lambda by: len(by) == len(STREAMED),
        "the lines",
    )


@pytest.mark.parametrize("name", SOME)
def test_a_bill_is_the_same_through_envoy(through: dict[str, dict[str, Any]], name: str) -> None:
    judge(SOME[name], through[f"plain {name}"])


@pytest.mark.parametrize("name", STREAMED)
def test_a_streamed_bill_is_the_same_over_http2(through_http2: dict[str, dict[str, Any]], name: str) -> None:
    judge(BILLS[name], through_http2[f"http2 {name}"])


def test_the_ledger_has_the_sum_of_the_lines(
    gateway: Gateway, through: dict[str, Any], through_http2: Any
) -> None:
    del through, through_http2
    spent = sum(round(float(x["cost_usd"]) * 10**9) for x in gateway.usage("ml"))
    assert json.loads(json.dumps(gateway.quiet("ml")))["settled_usd"] == f"{spent / 10**9:.9f}".rstrip("0")
