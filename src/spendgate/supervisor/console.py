"""Decisions as readable lines: follows the usage log and prints each exchange as it ends."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

EVERY_S = 0.15
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


async def follow(path: Path, form: str) -> None:
    """Print what is appended to the usage log from now on. `form`: `text` or `json`."""
    console = Console(file=sys.stdout, highlight=False, soft_wrap=True)
    at = path.stat().st_size if path.exists() else 0
    rest = b""
    while True:
        await asyncio.sleep(EVERY_S)
        if not path.exists():
            continue
        size = path.stat().st_size
        if size < at:
            at, rest = 0, b""
        if size == at:
            continue
        with path.open("rb") as f:
            f.seek(at)
            data = f.read(4 * 1024 * 1024)
            at = f.tell()
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            if form == "json":
                sys.stdout.write(line.decode() + "\n")
            else:
                console.print(readable(json.loads(line)))
        sys.stdout.flush()
