"""The usage record as a protobuf message and back, without loss."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp

from spendgate.protos import usage_pb2 as pb
from spendgate.records.outcome import ChargedBy, Outcome
from spendgate.records.record import PricedBy, UsagePart, UsageRecord

_NAMES = {outcome: f"OUTCOME_{outcome.name}" for outcome in Outcome}
_BY_NUMBER: dict[int, Outcome] = {pb.Outcome.Value(name): outcome for outcome, name in _NAMES.items()}


def to_proto(record: UsageRecord) -> pb.UsageRecord:
    """Write a record as a message; `at_ms` becomes a timestamp of whole milliseconds.

    Raises ValueError where a text is no Unicode text (a lone surrogate) or a count is beyond 64 bits.
    """
    seconds, ms = divmod(record.at_ms, 1000)
    return pb.UsageRecord(
        exchange_id=record.exchange_id,
        request_id=record.request_id,
        time=Timestamp(seconds=seconds, nanos=ms * 1_000_000),
        team=record.team,
        app=record.app,
        user=record.user,
        run=record.run,
        dialect=record.dialect,
        model_requested=record.model_requested,
        model=record.model,
        upstream=record.upstream,
        tokens=record.tokens,
        cost_nanousd=record.cost_nanousd,
        estimate_nanousd=record.estimate_nanousd,
        price_version=record.price_version,
        decision=record.decision,
        reason=record.reason,
        outcome=_NAMES[record.outcome],
        unmetered=record.unmetered,
        saved_nanousd=record.saved_nanousd,
        parts=[
            pb.UsagePart(model=part.model, tokens=part.tokens, cost_nanousd=part.cost_nanousd)
            for part in record.parts
        ],
        priced_by=pb.PricedBy(
            provider=record.priced_by.provider,
            service_tier=record.priced_by.service_tier,
            residency=record.priced_by.residency,
            stand_in=record.priced_by.stand_in,
            unpriced=record.priced_by.unpriced,
        ),
        model_answered=record.model_answered,
        attempts=record.attempts,
        charged_by=record.charged_by.value,
        flags=record.flags,
        end_user=record.end_user,
        tags=dict(record.tags),
        off_list_nanousd=record.off_list_nanousd,
        markup_nanousd=record.markup_nanousd,
    )


def from_proto(message: pb.UsageRecord) -> UsageRecord:
    """Read a message; a time finer than a millisecond is cut.

    Raises ValueError for an outcome, or a way of charging, that this release does not know.
    """
    outcome = _BY_NUMBER.get(message.outcome)
    if outcome is None:
        raise _newer(message, f"outcome {message.outcome}")
    try:
        charged_by = ChargedBy(message.charged_by)
    except ValueError as e:
        raise _newer(message, f"charged_by {message.charged_by!r}") from e
    return UsageRecord(
        exchange_id=message.exchange_id,
        request_id=message.request_id,
        at_ms=message.time.seconds * 1000 + message.time.nanos // 1_000_000,
        team=message.team,
        app=message.app,
        user=message.user,
        run=message.run,
        dialect=message.dialect,
        model_requested=message.model_requested,
        model=message.model,
        upstream=message.upstream,
        tokens=dict(message.tokens),
        cost_nanousd=message.cost_nanousd,
        estimate_nanousd=message.estimate_nanousd,
        price_version=message.price_version,
        decision=message.decision,
        reason=message.reason,
        outcome=outcome,
        unmetered=message.unmetered,
        parts=tuple(UsagePart(p.model, dict(p.tokens), p.cost_nanousd) for p in message.parts),
        saved_nanousd=message.saved_nanousd,
        priced_by=PricedBy(
            message.priced_by.provider,
            message.priced_by.service_tier,
            message.priced_by.residency,
            message.priced_by.stand_in,
            tuple(message.priced_by.unpriced),
        ),
        model_answered=message.model_answered,
        attempts=message.attempts,
        charged_by=charged_by,
        flags=tuple(message.flags),
        end_user=message.end_user,
        tags=tuple(sorted(message.tags.items())),
        off_list_nanousd=message.off_list_nanousd,
        markup_nanousd=message.markup_nanousd,
    )


def _newer(message: pb.UsageRecord, what: str) -> ValueError:
    return ValueError(
        f"exchange {message.exchange_id or '(no id)'}: unknown {what}; "
        "it was written by a newer release, read it with that one"
    )
