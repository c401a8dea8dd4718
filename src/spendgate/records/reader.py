"""Reading usage logs back: JSON lines, or the protobuf messages of an archive → records, checked, a million in seconds.

A bad line is never skipped in silence: it is a fault that names file and line. Only a last line without its
newline that cannot be read is let go: a writer may be at it, or was cut off there.

A hold that expired has a line at its estimate (`reason: expired`); where its true cost came later, the line
with the true cost stands for the exchange and the other is left out, as the ledger corrects itself.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import field
from pathlib import Path
from typing import IO, cast

import orjson
from google.protobuf.message import DecodeError

from spendgate.errors import ConfigurationError, Fault
from spendgate.protos import usage_pb2 as pb
from spendgate.records.columns import Unreadable as Unreadable  # what `parse` raises
from spendgate.records.protobuf import SUFFIX, frames, from_proto
from spendgate.records.record import LINE, UsageRecord
from spendgate.values import dataclass

_REMEDY = "mend or remove the line"


@dataclass(slots=True)
class UsageLogReader:
    """Reads `paths` (plain, or gzip where the name ends with `.gz`; messages where it ends with `.binpb` before that)
    in the order given.

    `faults` collects the bad lines where `skip_bad` is set; otherwise the first one raises
    ConfigurationError. `torn` names the files whose last line was cut off.
    """

    paths: tuple[Path, ...]
    skip_bad: bool = False
    faults: list[Fault] = field(default_factory=list)
    torn: list[Path] = field(default_factory=list)

    def records(self) -> Iterator[UsageRecord]:
        """Every exchange once. Raises ConfigurationError for a file or a line that cannot be read."""
        seen = set[Path]()
        for path in self.paths:
            if path.resolve() in seen:
                raise ConfigurationError([Fault(str(path), 0, "", "the file is given twice; name it once")])
            seen.add(path.resolve())
        expired = self._expired_ids()
        held: dict[str, UsageRecord] = {}
        for path in self.paths:
            parse_in = _parser(path)
            for number, line, whole in _lines(path):
                try:
                    record = parse_in(line)
                except Unreadable as e:
                    if not whole:
                        self.torn.append(path)
                        continue
                    self._fault(path, number, e)
                    continue
                if record.exchange_id not in expired:
                    yield record
                    continue
                known = held.get(record.exchange_id)
                if known is None or known.unmetered == "expired":
                    held[record.exchange_id] = record
        yield from held.values()

    def _expired_ids(self) -> set[str]:
        """The exchanges whose hold expired; few, so that only they need to be remembered."""
        ids = set()
        for path in self.paths:
            parse_in = _parser(path)
            for _, line, _ in _lines(path):
                if b"expired" in line:
                    try:
                        record = parse_in(line)
                    except Unreadable:
                        continue  # the second reading names it
                    if record.unmetered == "expired":
                        ids.add(record.exchange_id)
        return ids

    def _fault(self, path: Path, number: int, problem: Unreadable) -> None:
        name, text = problem.args
        fault = Fault(str(path), number, name, text, _REMEDY)
        if not self.skip_bad:
            raise ConfigurationError([fault]) from problem
        self.faults.append(fault)


def read(paths: Iterable[Path]) -> Iterator[UsageRecord]:
    """Every exchange of usage logs, once. Raises ConfigurationError that names the first bad line."""
    return UsageLogReader(tuple(paths)).records()


def _is_messages(path: Path) -> bool:
    return path.name.removesuffix(".gz").endswith(SUFFIX)


def _lines(path: Path) -> Iterator[tuple[int, bytes, bool]]:
    """(number, line, has its newline) of every line that is not blank; the same of messages."""
    try:
        with path.open("rb", 1 << 20) as raw:
            file = cast("IO[bytes]", gzip.GzipFile(fileobj=raw) if path.suffix == ".gz" else raw)
            if _is_messages(path):
                for number, message in enumerate(frames(file), 1):
                    yield number, message, True
                return
            for number, line in enumerate(file, 1):
                if not line.isspace():
                    yield number, line, line.endswith(b"\n")
    except (OSError, EOFError, zlib.error) as e:
        reason = (e.strerror if isinstance(e, OSError) else None) or str(e)
        raise ConfigurationError([Fault(str(path), 0, "", f"the usage log cannot be read: {reason}")]) from e


def _parser(path: Path) -> Callable[[bytes], UsageRecord]:
    return parse_message if _is_messages(path) else parse


def parse_message(data: bytes) -> UsageRecord:
    """Read one message; what it says is checked as a line is."""
    try:
        return parse(from_proto(pb.UsageRecord.FromString(data)).line())
    except (ValueError, DecodeError, OverflowError) as e:
        raise Unreadable("", str(e)) from e


def parse(line: bytes) -> UsageRecord:
    """Read one line."""
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError as e:
        raise Unreadable("", f"not JSON: {e}") from e
    if not isinstance(row, dict):
        raise Unreadable("", "not a JSON object")
    return LINE.read(row)
