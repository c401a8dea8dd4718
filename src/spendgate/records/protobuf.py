"""The usage record as a protobuf message and back, without loss, and files of such messages (`.binpb`). Fields have the
record's names, so that those of plain values need no line here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, fields
from operator import attrgetter
from typing import IO, Any

from google.protobuf.timestamp_pb2 import Timestamp

from spendgate.protos import usage_pb2 as pb
from spendgate.records.outcome import ChargedBy, Outcome
from spendgate.records.record import PricedBy, UsagePart, UsageRecord

SUFFIX = ".binpb"
_NAMES = {outcome: f"OUTCOME_{outcome.name}" for outcome in Outcome}
_BY_NUMBER: dict[int, Outcome] = {pb.Outcome.Value(name): outcome for outcome, name in _NAMES.items()}
_FIELDS = tuple(f.name for f in fields(UsageRecord) if f.name != "at_ms")
_WRITTEN: Mapping[str, Callable[[Any], object]] = {
    "outcome": _NAMES.__getitem__,
    "charged_by": attrgetter("value"),
    "parts": lambda parts: [pb.UsagePart(**asdict(part)) for part in parts],
    "priced_by": lambda priced_by: pb.PricedBy(**asdict(priced_by)),
    "tags": dict,
}
_READ: Mapping[str, Callable[[Any], object]] = {
    "outcome": _BY_NUMBER.__getitem__,
    "charged_by": ChargedBy,
    "tokens": dict,
    "parts": lambda parts: tuple(UsagePart(p.model, dict(p.tokens), p.cost_nanousd) for p in parts),
    "priced_by": lambda p: PricedBy(p.provider, p.service_tier, p.residency, p.stand_in, tuple(p.unpriced)),
    "flags": tuple,
    "tags": lambda tags: tuple(sorted(tags.items())),
}


def to_proto(record: UsageRecord) -> pb.UsageRecord:
    """Write a record as a message; `at_ms` becomes a timestamp of whole milliseconds.

    Raises ValueError where a text is no Unicode text (a lone surrogate) or a count is beyond 64 bits.
    """
    seconds, ms = divmod(record.at_ms, 1000)
    values: dict[str, Any] = {name: getattr(record, name) for name in _FIELDS}
    for name, write in _WRITTEN.items():
        values[name] = write(values[name])
    return pb.UsageRecord(time=Timestamp(seconds=seconds, nanos=ms * 1_000_000), **values)


def from_proto(message: pb.UsageRecord) -> UsageRecord:
    """Read a message; a time finer than a millisecond is cut.

    Raises ValueError for an outcome, or a way of charging, that this release does not know.
    """
    values: dict[str, Any] = {name: getattr(message, name) for name in _FIELDS}
    for name, read in _READ.items():
        try:
            values[name] = read(values[name])
        except (KeyError, ValueError) as e:
            raise ValueError(
                f"exchange {message.exchange_id or '(no id)'}: unknown {name} {values[name]!r}; "
                "it was written by a newer release, read it with that one"
            ) from e
    return UsageRecord(at_ms=message.time.seconds * 1000 + message.time.nanos // 1_000_000, **values)


def framed(record: UsageRecord) -> bytes:
    """A message of a file: its length as a varint, then itself, as Java's `writeDelimitedTo` and others write it; the
    same record makes the same bytes."""
    data = to_proto(record).SerializeToString(deterministic=True)
    length, left = bytearray(), len(data)
    while left > 0x7F:
        length.append(left & 0x7F | 0x80)
        left >>= 7
    return bytes((*length, left)) + data


def frames(file: IO[bytes]) -> Iterator[bytes]:
    """The messages of a file. Raises EOFError where it was cut off: it was written at once, and a message without its
    end may read like another one."""
    while byte := file.read(1):
        length, shift = byte[0] & 0x7F, 7
        while byte and byte[0] & 0x80:
            if byte := file.read(1):
                length |= (byte[0] & 0x7F) << shift
                shift += 7
        data = file.read(min(length, _MOST))
        if not byte or len(data) != length:
            raise EOFError("it was cut off, or damaged, within a message")
        yield data


_MOST = 1 << 26
"""No message is longer (64 MiB): a length that says so is none."""
