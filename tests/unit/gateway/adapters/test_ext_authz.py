"""The ext_authz adapter: what the wire gives, what it gets, and who lets go of a hold."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from envoy.service.auth.v3 import external_auth_pb2 as pb
from google.protobuf.message import DecodeError
from prometheus_client import CollectorRegistry
from unit.exchange.driver import NOW_MS, chat, snapshot_of

from spendgate.errors import LedgerUnavailable
from spendgate.exchange.ticket import SettlementTicket
from spendgate.gateway.adapters.ext_authz import Authorization
from spendgate.gateway.metrics import Metrics
from spendgate.gateway.runtime import Runtime
from spendgate.ledger.exchanges import ReserveRequest, ReserveResult, Settlement, group_account
from spendgate.pricing.load import table
from spendgate.records.outcome import Outcome
from spendgate.records.record import ExchangeResult

SPECS = """
{team: ml, monthlyBudgetUSD: 10}
---
{team: closed, monthlyBudgetUSD: 10, failurePolicy: closed}
---
{team: open, monthlyBudgetUSD: 10, failurePolicy: open}
---
{team: audited, monthlyBudgetUSD: 10, mode: audit}
---
{team: eng, monthlyBudgetUSD: 10, members: [ml]}
---
{team: strict, monthlyBudgetUSD: 10, unknownApis: reject}
"""


class Ledger:
    """Holds what it is asked to; `gate` delays the answer, `away` refuses it."""

    def __init__(self) -> None:
        self.asked: list[ReserveRequest] = []
        self.gate, self.arrived = asyncio.Event(), asyncio.Event()
        self.gate.set()
        self.away = False

    async def reserve(self, request: ReserveRequest, now_ms: int = 0) -> ReserveResult:
        self.asked.append(request)
        self.arrived.set()
        await self.gate.wait()
        if self.away:
            raise LedgerUnavailable("away")
        return ReserveResult(0, request.candidates[0].estimate_nanousd, None, 0, 1, NOW_MS)


class Settler:
    is_full = False

    def __init__(self) -> None:
        self.endings: list[ExchangeResult] = []
        self.came = asyncio.Event()

    def put(self, ending: ExchangeResult) -> None:
        self.endings.append(ending)
        self.came.set()

    def void(self, settlement: Settlement) -> None: ...


class Desk:
    """The service with its ledger and settler."""

    def __init__(self) -> None:
        self.ledger, self.settler = Ledger(), Settler()
        metrics = Metrics(CollectorRegistry())
        self.runtime = Runtime(snapshot_of(SPECS), self.ledger, self.settler, metrics)  # type: ignore[arg-type]
        self.service = Authorization(self.runtime)

    path = "/v1/chat/completions"

    async def check(self, team: str = "ml", body: bytes | None = None, **headers: str) -> Any:
        body = orjson.dumps(chat()) if body is None else body
        request = pb.CheckRequest()
        http = request.attributes.request.http
        http.method, http.path, http.host, http.id = "POST", self.path, "x", "1"
        http.headers.update({"content-type": "application/json", "x-llm-team": team, **headers})
        http.raw_body, http.size = body, 200
        request.attributes.request.time.seconds = 1
        request.attributes.source.address.socket_address.address = "10.0.0.1"
        return await self.service.Check(request, None)

    def errors(self) -> float:
        value: float = self.runtime.metrics.errors._value.get()
        return value


async def test_a_ticket_goes_with_the_request_and_its_hold_waits_for_the_log() -> None:
    desk = Desk()
    reply = await desk.check()
    ticket = SettlementTicket.from_json(reply.dynamic_metadata["ticket"])
    [asked] = desk.ledger.asked
    assert (ticket.exchange_id, ticket.team, ticket.model) == (asked.exchange_id, "ml", "gpt-4o")
    assert asked.ttl_ms == desk.runtime.snapshot.settings.unseen_ttl
    assert desk.settler.endings == []
    assert not desk.runtime.live, "nobody renews it"
    assert "x-llm-team" in reply.ok_response.headers_to_remove


async def test_a_check_that_envoy_sends_again_keeps_its_hold_when_the_one_it_gave_up_is_voided() -> None:
    desk = Desk()
    desk.ledger.gate.clear()
    given_up = asyncio.create_task(desk.check())
    await desk.ledger.arrived.wait()
    given_up.cancel()
    desk.ledger.gate.set()
    ticket = SettlementTicket.from_json((await desk.check()).dynamic_metadata["ticket"])
    await desk.settler.came.wait()
    [void] = desk.settler.endings
    assert void.settlement is not None and void.settlement.release
    assert void.settlement.exchange_id == desk.ledger.asked[0].exchange_id
    assert ticket.exchange_id == desk.ledger.asked[1].exchange_id != void.settlement.exchange_id


async def test_a_client_that_leaves_while_we_decide_holds_nothing() -> None:
    desk = Desk()
    desk.ledger.gate.clear()
    checking = asyncio.create_task(desk.check())
    await desk.ledger.arrived.wait()
    checking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await checking
    assert desk.settler.endings == [], "the reservation is still on its way"
    desk.ledger.gate.set()
    await desk.settler.came.wait()
    [ending] = desk.settler.endings
    assert ending.settlement is not None and ending.settlement.release


async def test_without_a_body_an_enforcing_budget_refuses_loudly_and_all_others_are_charged() -> None:
    desk = Desk()
    for team in ("ml", "closed"):
        reply = await desk.check(team, b"")
        assert reply.denied_response.status.code == 429
    assert desk.errors() == 2
    for team in ("open", "audited", "nobody"):
        reply = await desk.check(team, b"")
        assert reply.HasField("ok_response")
        record = desk.settler.endings[-1].record
        assert (record.unmetered, record.cost_nanousd > 0) == ("internal_error", True)


async def test_a_call_that_costs_nothing_passes_without_a_ticket() -> None:
    desk = Desk()
    desk.path = "/v1/moderations"
    reply = await desk.check(body=orjson.dumps({"model": "omni-moderation-latest", "input": "hi"}))
    assert reply.HasField("ok_response")
    assert "ticket" not in reply.dynamic_metadata
    assert desk.errors() == 0
    assert desk.ledger.asked == []


async def test_a_cut_body_is_refused_as_too_large() -> None:
    cut: dict[str, Any] = {"x-envoy-auth-partial-body": "true"}
    reply = await Desk().check(**cut)
    assert reply.denied_response.status.code == 413


async def test_while_the_ledger_is_away_what_passes_is_charged_at_once() -> None:
    desk = Desk()
    desk.ledger.away = True
    reply = await desk.check()
    assert reply.HasField("ok_response")
    assert "ticket" not in reply.dynamic_metadata, "no log entry may settle it again"
    [ending] = desk.settler.endings
    for account in ("ml", group_account("eng")):
        assert desk.runtime.guard.committed(account) == ending.record.cost_nanousd > 0
    desk.runtime.guard.acknowledged()
    for account in ("ml", group_account("eng")):
        assert desk.runtime.guard.committed(account) == 0, "nothing is held of a call that is over here"
    assert ending.record.outcome is Outcome.UNMETERED
    assert ending.settlement is not None
    assert ending.settlement.cost_nanousd == ending.held_nanousd > 0


async def test_a_client_that_leaves_as_the_ledger_fails_holds_nothing_of_the_replica_either() -> None:
    desk = Desk()
    desk.ledger.away = True
    desk.ledger.gate.clear()
    checking = asyncio.ensure_future(desk.check())
    await desk.ledger.arrived.wait()
    checking.cancel()
    desk.ledger.gate.set()
    await asyncio.wait_for(desk.settler.came.wait(), 10)
    assert desk.settler.endings[0].record.cost_nanousd == 0
    assert desk.runtime.guard.committed("ml") == desk.runtime.guard.committed(group_account("eng")) == 0


async def test_a_request_of_an_unknown_api_is_counted_once() -> None:
    desk = Desk()
    desk.path = "/v1/videos"
    answer = await desk.check()
    assert answer.HasField("ok_response")
    counted = desk.runtime.metrics.unknown_api.labels("ml", "pass")._value.get()
    assert counted == 1


async def test_a_header_of_mcp_on_a_path_whose_body_is_not_shown_claims_nothing(tmp_path: Path) -> None:
    (tmp_path / "prices.yaml").write_text("tools:\n  x/web: {requests: 1}\n")
    desk = Desk()
    desk.runtime.snapshot = replace(desk.runtime.snapshot, prices=table([tmp_path / "prices.yaml"]))
    desk.path = "/v1/videos"
    for team in ("ml", "audited"):
        answer = await desk.check(team, b"", **{"mcp-session-id": "1"})
        assert answer.HasField("ok_response")
        assert desk.runtime.metrics.unknown_api.labels(team, "pass")._value.get() == 1
    assert (desk.settler.endings, desk.ledger.asked, desk.errors()) == ([], [], 0)


async def test_a_check_that_cannot_be_read_is_refused_loudly() -> None:
    desk = Desk()
    answer = await desk.service.Check(DecodeError("corrupt"), None)
    assert answer.denied_response.status.code == 503
    assert (desk.settler.endings, desk.ledger.asked, desk.errors()) == ([], [], 1)


@pytest.mark.parametrize(
    ("team", "tools", "action"),
    [
        ("ml", ["free"], "pass"),
        ("ml", ["web", "free"], "pass"),
        ("ml", ["web"], ""),
        ("strict", ["web", "free"], "reject"),
        ("strict", ["web"], ""),
    ],
)
async def test_a_tool_without_a_price_is_counted_as_an_unknown_api(
    tmp_path: Path, team: str, tools: list[str], action: str
) -> None:
    (tmp_path / "prices.yaml").write_text("tools:\n  x/web: {requests: 0.01}\n")
    desk = Desk()
    desk.runtime.snapshot = replace(desk.runtime.snapshot, prices=table([tmp_path / "prices.yaml"]))
    desk.path = "/mcp"
    calls = [
        {"jsonrpc": "2.0", "id": i, "method": "tools/call", "params": {"name": name}}
        for i, name in enumerate(tools)
    ]
    answer = await desk.check(team, orjson.dumps(calls))
    assert answer.HasField("denied_response") is (action == "reject")
    counter = desk.runtime.metrics.unknown_api
    seen = {a: counter.labels(team, a)._value.get() for a in ("pass", "reject")}
    assert seen == {"pass": action == "pass", "reject": action == "reject"}
