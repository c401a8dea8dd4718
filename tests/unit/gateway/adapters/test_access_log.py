"""Entries of Envoy's access log: nearly every call needs nothing of its own, copies and attempts are found all the
same, before it and after it."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.data.accesslog.v3 import accesslog_pb2
from unit.exchange.desk import Desk

from spendgate.exchange.ticket import SettlementTicket
from spendgate.gateway.adapters import access_log, codec
from spendgate.gateway.adapters.access_log import AccessLog

TICKET = SettlementTicket(
    exchange_id="x1", request_id="r1", at_ms=1, team="ml", app="a", user="", run="", dialect="openai",
    model_requested="m", model="m", upstream="u", held_nanousd=7, price_version="p", decision="allow", reason="",
).to_json()  # fmt: skip


def entry(request_id: str = "r1", at_us: int = 5, status: int = 200) -> Any:
    out = accesslog_pb2.HTTPAccessLogEntry()
    out.request.request_id = request_id
    out.request.authority = "host"
    out.response.response_code.value = status
    out.common_properties.start_time.nanos = at_us * 1000
    return out


def call(request_id: str = "r1", count: int = 1, ticket: str = TICKET) -> Any:
    out = entry(request_id)
    common = out.common_properties
    common.access_log_type = accesslog_pb2.DownstreamEnd
    common.duration.nanos = 1_000_000
    common.upstream_request_attempt_count = count
    common.downstream_direct_remote_address.socket_address.address = "10.0.0.1"
    if ticket:
        common.metadata.filter_metadata[codec.NAMESPACE].fields[codec.TICKET].string_value = ticket
    return out


def attempt(request_id: str = "r1", at_us: int = 9, status: int = 200, *, copied: bool = False) -> Any:
    out = entry(request_id, at_us, status)
    out.common_properties.access_log_type = accesslog_pb2.UpstreamEnd
    out.common_properties.time_to_first_upstream_tx_byte.nanos = 1
    if copied:
        out.request.authority = "host-shadow"
    return out


def told(*entries: Any) -> list[tuple[str, int]]:
    """What is charged beside the call."""
    desk = Desk("{team: ml, monthlyBudgetUSD: 10}")
    log = AccessLog(desk.runtime)
    for one in entries:
        log._take(one)
    log._decide(last=True)
    assert desk.errors() == 0
    return [(x.record.exchange_id, x.record.cost_nanousd) for x in desk.settler.endings]


def test_a_call_with_one_attempt_needs_nothing_more() -> None:
    assert told(attempt(), call()) == []


def test_a_copy_is_charged_once_whether_it_ends_before_its_call_or_after_it() -> None:
    copy = attempt(copied=True)
    assert told(copy, call()) == told(call(), copy) == [("x1:mirror-9:attempts", 7)]
    assert told(call(), attempt(at_us=5_000, copied=True)) == []  # of another call
    assert told(call("r2"), copy) == []


def test_an_attempt_that_was_given_up_is_charged_and_one_that_failed_is_not() -> None:
    assert told(attempt(status=0), attempt(at_us=11), call(count=2)) == [("x1:attempts", 7)]
    assert told(attempt(status=503), attempt(at_us=11), call(count=2)) == []
    assert told(call(count=2)) == [("x1:attempts", 7)]  # untold: it may have been billed


def test_attempts_of_a_call_without_a_ticket_are_let_go() -> None:
    desk = Desk("{team: ml, monthlyBudgetUSD: 10}")
    log = AccessLog(desk.runtime)
    log._take(attempt(status=503))
    log._take(call(count=2, ticket=""))
    assert len(log._tries) == 0


def test_calls_whose_copies_may_come_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access_log, "RECENT_MAX", 2)
    copy = attempt("r0", copied=True)
    assert told(*(call(f"r{i}") for i in range(2)), copy) != []
    assert told(*(call(f"r{i}") for i in range(3)), copy) == []
