"""Bills as data: what was asked, what was answered, and what that costs, in files of tests/corpus/bills.

A bill is one exchange. `ask` is the request's body; what every request has (messages, contents, …) stands in by itself
where the path's API wants it and the bill does not say it. The answer is `answer` (one JSON document), `events` (a
stream: objects become its events, texts are sent as they are) or `body` (a text). Money is written as its list price
says: `per_million` is a sum of COUNT*USD, `fees` is a sum of COUNT*USD too; the bill is exactly both together.
"""

from __future__ import annotations

import base64
import json
import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parents[1] / "corpus" / "bills"
PROSE = "Add up these numbers for the quarterly report, please. " * 30
SSE, NDJSON, AMAZON = "text/event-stream", "application/x-ndjson", "application/vnd.amazon.eventstream"


@dataclass(frozen=True)
class Bill:
    """One exchange and what it costs; `usd` None: more than nothing. `within`: so much of the cost may be off, where it
    is counted here."""

    name: str
    path: str
    ask: dict[str, Any] | bytes
    answer: list[bytes]
    content_type: str
    usd: Decimal | None
    tokens: dict[str, int] = field(default_factory=dict)
    charged_by: str = ""
    flags: tuple[str, ...] = ()
    within: Decimal = Decimal(0)
    upstream: dict[str, Any] = field(default_factory=dict)
    prices: dict[str, Any] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    answer_headers: dict[str, str] = field(default_factory=dict)
    status: int = 200
    team: str = "ml"
    hold_below: Decimal | None = None
    """No more is held than so much."""

    @property
    def body(self) -> bytes:
        return self.ask if isinstance(self.ask, bytes) else json.dumps(self.ask).encode()

    @property
    def streams(self) -> bool:
        return len(self.answer) > 1 or self.content_type in (SSE, NDJSON, AMAZON)

    def __str__(self) -> str:
        return self.name


def bills() -> list[Bill]:
    """All bills, in the order of their files."""
    return [b for path in sorted(FOLDER.glob("*.yaml")) for b in _read(path)]


def price_list(of: Iterable[Bill]) -> str:
    """A price file of the models that these bills price themselves."""
    return yaml.safe_dump({"models": {name: rates for bill in of for name, rates in bill.prices.items()}})


def judge(bill: Bill, line: dict[str, Any]) -> None:
    """Hold a line of the usage log against the bill."""
    told = {k: n for k, n in bill.tokens.items() if n}
    assert {k: line["tokens"].get(k, 0) for k in told} == told, line
    cost = Decimal(line["cost_usd"])
    if bill.usd is None:
        assert cost > 0
    else:
        assert abs(cost - bill.usd) <= bill.usd * bill.within + HALF_NANO, (cost, bill.usd, line)
    if bill.charged_by:
        assert line["charged_by"] == bill.charged_by
    assert set(bill.flags) <= set(line["flags"])
    if bill.hold_below is not None:
        assert Decimal(line["estimate_usd"]) <= bill.hold_below


HALF_NANO = Decimal("0.0000000005")
"""A sum is rounded once."""


def _read(path: Path) -> Iterator[Bill]:
    for of in yaml.safe_load(path.read_text(encoding="utf-8")):
        known = dict(of)
        where = str(known.pop("path", "/v1/chat/completions"))
        answer, label = _answer(known)
        cost = _sum(known.pop("per_million", "")) / 1_000_000 + _sum(known.pop("fees", ""))
        usd = None if known.pop("something", False) else cost
        hold = known.pop("hold_below", None)
        headers = {str(k).lower(): str(v) for k, v in known.pop("headers", {}).items()}
        yield Bill(
            name=known.pop("bill"),
            path=where,
            ask=_ask(known.pop("ask", {}), where),
            answer=answer,
            content_type=known.pop("content_type", label),
            usd=usd,
            upstream=_upstream(known),
            headers=headers,
            within=Decimal(str(known.pop("within", 0))),
            hold_below=Decimal(str(hold)) if hold is not None else None,
            flags=tuple(known.pop("flags", ())),
            **known,
        )


def _upstream(known: dict[str, Any]) -> dict[str, Any]:
    upstream = dict(known.pop("upstream", {}))
    if provider := known.pop("provider", ""):
        upstream["provider"] = provider
    return upstream


def _sum(text: object) -> Decimal:
    """`1000*2.5 + 100*10`."""
    total = Decimal(0)
    for product in str(text or 0).split("+"):
        value = Decimal(1)
        for factor in product.split("*"):
            value *= Decimal(factor.strip().replace("_", ""))
        total += value
    return total


def _ask(ask: dict[str, Any] | str, path: str) -> dict[str, Any] | bytes:
    if isinstance(ask, str):
        return ask.encode()
    words = [{"role": "user", "content": PROSE}]
    if ":generateContent" in path or ":streamGenerateContent" in path:
        return {"contents": [{"role": "user", "parts": [{"text": PROSE}]}], **ask}
    if "/converse" in path:
        return {"messages": [{"role": "user", "content": [{"text": PROSE}]}], **ask}
    if path.split("?")[0].endswith(("/responses", "/interactions")):
        return {"input": PROSE, **ask}
    if path.endswith(("/conversations",)):
        return {"inputs": PROSE, **ask}
    if any(
        part in path
        for part in ("/embed", "/rerank", "/images/", "/audio/", "/generate", "/invoke", "/async/")
    ):
        return ask
    return {"messages": words, **ask}


def _answer(known: dict[str, Any]) -> tuple[list[bytes], str]:
    if "answer" in known:
        return [json.dumps(known.pop("answer")).encode()], "application/json"
    if "body" in known:
        return [str(known.pop("body")).encode()], "text/plain"
    framing = known.pop("framing", "sse")
    events = known.pop("events", [])
    made = [e for event in events for e in _several(event)]
    if framing == "lines":
        return [e if isinstance(e, bytes) else json.dumps(e).encode() + b"\n" for e in made], NDJSON
    if framing == "amazon":
        return [message(*next(iter(e.items()))) for e in made], AMAZON
    if framing == "chunks":
        return [
            message("chunk", {"bytes": base64.b64encode(json.dumps(e).encode()).decode()}) for e in made
        ], AMAZON
    pieces = [e if isinstance(e, bytes) else b"data: " + json.dumps(e).encode() + b"\n\n" for e in made]
    return pieces, SSE


def _several(event: Any) -> list[Any]:
    if isinstance(event, str):
        return [event.encode()]
    if isinstance(event, dict) and set(event) == {"times", "event"}:
        return [event["event"]] * int(event["times"])
    return [event]


def message(kind: str, payload: object) -> bytes:
    """A message of Amazon's event stream."""
    headers = b""
    pairs = ((":message-type", "event"), (":event-type", kind), (":content-type", "application/json"))
    for name, value in pairs:
        headers += (
            bytes([len(name)]) + name.encode() + b"\x07" + struct.pack(">H", len(value)) + value.encode()
        )
    body = json.dumps(payload).encode()
    prelude = struct.pack(">II", 16 + len(headers) + len(body), len(headers))
    rest = prelude + struct.pack(">I", zlib.crc32(prelude)) + headers + body
    return rest + struct.pack(">I", zlib.crc32(rest))
