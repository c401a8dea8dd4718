"""What a server bears of its peers. Each limit is here with its reason."""

from __future__ import annotations

from spendgate.values import dataclass

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one server. Rates are token buckets: (burst, a second)."""

    message_bytes: int = 64 * MIB
    """The longest message; above it the call ends with RESOURCE_EXHAUSTED."""
    buffered_bytes: int = 1024 * MIB
    """What all calls may hold of messages that are not whole or not looked at yet; the call that passes it ends with
    RESOURCE_EXHAUSTED."""
    backlog_bytes: int = 256 * 1024
    """Of messages that wait for their turn in one call; above it the call's window is not opened again until some had
    it. A message that is being put together does not count: it must come whole."""
    unsent_bytes: int = MIB
    """Of replies that the peer does not take; above it the call's next message waits."""
    window_bytes: int = MIB
    """The flow-control window of a stream: a message of this size comes without a wait."""
    owed_bytes: int = 16 * 1024
    """So much of a call's messages is acknowledged with its end, or with what comes after it: a frame for each small
    message is waste. All streams together stay far below the connection's window."""
    frame_bytes: int = 256 * 1024
    """The longest frame that is taken."""
    streams: int = 20_000
    """Calls at once on a connection; Envoy opens another connection for more."""
    connections: int = 1_024
    """Connections of a server; one more is closed at once."""
    header_bytes: int = 64 * 1024
    """The headers of a call, decoded."""
    header_count: int = 512
    continuations: int = 32
    """CONTINUATION frames of one header block."""
    resets: tuple[int, int] = (50_000, 20_000)
    """Streams that the peer may reset: Envoy resets each call after its last reply, so this is above the exchanges
    that a worker can serve in a second."""
    glitches: tuple[int, int] = (10_000, 1_000)
    """Frames without sense: what a broken or hostile peer sends."""
    acknowledgements: int = 1_000
    """Answers to PING and SETTINGS that the peer has not taken."""
    preface_s: float = 10.0
    """So long a new connection may be silent."""
    silence_s: float = 30.0
    """After so long without a byte the peer is asked for a sign (PING)…"""
    sign_s: float = 20.0
    """… and so long it has for it: else it is gone, and its calls are over."""
    linger_s: float = 5.0
    """So long the peer may leave its own half of a call open that we have ended; then the stream is reset."""
