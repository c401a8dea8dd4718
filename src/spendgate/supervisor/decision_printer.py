"""Decisions as readable lines: follows the usage log and prints each exchange as it ends."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterable
from typing import Protocol

from rich.console import Console
from rich.text import Text

EVERY_S = 0.15
LINES_A_SECOND, LINES_AT_ONCE = 20, 100
"""More than that nobody reads, and the making of a line costs a tenth of what deciding it did."""
_MARKS = {
    "refused": ("✗", "red"),
    "unmetered": ("?", "yellow"),
    "failed": ("!", "magenta"),
    "aborted": ("…", "cyan"),
}


def readable(row: dict[str, object]) -> Text:
    """One exchange in one line."""
    outcome = str(row["outcome"])
    mark, colour = _MARKS.get(outcome, ("✓", "green"))
    if outcome == "complete" and row["decision"] == "downgrade":
        mark, colour = "↓", "yellow"
    requested, model = str(row["model_requested"]), str(row["model"])
    name = model if model == requested else f"{requested} → {model}"
    tokens = row["tokens"]
    count = sum(int(n) for n in tokens.values()) if isinstance(tokens, dict) else 0
    text = Text()
    text.append(f"{str(row['time'])[11:19]} {mark} ", colour)
    text.append(f"{row['team']}/{row['app']} ", "bold")
    text.append(f"{name}  ")
    if outcome == "refused":
        text.append(f"refused: {row['reason']}", "red")
    else:
        text.append(f"${row['cost_usd']}  {count} tokens  {outcome}, {row['reason']}")
    return text


class Lines(Protocol):
    """A log that grows."""

    def lines(self) -> Iterable[bytes]: ...


async def follow(log: Lines, form: str) -> None:
    """Print what is appended to the usage log from now on. `form`: `text` or `json`."""
    console = Console(file=sys.stdout, highlight=False, soft_wrap=True)
    room: float = LINES_AT_ONCE
    while True:
        left_out = 0
        room = min(LINES_AT_ONCE, room + LINES_A_SECOND * EVERY_S)
        for line in log.lines():
            if form == "json":
                sys.stdout.write(line.decode() + "\n")
            elif room >= 1:
                room -= 1
                console.print(readable(json.loads(line)))
            else:
                left_out += 1
        if left_out:
            console.print(f"… {left_out} more in the usage log")
        sys.stdout.flush()
        await asyncio.sleep(EVERY_S)
