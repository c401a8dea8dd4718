"""TCP ports of this machine for the servers of tests."""

from __future__ import annotations

import random
import socket
import threading

FIRST, LAST = 12_000, 22_000
"""Below those that a system gives to outgoing connections (from 32,768 on Linux): a port chosen here is not taken by
one before its server has started. A cluster's bus has its server's plus 10,000, and is below them too."""
_taken: set[int] = set()
_lock = threading.Lock()


def free_port(bus: int = 0) -> int:
    """A port of 127.0.0.1 that nobody listens on, never given out twice. `bus`: the port so much higher is free,
    too."""
    with _lock:
        for port in random.sample(range(FIRST, LAST), LAST - FIRST):
            wanted = {port, port + bus}
            if not wanted & _taken and all(map(_is_free, wanted)):
                _taken.update(wanted)
                return port
    raise RuntimeError(f"no port is free between {FIRST} and {LAST}")


def _is_free(port: int) -> bool:
    with socket.socket() as s:
        try:
            s.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
