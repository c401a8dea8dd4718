"""What happens to an exchange (events in) and what it wants done (actions out). Plain data, no wire.

Times are milliseconds since the epoch, given by the adapter: the exchange has no clock of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from spendgate.budget.waiting import USUAL_MS
from spendgate.identity.identity import Caller, Identity
from spendgate.ledger.exchanges import ReserveRequest, ReserveResult
from spendgate.tokens.count import Counted
from spendgate.values import dataclass

# -- events -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RequestHeaders:
    """The request began. `end`: it has no body. `path` is raw, with its query. `last`: no other Envoy with our
    filter follows."""

    method: str
    path: str
    caller: Caller
    end: bool = False
    last: bool = True


@dataclass(frozen=True, slots=True)
class RequestBody:
    """The whole request body."""

    body: bytes
    now_ms: int


@dataclass(frozen=True, slots=True)
class Busy:
    """There is no room, or no time, for the request's body: refuse it for now."""


@dataclass(frozen=True, slots=True)
class CountDone:
    """The answer to NeedCount."""

    counted: Counted


@dataclass(frozen=True, slots=True)
class ReserveDone:
    """The answer to NeedReserve. `usual_ms`: how long the team's exchanges take; `may_wait`: there is time to ask
    again, where only what others hold keeps the request out."""

    result: ReserveResult
    usual_ms: int = USUAL_MS
    may_wait: bool = False


@dataclass(frozen=True, slots=True)
class LedgerDown:
    """The ledger did not answer NeedReserve in time; the local guard decided (rule 10).

    `settled_nanousd` and `committed_nanousd` are the last known ones of the team's month."""

    admitted: bool
    settled_nanousd: int
    committed_nanousd: int
    now_ms: int


@dataclass(frozen=True, slots=True)
class ResponseHeaders:
    """The answer began. `local`: Envoy made it itself (upstream refused, timed out, body too large)."""

    status: int
    headers: Mapping[str, str]
    local: bool = False
    end: bool = False
    details: str = ""
    attempts: int = 0
    """How often Envoy sent the request; 0 where it does not tell."""


@dataclass(frozen=True, slots=True)
class ResponseChunk:
    """A piece of the answer's body: a byte piece of any size, never an event."""

    data: bytes
    end: bool


class EndedBy(Enum):
    """Who ended a call before its answer did. `docs/reference/ends.md` has what each is charged."""

    __hash__ = object.__hash__

    CLIENT = "client"
    """The client left, or nothing says otherwise: Envoy resets the call for both."""
    DRAIN = "drain"
    """This gateway stops, and could not wait any longer."""
    LATE = "late"
    """Our reply took so long that Envoy had sent the request on without it."""
    ENVOY = "envoy"
    """Envoy gave the call up: a timeout of its own, or its connection to us was lost."""
    PROVIDER = "provider"
    """The provider broke off."""
    FAULT = "fault"
    """A fault of ours."""


@dataclass(frozen=True, slots=True)
class StreamClosed:
    """Envoy ended the call, after a normal end, an abort or a reset: they look the same on the wire, `by` is what
    the adapter knows of it."""

    by: EndedBy = EndedBy.CLIENT


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """A fault of ours before the request was sent, and it is refused for that: it never went out."""


@dataclass(frozen=True, slots=True)
class InternalError:
    """An exception of ours, with its text: settle what is open at the estimate, let traffic pass."""

    problem: str


Event = (
    RequestHeaders
    | RequestBody
    | Busy
    | CountDone
    | ReserveDone
    | LedgerDown
    | ResponseHeaders
    | ResponseChunk
    | StreamClosed
    | Withdrawn
    | InternalError
)

# -- actions ----------------------------------------------------------------------------------------------


class BodyMode(Enum):
    """How the body of the answer is to be shown to us."""

    __hash__ = object.__hash__  # as State's

    NONE = "none"
    BUFFERED = "buffered"
    STREAMED = "streamed"
    DUPLEX = "duplex"
    """Streamed, and we may end it: only where the policy asks for it, since Envoy then knows no fail-open and
    no message timeout for the rest of this answer."""


@dataclass(frozen=True, slots=True)
class Pass:
    """Leave this exchange alone: nothing of it is ours. `unknown`: it may cost money all the same; `websocket`: it
    does so over a socket that nobody here looks into."""

    unknown: bool = False
    websocket: bool = False


@dataclass(frozen=True, slots=True)
class AwaitBody:
    """Show the request body; take these headers off."""

    remove: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NeedCount:
    """Count these texts exactly (off the event loop), then give CountDone."""

    texts: tuple[str, ...]
    text_bytes: int


@dataclass(frozen=True, slots=True)
class GroupOutage:
    """What a replica may admit of a group while the ledger does not answer, and the group's bound."""

    name: str
    allowance_nanousd: int
    bound_nanousd: int


@dataclass(frozen=True, slots=True)
class NeedReserve:
    """Reserve, then give ReserveDone; or LedgerDown after asking the local guard with these numbers. `again`: after a
    moment, in which others' holds may end."""

    request: ReserveRequest
    allowance_nanousd: int
    bound_nanousd: int
    again: bool = False
    groups: tuple[GroupOutage, ...] = ()


@dataclass(frozen=True, slots=True)
class NeedBudget:
    """Answer what this caller has left, and buys of this model (""): no provider is asked."""

    identity: Identity
    model: str


@dataclass(frozen=True, slots=True)
class Forward:
    """Send the request on. `body` None: unchanged. `route`: choose the upstream anew. `remove_headers`: what is no
    longer true of the body. `unknown`: it may cost money, and is not metered."""

    body: bytes | None = None
    set_headers: tuple[tuple[str, str], ...] = ()
    route: bool = False
    remove_headers: tuple[str, ...] = ()
    unknown: bool = False


@dataclass(frozen=True, slots=True)
class Reject:
    """Answer instead of the provider."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    reason: str


@dataclass(frozen=True, slots=True)
class PassResponse:
    """Let the answer's headers pass with these added, and show its body as `mode` says."""

    mode: BodyMode
    set_headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class PassChunk:
    """Let a piece pass. `replacement` None: unchanged; b"": drop it. `cut`: it is the last the client gets,
    and the provider is stopped."""

    replacement: bytes | None = None
    set_headers: tuple[tuple[str, str], ...] = ()
    cut: bool = False


@dataclass(frozen=True, slots=True)
class NoAction:
    """Nothing is to be done (the exchange is over)."""


TOO_BUSY = "too_busy"
"""Why a request is refused that could be neither read nor decided in time."""
UNREADABLE = "unreadable"
"""The flag of a request that could not be read, and why what it cost was not metered."""
UNKNOWN_API = "unknown_api"
"""Why a request that no dialect claims is refused."""
WEBSOCKET_REFUSED = "websocket_refused"
"""Why a WebSocket to an API that is there over HTTP, too, is refused."""

Action = (
    Pass
    | AwaitBody
    | NeedCount
    | NeedReserve
    | NeedBudget
    | Forward
    | Reject
    | PassResponse
    | PassChunk
    | NoAction
)
