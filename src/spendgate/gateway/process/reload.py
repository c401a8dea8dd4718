"""Hot reload of policy, prices and API keys from files: polled, loaded beside the traffic, swapped whole or not
at all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import field
from pathlib import Path

import structlog

from spendgate.budget.load import load_policy
from spendgate.budget.policy import Policy
from spendgate.errors import ConfigurationError
from spendgate.exchange.snapshot import Snapshot, snapshot
from spendgate.identity.key_file import read as read_keys
from spendgate.policy.source import RedisPolicySource
from spendgate.pricing.load import table
from spendgate.settings.config import Settings
from spendgate.values import dataclass

log = structlog.get_logger()

Signature = tuple[tuple[str, int, int, int], ...]


@dataclass(frozen=True, slots=True)
class Sources:
    """What a snapshot is made of: files, and where no policy file is given the controller's policy."""

    policy: tuple[Path, ...] = ()
    prices: tuple[Path, ...] = ()
    settings: Settings = field(default_factory=Settings)
    cluster: RedisPolicySource | None = None

    def load(self) -> Snapshot:
        """Read everything. Raises ConfigurationError with all faults."""
        if self.cluster is not None:
            policy = self.cluster.policy
        else:
            policy = load_policy(self.policy) if self.policy else Policy()
        rings = {str(path): read_keys(path) for path in self.settings.key_files()}
        return snapshot(policy, table(self.prices), self.settings, rings)

    def signature(self) -> Signature:
        """Changes when a file is edited, replaced, added or taken away."""
        return tuple(sorted(_entries((*self.policy, *self.prices, *self.settings.key_files()))))


def _entries(paths: Sequence[Path]) -> list[tuple[str, int, int, int]]:
    out: list[tuple[str, int, int, int]] = []
    for path in paths:
        files = [path, *sorted(path.iterdir())] if path.is_dir() else [path]
        for file in files:
            try:
                stat = file.stat()
            except OSError:
                out.append((str(file), 0, 0, 0))
            else:
                out.append((str(file), stat.st_mtime_ns, stat.st_size, stat.st_ino))
    return out


async def watch(
    sources: Sources, seen: Signature, apply: Callable[[Snapshot], None], refused: Callable[[], None]
) -> None:
    """Poll the files for ever. Faults leave the last valid snapshot in force, loudly, until the next edit."""
    while True:
        await asyncio.sleep(sources.settings.reload_interval / 1000)
        try:
            now = sources.signature()
            if now == seen:
                continue
            seen = now
            fresh = await asyncio.to_thread(sources.load)
        except ConfigurationError as problem:
            refused()
            log.error("reload_refused", faults=str(problem).splitlines())
            continue
        except OSError as problem:
            refused()
            log.error("reload_failed", error=str(problem))
            continue
        apply(fresh)
        log.info("reloaded", policy=fresh.policy.version[:12], prices=fresh.prices.version[:12])
