"""A call that two Envoys with our filter see, a sidecar and an egress gateway, counts once: at the last.

The first holds and decides; what it sends on carries a word of its gateway: the exchange, who asks, what was decided,
and the body's digest, path and host, signed, for one minute. The last gateway believes it where all of it fits, and
takes the exchange over: it voids the first's hold in the ledger, which works once, and meters the call in the first's
words under its own exchange. The first's settlement then finds its exchange ended, and counts nothing.

So the last hop always meters. A word that is forged, copied, late or of another body takes nothing over, and the call
is metered in full beside whatever the first one holds. Pure.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass

import orjson

from spendgate.identity.credential import signed, verified

LIFE_MS = 60_000
_PURPOSE = "handover"


@dataclass(frozen=True, slots=True)
class Handover:
    """What the first gateway says. Times in ms; `digest` is the body's SHA-256."""

    exchange_id: str
    team: str
    app: str
    user: str
    run: str
    model_requested: str
    model: str
    decision: str
    reason: str
    until_ms: int
    digest: str
    path: str
    host: str
    usage_hidden: bool = False
    """The client did not ask for the usage that the request, as it was sent on, asks for."""
    tags: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, content: bytes | str) -> Handover:
        """Read it back. Raises ValueError or TypeError where it is none of this version."""
        fields = orjson.loads(content)
        fields["tags"] = tuple((str(n), str(v)) for n, v in fields.get("tags", ()))
        return cls(**fields)

    def word(self, secret: bytes) -> str:
        """As the header carries it."""
        return signed(secret, _PURPOSE, orjson.dumps(asdict(self)))

    def fits(self, path: str, host: str, now_ms: int) -> bool:
        """Was this request meant, and lately? The body is to be compared besides."""
        in_time = now_ms < self.until_ms <= now_ms + 2 * LIFE_MS
        return in_time and self.path == path and self.host == plain_host(host)


def read(secret: bytes, text: str) -> Handover | None:
    """What a header says; None where no gateway signed it."""
    content = verified(secret, _PURPOSE, text)
    if content is None:
        return None
    try:
        return Handover.of(content)
    except (TypeError, ValueError):
        return None  # of another version of ours


def digest_of(body: bytes) -> str:
    """A body's name."""
    return hashlib.sha256(body).hexdigest()


def plain_host(authority: str) -> str:
    """A host as both Envoys see it: without case and port, which a route may change."""
    host, sign, port = authority.lower().rpartition(":")
    return host if sign and port.isdigit() else authority.lower()
