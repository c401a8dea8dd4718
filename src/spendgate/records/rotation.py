"""When a usage log is put aside. Pure."""

from __future__ import annotations

from spendgate.values import dataclass


@dataclass(frozen=True, slots=True)
class Rotation:
    """When a file is put aside: at a size, and where a period of UTC (a day, an hour) has ended; 0: never.

    `keep`: so many files put aside stay, the oldest are removed; 0: all stay."""

    max_bytes: int = 0
    every_ms: int = 0
    keep: int = 0


NEVER = Rotation()
