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
from dataclasses import asdict, fields

import orjson

from spendgate.identity.credential import signed, verified
from spendgate.ledger.exchanges import Settlement
from spendgate.values import dataclass

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
    groups: tuple[str, ...] = ()
    """In whose accounts it holds, too."""

    @classmethod
    def of(cls, content: bytes | str) -> Handover | None:
        """Read it back; None where it is none. Another version of ours may say less, or more."""
        try:
            told = orjson.loads(content)
            known = {f.name: told[f.name] for f in fields(cls) if f.name in told}
            known["tags"] = tuple((str(n), str(v)) for n, v in known.get("tags", ()))
            known["groups"] = tuple(map(str, known.get("groups", ())))
            return cls(**known)
        except (TypeError, ValueError):
            return None

    def void(self) -> Settlement:
        """Takes back what the first gateway holds."""
        return Settlement.void(self.exchange_id, self.team, self.app, self.groups)

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
    return Handover.of(content) if content is not None else None


def digest_of(body: bytes) -> str:
    """A body's name."""
    return hashlib.sha256(body).hexdigest()


def plain_host(authority: str) -> str:
    """A host as both Envoys see it: without case and port, which a route may change."""
    host, sign, port = authority.lower().rpartition(":")
    return host if sign and port.isdigit() else authority.lower()
