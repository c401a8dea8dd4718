"""The console with 1,000 teams: time to the first byte of the overview and of a team's page.

Each team has four weeks of daily cells (4 apps x 3 models). Cold: nothing was read before; warm: the page was
open a moment ago. Prints a table and writes bench/console.json.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import statistics
import tempfile
import time
from pathlib import Path

import uvicorn
from rich.console import Console as Terminal
from rich.table import Table

from spendgate.budget.forecast import history_days
from spendgate.budget.load import parse_documents
from spendgate.budget.policy import Policy, compile_budget
from spendgate.console.pages import console
from spendgate.console.settings import ConsoleSettings
from spendgate.exchange.snapshot import snapshot
from spendgate.ledger.port import Settlement
from spendgate.ledger.redis.embedded import EmbeddedRedis
from spendgate.ledger.redis.ledger import RedisLedger
from spendgate.pricing.load import table
from spendgate.settings.config import Settings

HERE = Path(__file__).parent


async def fill(ledger: RedisLedger, teams: int) -> None:
    """Four weeks of spend for every team."""
    now = time.time_ns() // 1_000_000
    days = len(history_days(now))
    batch: list[Settlement] = []
    for team in range(teams):
        for back in range(days):
            for cell in range(12):
                batch.append(
                    Settlement(
                        f"{team}-{back}-{cell}", f"team-{team:04d}", f"app-{cell % 4}", f"model-{cell // 4}",
                        1_000_000_000 * (1 + cell + team % 7), {"input": 1000, "output": 300},
                        at_ms=now - back * 86_400_000, scopes=(("month", "month"),),
                    )
                )  # fmt: skip
        if len(batch) > 4000:
            await ledger.settle(batch)
            batch.clear()
    await ledger.settle(batch)


async def first_byte_ms(port: int, path: str) -> float:
    """From the request to the first byte of the body."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    began = time.perf_counter()
    writer.write(f"GET {path} HTTP/1.1\r\nhost: c\r\nconnection: close\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    assert b" 200 " in head.split(b"\r\n")[0], head
    await reader.readexactly(1)
    took = (time.perf_counter() - began) * 1000
    writer.close()
    return took


async def measure(teams: int, rounds: int) -> dict[str, dict[str, float]]:
    """All figures."""
    text = "---\n".join(
        "apiVersion: ai.systemhardening.com/v1\nkind: LLMBudget\nmetadata: {name: b}\n"
        f"spec: {{team: team-{n:04d}, monthlyBudgetUSD: 100000}}\n"
        for n in range(teams)
    )
    snap = snapshot(Policy.of(map(compile_budget, parse_documents(text))), table(), Settings())
    out: dict[str, dict[str, float]] = {}
    with (
        tempfile.TemporaryDirectory(prefix="spendgate-bench-") as folder,
        EmbeddedRedis(Path(folder)) as redis,
    ):
        ledger = RedisLedger.from_url(redis.url, timeout_s=10)
        await fill(ledger, teams)
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            s.listen()
            port = s.getsockname()[1]
            cold: dict[str, list[float]] = {}
            warm: dict[str, list[float]] = {}
            for _ in range(rounds):
                app = console(ledger, lambda: snap, ConsoleSettings.from_environment({}))
                server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
                serving = asyncio.create_task(server.serve([s.dup()]))
                while not server.started:  # noqa: ASYNC110  uvicorn has no event for it
                    await asyncio.sleep(0.01)
                for path in ("/", "/?page=9", "/teams/team-0500", "/chargeback"):
                    cold.setdefault(path, []).append(await first_byte_ms(port, path))
                    warm.setdefault(path, []).append(await first_byte_ms(port, path))
                server.should_exit = True
                await serving
        await ledger.close()
        for path in cold:
            out[path] = {"cold_ms": statistics.median(cold[path]), "warm_ms": statistics.median(warm[path])}
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--teams", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=HERE / "console.json")
    args = parser.parse_args()
    out = asyncio.run(measure(args.teams, args.rounds))
    shown = Table(title=f"First byte, {args.teams:,} teams (median of {args.rounds})")
    for name in ("page", "cold ms", "warm ms"):
        shown.add_column(name, justify="left" if name == "page" else "right")
    for path, row in out.items():
        shown.add_row(path, f"{row['cold_ms']:.1f}", f"{row['warm_ms']:.1f}")
    Terminal(width=100).print(shown)
    args.out.write_text(json.dumps({"teams": args.teams, "pages": out}, indent=1) + "\n")


if __name__ == "__main__":
    main()
