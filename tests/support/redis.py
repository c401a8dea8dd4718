"""Real Redis servers for tests: every redis-server that this machine has."""

from __future__ import annotations

import shutil
from pathlib import Path

from spendgate.ledger.embedded import find_redis_server


def executables() -> dict[str, str]:
    """Name → path of every redis-server at hand: the embedded one and, if another, the one from PATH."""
    found = {"embedded": find_redis_server()}
    system = shutil.which("redis-server")
    if system and Path(system).resolve() != Path(found["embedded"]).resolve():
        found["system"] = system
    return found
