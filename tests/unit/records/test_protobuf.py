"""A usage record survives the wire."""

from __future__ import annotations

import orjson
import pytest
from google.protobuf.json_format import MessageToDict
from hypothesis import given
from hypothesis import strategies as st

from spendgate.money import nano_to_usd, usd_to_nano
from spendgate.protos import usage_pb2 as pb
from spendgate.records.outcome import ChargedBy, Outcome
from spendgate.records.protobuf import from_proto, to_proto
from spendgate.records.record import UsagePart, UsageRecord
from spendgate.usage import COUNT_MAX, KINDS

text = st.text(st.characters(codec="utf-8"), max_size=20)
money = st.integers(0, 2**53 - 1)
usage = st.dictionaries(st.sampled_from(KINDS), st.integers(1, COUNT_MAX), max_size=5)
parts = st.builds(UsagePart, model=text, tokens=usage, cost_nanousd=money)
records = st.builds(
    UsageRecord,
    exchange_id=text,
    request_id=text,
    at_ms=st.integers(0, 253_402_300_799_999),  # to the end of the year 9999, where Timestamp ends
    team=text,
    app=text,
    user=text,
    run=text,
    dialect=text,
    model_requested=text,
    model=text,
    upstream=text,
    tokens=usage,
    cost_nanousd=money,
    estimate_nanousd=money,
    price_version=text,
    decision=text,
    reason=text,
    outcome=st.sampled_from(Outcome),
    unmetered=text,
    parts=st.lists(parts, max_size=3).map(tuple),
    saved_nanousd=st.integers(-(2**53) + 1, 2**53 - 1),
    model_answered=text,
    attempts=st.integers(0, 2**31 - 1),
    charged_by=st.sampled_from(ChargedBy),
    flags=st.lists(text, max_size=3).map(tuple),
    end_user=text,
    off_list_nanousd=st.integers(-(2**62), 2**62),
    markup_nanousd=st.integers(-(2**62), 2**62),
    tags=st.dictionaries(text, text, max_size=3).map(lambda tags: tuple(sorted(tags.items()))),
)


@given(records)
def test_a_record_comes_back_from_the_wire_as_it_was(record: UsageRecord) -> None:
    data = to_proto(record).SerializeToString()
    assert from_proto(pb.UsageRecord.FromString(data)) == record


@given(records)
def test_the_message_says_what_the_line_of_the_usage_log_says(record: UsageRecord) -> None:
    message, line = to_proto(record), orjson.loads(record.line())
    assert nano_to_usd(message.cost_nanousd) == line.pop("cost_usd")
    assert message.saved_nanousd == usd_to_nano(line.pop("saved_usd", 0))
    assert message.estimate_nanousd == usd_to_nano(line.pop("estimate_usd"))
    assert f"OUTCOME_{line.pop('outcome').upper()}" == pb.Outcome.Name(message.outcome)
    assert message.time.ToJsonString()[:19] == line.pop("time")[:19]
    assert message.time.nanos == record.at_ms % 1000 * 1_000_000
    assert dict(message.tokens) == line.pop("tokens")
    assert [(p.model, dict(p.tokens), nano_to_usd(p.cost_nanousd)) for p in message.parts] == [
        (p["model"], p["tokens"], p["cost_usd"]) for p in line.pop("parts", [])
    ]
    listed = usd_to_nano(line.pop("list_cost_usd", nano_to_usd(record.cost_nanousd)))
    effective = usd_to_nano(line.pop("effective_cost_usd", nano_to_usd(record.cost_nanousd)))
    assert message.off_list_nanousd == listed - message.cost_nanousd
    assert message.markup_nanousd == message.cost_nanousd - effective
    assert message.unmetered == line.pop("unmetered", "")
    assert {k: v for k, v in line.items() if getattr(message, k) != v} == {}, "a field of the line is missing"


def test_an_outcome_of_a_newer_release_is_an_error_that_names_the_exchange() -> None:
    with pytest.raises(ValueError, match="exchange e1: unknown outcome 77"):
        from_proto(pb.UsageRecord(exchange_id="e1", outcome=77))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="unknown outcome 0"):
        from_proto(pb.UsageRecord())


def test_every_outcome_has_a_number_of_its_own() -> None:
    assert {f"OUTCOME_{o.name}" for o in Outcome} | {"OUTCOME_UNSPECIFIED"} == set(pb.Outcome.keys())


def test_no_field_of_the_message_is_left_empty() -> None:
    part = UsagePart("m", {"input": 1}, 1)
    full = UsageRecord(
        *("e", "r", 1_500, "t", "a", "u", "run", "d", "mr", "m", "up"),
        {"input": 1}, 5, 6, "v", "allow", "why", Outcome.COMPLETE, "x", 7, parts=(part,),
        model_answered="ma", attempts=2, charged_by=ChargedBy.USAGE, flags=("odd",), end_user="ann",
        tags=(("project", "beta"),), off_list_nanousd=-3, markup_nanousd=4,
    )  # fmt: skip
    assert set(MessageToDict(to_proto(full), preserving_proto_field_name=True)) == {
        f.name for f in pb.UsageRecord.DESCRIPTOR.fields
    }
