"""Reading usage logs back: JSON lines → records, checked, a million in seconds.

A bad line is never skipped in silence: it is a fault that names file and line. Only a last line without its
newline that cannot be read is let go: a writer may be at it, or was cut off there.

A hold that expired has a line at its estimate (`reason: expired`); where its true cost came later, the line
with the true cost stands for the exchange and the other is left out, as the ledger corrects itself.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from sys import intern
from typing import Any, cast

import orjson

from spendgate.errors import ConfigurationError, Fault
from spendgate.money import LEDGER_MAX_NANOUSD, NANO_PER_USD
from spendgate.records.outcome import ChargedBy, Outcome
from spendgate.records.record import PricedBy, UsagePart, UsageRecord
from spendgate.usage import COUNT_MAX, Usage

_USD = re.compile(r"([0-9]{1,9})(?:\.([0-9]{1,9}))?")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)
_LISTED = PricedBy()
_OUTCOMES = {o.value: o for o in Outcome}
_CHARGED_BY = {c.value: c for c in ChargedBy}
_REMEDY = "mend or remove the line"


class Unreadable(Exception):
    """A line that is not a usage record: field, problem."""


@dataclass(slots=True)
class UsageLogReader:
    """Reads `paths` (plain, or gzip where the name ends with `.gz`) in the order given.

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
            for number, line, whole in _lines(path):
                try:
                    record = parse(line)
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
            for _, line, _ in _lines(path):
                if b'"expired"' in line:
                    try:
                        record = parse(line)
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


def _lines(path: Path) -> Iterator[tuple[int, bytes, bool]]:
    """(number, line, has its newline) of every line that is not blank."""
    try:
        with path.open("rb", 1 << 20) as raw:
            file: Iterable[bytes] = gzip.GzipFile(fileobj=raw) if path.suffix == ".gz" else raw
            for number, line in enumerate(file, 1):
                if not line.isspace():
                    yield number, line, line.endswith(b"\n")
    except (OSError, EOFError, zlib.error) as e:
        reason = (e.strerror if isinstance(e, OSError) else None) or str(e)
        raise ConfigurationError([Fault(str(path), 0, "", f"the usage log cannot be read: {reason}")]) from e


def parse(line: bytes) -> UsageRecord:
    """Read one line."""
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError as e:
        raise Unreadable("", f"not JSON: {e}") from e
    if not isinstance(row, dict):
        raise Unreadable("", "not a JSON object")
    get = row.get
    outcome = _OUTCOMES.get(_text(get("outcome"), "outcome"))
    if outcome is None:
        raise Unreadable("outcome", f"{get('outcome')!r} is none of {', '.join(_OUTCOMES)}")
    charged_by = _CHARGED_BY.get(_text(get("charged_by", ""), "charged_by"))
    if charged_by is None:
        raise Unreadable(
            "charged_by", f"{get('charged_by')!r} is none of {', '.join(filter(None, _CHARGED_BY))}"
        )
    parts = get("parts")
    cost = _nano(get("cost_usd"), "cost_usd")
    listed, effective = (
        cost if get(name) is None else _nano(get(name), name)
        for name in ("list_cost_usd", "effective_cost_usd")
    )
    return UsageRecord(
        exchange_id=_text(get("exchange_id"), "exchange_id"),
        request_id=_text(get("request_id", ""), "request_id"),
        at_ms=_time(get("time")),
        team=intern(_text(get("team"), "team")),
        app=intern(_text(get("app"), "app")),
        user=_text(get("user", ""), "user"),
        run=_text(get("run", ""), "run"),
        dialect=intern(_text(get("dialect", ""), "dialect")),
        model_requested=intern(_text(get("model_requested", ""), "model_requested")),
        model=intern(_text(get("model"), "model")),
        upstream=intern(_text(get("upstream", ""), "upstream")),
        tokens=_tokens(get("tokens"), "tokens"),
        cost_nanousd=cost,
        estimate_nanousd=_nano(get("estimate_usd", "0"), "estimate_usd"),
        price_version=intern(_text(get("price_version", ""), "price_version")),
        decision=intern(_text(get("decision"), "decision")),
        reason=intern(_text(get("reason"), "reason")),
        outcome=outcome,
        unmetered=_text(get("unmetered", ""), "unmetered"),
        parts=_parts(parts) if parts is not None else (),
        saved_nanousd=_saved(get("saved_usd")),
        priced_by=_priced_by(get("priced_by")),
        model_answered=intern(_text(get("model_answered", ""), "model_answered")),
        attempts=_attempts(get("attempts", 0)),
        charged_by=charged_by,
        flags=_flags(get("flags")),
        end_user=_text(get("end_user", ""), "end_user"),
        tags=_tags(get("tags")),
        off_list_nanousd=listed - cost,
        markup_nanousd=cost - effective,
    )


def _text(value: Any, name: str) -> str:
    if isinstance(value, str):
        return value
    raise Unreadable(name, "is missing" if value is None else f"{value!r} is not text")


def _time(value: Any) -> int:
    """Milliseconds since the epoch of an ISO time with its zone."""
    try:
        at = datetime.fromisoformat(_text(value, "time"))
        return (at - _EPOCH) // _MS
    except (ValueError, TypeError) as e:
        raise Unreadable("time", f"{value!r} is not a UTC time like 2026-11-24T14:18:40.123Z") from e


def _nano(value: Any, name: str) -> int:
    """Nano-USD of an exact decimal string."""
    match = _USD.fullmatch(_text(value, name))
    if match is None:
        raise Unreadable(name, f'{value!r} is not an exact amount of USD like "0.001234567"')
    nano = int(match[1]) * NANO_PER_USD + (int(match[2].ljust(9, "0")) if match[2] else 0)
    if nano > LEDGER_MAX_NANOUSD:
        raise Unreadable(name, f"{value} USD are more than one exchange can cost")
    return nano


def _saved(value: Any) -> int:
    """Nano-USD of an amount that may be below zero; it is left out where it is 0."""
    if value is None:
        return 0
    amount = _text(value, "saved_usd")
    return -_nano(amount[1:], "saved_usd") if amount.startswith("-") else _nano(amount, "saved_usd")


def _tokens(value: Any, name: str) -> Usage:
    if not isinstance(value, dict):
        raise Unreadable(name, "is missing" if value is None else f"{value!r} is not an object of counts")
    for kind, n in value.items():
        if type(n) is not int or not 0 <= n <= COUNT_MAX:
            raise Unreadable(name, f"{kind}: {n!r} is not a count")
    return cast(Usage, value)


def _priced_by(value: Any) -> PricedBy:
    if value is None:
        return _LISTED
    if not isinstance(value, dict):
        raise Unreadable("priced_by", f"{value!r} is not an object")
    provider, tier, residency, stand_in = (
        intern(_text(value.get(k, ""), f"priced_by.{k}"))
        for k in ("provider", "service_tier", "residency", "stand_in")
    )
    kinds = value.get("unpriced", [])
    if not isinstance(kinds, list) or not all(isinstance(k, str) for k in kinds):
        raise Unreadable("priced_by.unpriced", f"{kinds!r} is not a list of kinds")
    return PricedBy(provider, tier, residency, stand_in, tuple(kinds))


def _attempts(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= COUNT_MAX:
        raise Unreadable("attempts", f"{value!r} is not a count")
    return value


def _flags(value: Any) -> tuple[str, ...]:
    if not value:
        return ()
    if not isinstance(value, list) or not all(isinstance(x, str) for x in value):
        raise Unreadable("flags", f"{value!r} is not a list of words")
    return tuple(map(intern, value))


def _tags(value: Any) -> tuple[tuple[str, str], ...]:
    if not value:
        return ()
    if not isinstance(value, dict) or not all(isinstance(v, str) for v in value.values()):
        raise Unreadable("tags", f"{value!r} is not an object of texts")
    return tuple((intern(name), intern(v)) for name, v in value.items())


def _parts(value: Any) -> tuple[UsagePart, ...]:
    if not isinstance(value, list) or not all(isinstance(p, dict) for p in value):
        raise Unreadable("parts", f"{value!r} is not a list of objects")
    return tuple(
        UsagePart(
            _text(p.get("model"), "parts.model"),
            _tokens(p.get("tokens"), "parts.tokens"),
            _nano(p.get("cost_usd"), "parts.cost_usd"),
        )
        for p in value
    )
