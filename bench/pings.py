"""How long a server's event loop keeps its peers waiting: HTTP/2 pings on its own socket, from a process of their own.

    .venv/bin/python bench/pings.py SOCKET PID SECONDS

A ping is answered by the loop itself, before any service has its turn, so none waits longer than the loop is blocked
(and this process and that one wait for a core, which is why the CPU time of that process during each wait is told
besides: what all its threads did meanwhile). Prints percentiles of both, in milliseconds, as JSON.
"""

from __future__ import annotations

import json
import socket
import sys
import time
from struct import Struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS, PING, ACK = 0x4, 0x6, 0x1
EVERY_S = 0.001
_HEADER = Struct(">HBBBL")  # length (two parts), type, flags, stream
_PAYLOAD = Struct(">Q")


def frame(kind: int, payload: bytes = b"", flags: int = 0) -> bytes:
    """A short frame of the connection itself."""
    return _HEADER.pack(0, len(payload), kind, flags, 0) + payload


class Pinging:
    """One connection to a server."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(path)
        self._socket.sendall(PREFACE + frame(SETTINGS))
        self._read = b""
        self._sent = 0

    def ping(self) -> float:
        """The seconds until a ping was answered."""
        self._sent += 1
        payload, began = _PAYLOAD.pack(self._sent), time.perf_counter()
        self._socket.sendall(frame(PING, payload))
        while self._frame() != (PING, ACK, payload):
            pass
        return time.perf_counter() - began

    def _frame(self) -> tuple[int, int, bytes]:
        high, low, kind, flags, _ = _HEADER.unpack(self._take(_HEADER.size))
        payload = self._take(high << 8 | low)
        if kind == SETTINGS and not flags & ACK:
            self._socket.sendall(frame(SETTINGS, flags=ACK))
        return kind, flags, payload

    def _take(self, size: int) -> bytes:
        while len(self._read) < size:
            came = self._socket.recv(65_536)
            if not came:
                raise SystemExit("the server closed the connection")
            self._read += came
        taken, self._read = self._read[:size], self._read[size:]
        return taken


def cpu_s(pid: int) -> float:
    """CPU time of another process (Linux: `clock_getcpuclockid`)."""
    return time.clock_gettime(~pid << 3 | 2)


def waits(path: str, pid: int, seconds: float) -> list[tuple[float, float]]:
    """What each ping of so many seconds waited, and the CPU time of the server meanwhile, in milliseconds."""
    pinging, found = Pinging(path), []
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        before = cpu_s(pid)
        wait = pinging.ping()
        found.append((wait * 1000, (cpu_s(pid) - before) * 1000))
        time.sleep(EVERY_S)
    return found


def main() -> None:
    found = waits(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
    told = {}
    for what, column in zip(("wait", "cpu"), zip(*found, strict=True), strict=True):
        ordered = sorted(column)
        told[f"{what}_p99_ms"] = ordered[int(len(ordered) * 0.99)]
        told[f"{what}_longest_ms"] = ordered[-1]
    print(json.dumps(told))


if __name__ == "__main__":
    main()
