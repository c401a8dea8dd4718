"""`up.json` in the data dir: where a running gateway is, for the other commands."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from spendgate.files import write_whole
from spendgate.values import dataclass

STATE = "up.json"


@dataclass(frozen=True, slots=True)
class StateFile:
    """What a running `up` or `serve` tells: its Redis, admin address, policy files, process id."""

    pid: int
    redis: str
    admin: str
    listen: str
    policy: tuple[str, ...]
    prices: tuple[str, ...]
    config: str = ""
    url: str = ""
    """Where clients reach it; "": no Envoy of ours."""

    def write(self, data_dir: Path) -> None:
        """Write it whole or not at all."""
        write_whole(data_dir / STATE, json.dumps(asdict(self), indent=1))


def remove(data_dir: Path) -> None:
    """Take it away at the end."""
    (data_dir / STATE).unlink(missing_ok=True)
