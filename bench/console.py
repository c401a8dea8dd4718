"""The console with 1,000 teams and a large usage log: time to the first byte of its pages, and until they are whole.

Each team has four weeks of daily cells (4 apps x 3 models), and the log names 50,000 users. Cold: nothing was read
before; whole: until every number is there; warm: the page was open a moment ago. Prints a table and writes
bench/console.json.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import socket
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import uvicorn
from rich.console import Console as Terminal
from rich.table import Table

from spendgate.budget.compile import compile_budget
from spendgate.budget.forecast import history_days
from spendgate.budget.load import parse_documents
from spendgate.budget.policy import Policy
from spendgate.console.pages import UsageLogs, console
from spendgate.console.settings import ConsoleSettings
from spendgate.console.usage_index import UsageIndex
from spendgate.exchange.snapshot import Snapshot, snapshot
from spendgate.ledger.exchanges import Settlement
from spendgate.ledger.redis.embedded import EmbeddedRedis
from spendgate.ledger.redis.ledger import RedisLedger
from spendgate.pricing.load import table
from spendgate.records.outcome import ChargedBy, Outcome
from spendgate.records.record import UsageRecord
from spendgate.settings.config import Settings

HERE = Path(__file__).parent
PATHS = (
    "/", "/?page=9", "/spend", "/spend?by=team", "/spend?team=team-0500", "/spend?period=90d", "/teams/team-0500",
    "/chargeback", "/prices", "/closes",
)  # fmt: skip
MODELS = ("gpt-4o", "o3", "gemini-2.5-pro")


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
                        f"{team}-{back}-{cell}", f"team-{team:04d}", f"app-{cell % 4}", MODELS[cell // 4],
                        1_000_000_000 * (1 + cell + team % 7), {"input": 1000, "output": 300},
                        at_ms=now - back * 86_400_000, scopes=(("month", "month"),),
                    )
                )  # fmt: skip
        if len(batch) > 4000:
            await ledger.settle(batch)
            batch.clear()
    await ledger.settle(batch)


def write_log(path: Path, lines: int, teams: int) -> None:
    """A usage log of the last four weeks."""
    now = time.time_ns() // 1_000_000
    record = UsageRecord(
        "x", "req", now, "t", "a", "u", "", "openai-chat", "gpt-4o", "gpt-4o", "openai", {"input": 900, "output": 99},
        12_345_678, 20_000_000, "f" * 64, "allow", "as_requested", Outcome.COMPLETE, charged_by=ChargedBy.USAGE,
    )  # fmt: skip
    with path.open("wb") as file:
        for n in range(lines):
            made = replace(
                record,
                exchange_id=f"exchange-{n:012d}",
                at_ms=now - (lines - n) * 28 * 86_400_000 // lines,
                team=f"team-{n * 7919 % teams:04d}",
                app=f"app-{n % 4}",
                user=f"user-{n * 31 % 50_000}@example.com",
                model=MODELS[n % 3],
            )
            file.write(made.line() + b"\n")


async def get(port: int, path: str) -> tuple[float, bytes]:
    """Milliseconds from the request to the first byte of the body, and the whole answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    began = time.perf_counter()
    writer.write(f"GET {path} HTTP/1.1\r\nhost: c\r\nconnection: close\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    assert b" 200 " in head.split(b"\r\n")[0] or b" 202 " in head.split(b"\r\n")[0], head
    first = await reader.readexactly(1)
    took = (time.perf_counter() - began) * 1000
    rest = await reader.read()
    writer.close()
    return took, first + rest


async def whole_ms(port: int, path: str) -> float:
    """Until a page has every number."""
    began = time.perf_counter()
    while b'class="waits"' in (page := (await get(port, path))[1]) or b'title="being read"' in page:  # noqa: ASYNC110  a reader looks again
        await asyncio.sleep(0.05)
    return (time.perf_counter() - began) * 1000


async def measure(teams: int, rounds: int, snap: Snapshot, log: Path) -> dict[str, dict[str, float]]:
    """The pages."""
    out: dict[str, dict[str, list[float]]] = {}
    with (
        tempfile.TemporaryDirectory(prefix="spendgate-bench-") as folder,
        EmbeddedRedis(Path(folder)) as redis,
    ):
        ledger = RedisLedger.from_url(redis.url, timeout_s=10)
        await fill(ledger, teams)
        whole = UsageIndex([log], Path(folder) / "index.sqlite", lambda: snap.prices)
        while not whole.step(time.time_ns() // 1_000_000):
            pass
        whole.cube.close()
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            s.listen()
            port = s.getsockname()[1]
            for _ in range(rounds):
                usage = UsageLogs([log], Path(folder) / "index.sqlite")
                app = console(ledger, lambda: snap, ConsoleSettings.from_environment({}), usage=usage)
                server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
                serving = asyncio.create_task(server.serve([s.dup()]))
                while not server.started:  # noqa: ASYNC110  uvicorn has no event for it
                    await asyncio.sleep(0.01)
                for path in PATHS:
                    row = out.setdefault(path, {"cold_ms": [], "whole_ms": [], "warm_ms": []})
                    row["cold_ms"].append((await get(port, path))[0])
                    row["whole_ms"].append(await whole_ms(port, path))
                    row["warm_ms"].append((await get(port, path))[0])
                server.should_exit = True
                await serving
        await ledger.close()
    return {path: {name: statistics.median(x) for name, x in row.items()} for path, row in out.items()}


def index_log(log: Path, snap: Snapshot) -> dict[str, float]:
    """How long the log takes, and what it costs in memory and on disk."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with tempfile.TemporaryDirectory(prefix="spendgate-bench-") as folder:
        file = Path(folder) / "index.sqlite"
        index, began, longest = UsageIndex([log], file, lambda: snap.prices), time.perf_counter(), 0.0
        done = False
        while not done:
            step = time.perf_counter()
            done = index.step(time.time_ns() // 1_000_000)
            longest = max(longest, time.perf_counter() - step)
        took = time.perf_counter() - began
        index.cube.close()
        return {
            "lines": index.progress.lines,
            "log_mb": log.stat().st_size / 1e6,
            "seconds": took,
            "longest_step_ms": longest * 1000,
            "index_mb": file.stat().st_size / 1e6,
            "grew_mb": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024,
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--teams", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--out", type=Path, default=HERE / "console.json")
    args = parser.parse_args()
    text = "---\n".join(
        "apiVersion: ai.systemhardening.com/v1\nkind: LLMBudget\nmetadata: {name: b}\n"
        f"spec: {{team: team-{n:04d}, monthlyBudgetUSD: 100000}}\n"
        for n in range(args.teams)
    )
    snap = snapshot(Policy.of(map(compile_budget, parse_documents(text))), table(), Settings())
    with tempfile.TemporaryDirectory(prefix="spendgate-bench-") as folder:
        log = Path(folder) / "usage.jsonl"
        write_log(log, args.lines, args.teams)
        indexed = index_log(log, snap)
        pages = asyncio.run(measure(args.teams, args.rounds, snap, log))
    shown = Table(title=f"{args.teams:,} teams (median of {args.rounds}), ms")
    for name in ("page", "first byte, cold", "whole", "first byte, warm"):
        shown.add_column(name, justify="left" if name == "page" else "right")
    for path, row in pages.items():
        shown.add_row(path, *(f"{row[name]:,.1f}" for name in ("cold_ms", "whole_ms", "warm_ms")))
    Terminal(width=100).print(shown)
    Terminal(width=100).print({name: round(n, 1) for name, n in indexed.items()})
    args.out.write_text(
        json.dumps({"teams": args.teams, "pages": pages, "usage_log": indexed}, indent=1) + "\n"
    )


if __name__ == "__main__":
    main()
