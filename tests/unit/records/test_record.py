"""The line of the usage log: what is written byte for byte, and what is read of the lines of older releases."""

from __future__ import annotations

from dataclasses import fields

import orjson
import pytest
from support.usage_lines import T0, record

from spendgate.records.outcome import ChargedBy, Outcome
from spendgate.records.reader import Unreadable, parse
from spendgate.records.record import LINE, PricedBy, UsagePart, UsageRecord

FULL = UsageRecord(
    exchange_id="x1", request_id="r1", at_ms=T0 + 7, team="red", app="chat", user="ann", run="night",
    dialect="openai-chat", model_requested="gpt-4o", model="gpt-4o-mini", upstream="eu",
    tokens={"input": 1000, "output": 100}, cost_nanousd=3_500_000, estimate_nanousd=4_000_001, price_version="v",
    decision="route", reason="simple_query", outcome=Outcome.ABORTED, unmetered="why",
    parts=(UsagePart("gpt-4o", {"input": 1}, 5), UsagePart("o3", {}, 3_499_995)), saved_nanousd=-7,
    priced_by=PricedBy("azure", "flex", "eu", "gpt-4o", ("audio", "image")), model_answered="gpt-4o-2024-08-06",
    attempts=3, charged_by=ChargedBy.TOLD, flags=("usage_mismatch", "counted"), end_user="bob",
    tags=(("project", "beta"), ("centre", "4711")), off_list_nanousd=-500, markup_nanousd=700,
)  # fmt: skip
FULL_LINE = (
    b'{"exchange_id":"x1","request_id":"r1","time":"2026-11-24T06:00:00.007Z","team":"red","app":"chat",'
    b'"user":"ann","run":"night","dialect":"openai-chat","model_requested":"gpt-4o","model":"gpt-4o-mini",'
    b'"upstream":"eu","tokens":{"input":1000,"output":100},"cost_usd":"0.0035","estimate_usd":"0.004000001",'
    b'"price_version":"v","decision":"route","reason":"simple_query","outcome":"aborted","unmetered":"why",'
    b'"saved_usd":"-0.000000007","priced_by":{"provider":"azure","service_tier":"flex","residency":"eu",'
    b'"stand_in":"gpt-4o","unpriced":["audio","image"]},"parts":[{"model":"gpt-4o","tokens":{"input":1},'
    b'"cost_usd":"0.000000005"},{"model":"o3","tokens":{},"cost_usd":"0.003499995"}],'
    b'"model_answered":"gpt-4o-2024-08-06","attempts":3,"charged_by":"told","flags":["usage_mismatch","counted"],'
    b'"list_cost_usd":"0.0034995","effective_cost_usd":"0.0034993","end_user":"bob",'
    b'"tags":{"project":"beta","centre":"4711"}}'
)
PLAIN_LINE = (
    b'{"exchange_id":"x0","request_id":"r0","time":"2026-11-24T06:00:00.000Z","team":"red","app":"chat","user":"",'
    b'"run":"","dialect":"openai-chat","model_requested":"gpt-4o","model":"gpt-4o","upstream":"",'
    b'"tokens":{"input":1000,"output":100},"cost_usd":"0.0035","estimate_usd":"0.004","price_version":"v",'
    b'"decision":"allow","reason":"within_budget","outcome":"complete","charged_by":"","flags":[]}'
)
OLDEST = {
    "exchange_id": "x0", "time": "2026-11-24T06:00:00Z", "team": "red", "app": "", "model": "gpt-4o",
    "tokens": {}, "cost_usd": "0.00", "decision": "allow", "reason": "r", "outcome": "failed",
}  # fmt: skip
"""What no line may lack."""


def test_the_full_line_lacks_no_field() -> None:
    assert [f.name for f in fields(UsageRecord) if not getattr(FULL, f.name)] == []
    assert tuple(orjson.loads(FULL_LINE)) == LINE.names


@pytest.mark.parametrize(("of", "line"), [(FULL, FULL_LINE), (record(), PLAIN_LINE)], ids=["full", "plain"])
def test_a_line_is_the_same_byte_for_byte(of: UsageRecord, line: bytes) -> None:
    assert of.line() == line
    assert parse(line) == of


def test_what_is_free_at_list_prices_says_so() -> None:
    line = orjson.loads(record(off_list_nanousd=-3_500_000, markup_nanousd=3_500_000).line())
    assert (line["list_cost_usd"], line["effective_cost_usd"]) == ("0.00", "0.00")


def test_a_line_of_before_a_field_was_is_read() -> None:
    assert parse(orjson.dumps(OLDEST)) == UsageRecord(
        exchange_id="x0", request_id="", at_ms=T0, team="red", app="", user="", run="", dialect="",
        model_requested="", model="gpt-4o", upstream="", tokens={}, cost_nanousd=0, estimate_nanousd=0,
        price_version="", decision="allow", reason="r", outcome=Outcome.FAILED,
    )  # fmt: skip


@pytest.mark.parametrize("name", OLDEST)
def test_a_line_without_what_no_line_lacks_is_named(name: str) -> None:
    with pytest.raises(Unreadable) as raised:
        parse(orjson.dumps({k: v for k, v in OLDEST.items() if k != name}))
    assert raised.value.args[0] == name


@pytest.mark.parametrize("at_ms", [0, 999, T0, T0 + 1, T0 + 999, 4_102_444_799_999])
def test_a_time_is_written_to_the_millisecond(at_ms: int) -> None:
    assert parse(record(at_ms=at_ms).line()).at_ms == at_ms
