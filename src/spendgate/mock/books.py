"""The mock provider's own books: what it would invoice, and what arrived."""

from __future__ import annotations

import hashlib
from collections import deque
from dataclasses import field
from typing import Any

import orjson

from spendgate.values import dataclass

BODY_KEPT_BYTES = 256 * 1024
REQUESTS_KEPT = 1000


@dataclass(frozen=True, slots=True)
class Arrived:
    """One request as it came over the wire. `body` is None where it was too long to keep."""

    method: str
    target: str
    headers: list[tuple[bytes, bytes]]
    body: bytes | None
    body_bytes: int
    body_sha256: str

    def as_json(self) -> dict[str, Any]:
        """Plain data. `path` is the raw target with its query; `json` is None where the body is none."""
        return {
            "method": self.method,
            "path": self.target,
            "headers": [[n.decode("latin-1"), v.decode("latin-1")] for n, v in self.headers],
            "body_bytes": self.body_bytes,
            "body_sha256": self.body_sha256,
            "json": _json(self.body),
        }


@dataclass(slots=True)
class Line:
    """One model's line of the invoice. `aborted` of the `requests` did not reach their end."""

    requests: int = 0
    aborted: int = 0
    tokens: dict[str, int] = field(default_factory=dict)


class Books:
    """Counts what was answered. Errors are free, as with the real providers."""

    def __init__(self) -> None:
        self.lines: dict[str, Line] = {}
        self.errors = 0
        self.resets = 0
        self.arrived: deque[Arrived] = deque(maxlen=REQUESTS_KEPT)
        self._failures: dict[str, int] = {}

    def note(self, method: str, target: str, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        """Remember a request."""
        kept = body if len(body) <= BODY_KEPT_BYTES else None
        digest = hashlib.sha256(body).hexdigest()
        self.arrived.append(Arrived(method, target, headers, kept, len(body), digest))

    def bill(self, model: str, tokens: dict[str, int], *, aborted: bool = False) -> None:
        """Put an answer on the invoice: tokens by kind, disjoint."""
        line = self.lines.setdefault(model, Line())
        line.requests += 1
        line.aborted += aborted
        for kind, n in tokens.items():
            if n:
                line.tokens[kind] = line.tokens.get(kind, 0) + n

    def fails(self, key: str, times: int) -> bool:
        """Is this one of the first `times` requests of this key? Counts it."""
        seen = self._failures.get(key, 0)
        self._failures[key] = seen + 1
        return seen < times

    def invoice(self) -> dict[str, Any]:
        """`{models: {m: {requests, aborted, tokens: {kind: n}}}, errors, resets}`."""
        models = {
            model: {"requests": of.requests, "aborted": of.aborted, "tokens": of.tokens}
            for model, of in sorted(self.lines.items())
        }
        return {"models": models, "errors": self.errors, "resets": self.resets}

    def requests(self, last: int) -> list[dict[str, Any]]:
        """The last requests, oldest first."""
        return [a.as_json() for a in list(self.arrived)[-last:]] if last > 0 else []


def _json(body: bytes | None) -> Any:
    try:
        return orjson.loads(body) if body else None
    except orjson.JSONDecodeError:
        return None
