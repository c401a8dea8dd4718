"""Side by side in one run: Envoy alone, Envoy with a Python processor that does nothing, and spendgate with reserve and
settle, on each gRPC engine, and lean (`lab.py`); then short prompts beside long ones, and teams with limits. Prints
tables and writes bench/results.json.

    .venv/bin/python bench/run.py [--quick] [--only "no-op grpcio,spendgate ngh2"]
    .venv/bin/python bench/run.py --gate          against bench/ratios.json: exit 1 where a ratio fell by a tenth
    .venv/bin/python bench/run.py --commit        and write it anew

Rounds are interleaved, and what counts are the ratios: the machine's mood is the same for all. CPU is that of the
processes, an exchange.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import uvloop
from lab import BASE, CROWDS, HERE, TARGETS, YARDSTICK, Lab, Target, cpu_ns
from load import Result, body, closed_loop, request_bytes, stream_chunks
from rich.console import Console
from rich.table import Table

SIZES = {"1 KB": 1_000, "50 KB": 50_000, "500 KB": 500_000, "2 MB": 2_000_000}
MANY = 32
AT_ONCE_BYTES = 16_000_000
"""So much is on its way at once at most: more than `max_inflight_bytes` would be `too_busy`."""
SHORT_ONES, LONG_ONES = 8, ((2_000_000, 4), (10_000_000, 1))
"""Connections: of short prompts, and beside them of long ones by their size."""
WARM_S = 0.5
"""So long there are long ones before anything is measured: the first takes its memory from the system."""
RATIOS = HERE / "ratios.json"
FALL = 0.9
"""A ratio below so much of the committed one fails the gate."""
median = statistics.median


def streaming(chunks: int, delay_ms: float) -> bytes:
    """A request for an answer of so many chunks."""
    raw = request_bytes("/v1/chat/completions", body(300, stream=True))
    return raw.replace(b"x-llm-app:", b"x-bench-chunks: %d/%d\r\nx-llm-app:" % (chunks, delay_ms), 1)


async def loaded(
    lab: Lab, target: Target, request: bytes | Sequence[bytes], connections: int, seconds: float
) -> tuple[Result, dict[str, float]]:
    """Load one target; the CPU of its processes an exchange, in microseconds."""
    pids = lab.pids(target)
    before = {kind: cpu_ns(p) for kind, p in pids.items()}
    result = await closed_loop(lab.ports[target], request, connections, seconds)
    assert set(result.statuses) <= {200}, (target.name, result.statuses)
    done = max(len(result.latencies), 1)
    return result, {kind: (cpu_ns(p) - before[kind]) / done / 1000 for kind, p in pids.items()}


async def size_of(lab: Lab, size: int, rounds: int, seconds: float) -> dict[str, Any]:
    """All targets at one size of request."""
    request = request_bytes("/v1/chat/completions", body(size))
    rows: dict[str, dict[str, list[float]]] = {t.name: {} for t in lab.targets}
    for _ in range(rounds):
        for target in lab.targets:
            row = rows[target.name]
            many, cpu = await loaded(lab, target, request, min(MANY, AT_ONCE_BYTES // size), seconds)
            one, _ = await loaded(lab, target, request, 1, seconds / 2)
            figures = {
                "rps": many.rate,
                "p99_ms": many.percentile(99) * 1000,
                "p50_one_ms": one.percentile(50) * 1000,
                **{f"cpu_{kind}_us": us for kind, us in cpu.items()},
            }
            for key, value in figures.items():
                row.setdefault(key, []).append(value)
    out: dict[str, Any] = {}
    base = rows.get(YARDSTICK.name)
    for name, row in rows.items():
        out[name] = {key: median(values) for key, values in row.items()}
        if base is not None:  # each round by itself: the machine is another in the next
            out[name]["rps_ratio"] = median(a / b for a, b in zip(row["rps"], base["rps"], strict=True))
    return out


async def beside(lab: Lab, rounds: int, seconds: float) -> dict[str, Any]:
    """What short prompts wait, alone and beside long ones, and for how long the processor's event loop is away."""
    short = request_bytes("/v1/chat/completions", body(1_000))
    found: dict[str, dict[str, list[float]]] = {}
    for _ in range(rounds):
        for target in lab.targets:
            if target.engine not in ("ngh2", "h2") or target.workers > 1:
                continue  # grpc.aio answers pings in threads of its own
            for name, long in ((target.name, ()), (f"{target.name}, beside long ones", LONG_ONES)):
                result, turns = await _short_ones(lab, target, short, long, seconds)
                row = found.setdefault(name, {})
                figures = {f"p{p}_ms": result.percentile(p) * 1000 for p in (50, 99)}
                for key, value in {**figures, **{f"ping_{k}": v for k, v in turns.items()}}.items():
                    row.setdefault(key, []).append(value)
    return {name: {key: median(values) for key, values in row.items()} for name, row in found.items()}


async def _short_ones(
    lab: Lab, target: Target, short: bytes, long: tuple[tuple[int, int], ...], seconds: float
) -> tuple[Result, dict[str, float]]:
    loads = [
        await _beside("load.py", lab.ports[target], size, connections, seconds + WARM_S)
        for size, connections in long
    ]
    await asyncio.sleep(WARM_S if long else 0)
    pings = await _beside("pings.py", *lab.listens(target), seconds)
    result = await closed_loop(lab.ports[target], short, SHORT_ONES, seconds)
    turns, *others = [json.loads((await process.communicate())[0]) for process in (pings, *loads)]
    statuses = {*result.statuses, *(int(s) for load in others for s in load["statuses"])}
    assert statuses == {200}, (target.name, statuses)
    return result, turns


async def _beside(program: str, *args: object) -> asyncio.subprocess.Process:
    argv = [sys.executable, str(HERE / program), *map(str, args)]
    return await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE)


async def crowds(lab: Lab, rounds: int, seconds: float) -> dict[str, Any]:
    """Throughput, and CPU an exchange, as teams and their limits grow."""
    await lab.until_ready()
    rows: dict[str, dict[str, list[float]]] = {t.name: {} for t in lab.targets}
    said = body(1_000)
    for _ in range(rounds):
        for target in lab.targets:
            requests = [
                request_bytes(
                    "/v1/chat/completions", said, f"team-{n % target.teams}",
                    f"x-llm-user: user-{n % 200}\r\nx-llm-run: run-{n // 20}\r\n",
                )
                for n in range(max(2_000, target.teams))
            ]  # fmt: skip
            result, cpu = await loaded(lab, target, requests, MANY, seconds)
            for key, value in {"rps": result.rate, "p99_ms": result.percentile(99) * 1000, **cpu}.items():
                rows[target.name].setdefault(key, []).append(value)
    return {name: {key: median(values) for key, values in row.items()} for name, row in rows.items()}


async def sse(lab: Lab, delay_ms: float, rounds: int) -> dict[str, float]:
    """Milliseconds to the first chunk; where chunks come flat out, a chunk."""
    out: dict[str, list[float]] = {t.name: [] for t in lab.targets}
    request = streaming(300, delay_ms)
    for _ in range(rounds):
        for target in lab.targets:
            times = await stream_chunks(lab.ports[target], request)
            out[target.name].append(times[-1] * 1000 / 300 if delay_ms == 0 else times[0] * 1000)
    return {name: median(values) for name, values in out.items()}


async def sse_cpu(lab: Lab, streams: int) -> dict[str, float]:
    """Microseconds of the processor's CPU a chunk, with so many streams of 100 chunks, 20 ms apart."""
    out: dict[str, float] = {}
    for target in lab.targets:
        pids = lab.pids(target).get("processor")
        if pids is None:
            continue
        before = cpu_ns(pids)
        request = streaming(100, 20)
        await asyncio.gather(*(stream_chunks(lab.ports[target], request) for _ in range(streams)))
        out[target.name] = (cpu_ns(pids) - before) / 1000 / streams / 100
    return out


async def open_streams(lab: Lab, target: Target, n: int) -> dict[str, float]:
    """Memory of a processor with n open streams."""
    before = lab.memory_mb(target)
    request = streaming(40, 500)
    writers = []
    for i in range(n):
        _, writer = await asyncio.open_connection("127.0.0.1", lab.ports[target])
        writer.write(request)
        writers.append(writer)
        if i % 50 == 49:
            await asyncio.sleep(0.05)
    await asyncio.sleep(6)
    during = lab.memory_mb(target)
    for writer in writers:
        writer.close()
    await asyncio.sleep(2)
    return {"streams": n, "before_mb": before, "kb_per_stream": (during - before) * 1000 / n}


async def measure(lab: Lab, rounds: int, seconds: float, args: argparse.Namespace) -> dict[str, Any]:
    """All figures of a lab; those that the gate does not look at are left out for it."""
    await lab.until_ready()
    out: dict[str, Any] = {"machine": platform.platform(), "cores": os.cpu_count(), "json": {}, "sse": {}}
    n = 300 if args.quick else 1000  # first, while the heap is fresh
    out["memory"] = {t.name: await open_streams(lab, t, n) for t in lab.targets if t.is_ours}
    for label, size in SIZES.items():
        out["json"][label] = await size_of(lab, size, rounds, seconds)
    for label, delay in (("300 chunks, 5 ms apart", 5.0), ("300 chunks, flat out", 0.0)):
        out["sse"][label] = await sse(lab, delay, rounds)
    out["sse_cpu_us_a_chunk"] = {str(n): await sse_cpu(lab, n) for n in (16, 256)}
    out["beside"] = {} if args.gate else await beside(lab, rounds, seconds)
    return out


def ratios(out: dict[str, Any]) -> dict[str, float]:
    """What the gate looks at: throughput over the no-op's, and the no-op's CPU over ours, by size and engine."""
    found: dict[str, float] = {}
    for label, row in out["json"].items():
        for name, figures in row.items():
            if name.startswith("spendgate") and YARDSTICK.name in row:
                found[f"{name}, {label}, rate"] = round(figures["rps_ratio"], 3)
                cpu = row[YARDSTICK.name]["cpu_processor_us"] / figures["cpu_processor_us"]
                found[f"{name}, {label}, CPU"] = round(cpu, 3)
    return found


def fallen(now: dict[str, float], committed: dict[str, float]) -> list[str]:
    """The ratios that fell by more than a tenth."""
    return [
        f"{k}: {now[k]} against {was}" for k, was in committed.items() if k in now and now[k] < was * FALL
    ]


def show(out: dict[str, Any]) -> None:
    """Print the tables."""
    console = Console(width=130)
    table = Table(title="JSON (medians of interleaved rounds)")
    heads = (
        "request",
        "target",
        "requests/s",
        "x no-op",
        "p50 ms, 1 conn.",
        f"p99 ms, {MANY} conn.",
        "CPU µs an exchange",
    )
    for column in heads:
        table.add_column(column, justify="right")
    for label, row in out["json"].items():
        for name, r in row.items():
            cpu = "  ".join(f"{k[4:-3]} {v:.0f}" for k, v in r.items() if k.startswith("cpu_"))
            ratio = f"{r['rps_ratio']:.2f}" if "rps_ratio" in r else ""
            table.add_row(
                label, name, f"{r['rps']:.0f}", ratio, f"{r['p50_one_ms']:.2f}", f"{r['p99_ms']:.1f}", cpu
            )
    console.print(table)
    for label, row in out["sse"].items():
        what = "ms a chunk" if "flat" in label else "ms to the first chunk"
        console.print(f"SSE, {label}, {what}: " + ", ".join(f"{n} {v:.2f}" for n, v in row.items()))
    for n, row in out["sse_cpu_us_a_chunk"].items():
        console.print(
            f"SSE, {n} streams, processor's CPU µs a chunk: "
            + ", ".join(f"{k} {v:.0f}" for k, v in row.items())
        )
    show_waits(console, out)
    for name, m in out["memory"].items():
        console.print(
            f"Memory, {name}: {m['before_mb']:.0f} MB, and {m['kb_per_stream']:.0f} KB an open stream"
        )


def show_waits(console: Console, out: dict[str, Any]) -> None:
    """The tables of short prompts beside long ones, and of teams."""
    long = ", ".join(f"{n} x {size // 1_000_000} MB" for size, n in LONG_ONES)
    waits = Table(title=f"{SHORT_ONES} x 1 KB, alone and beside {long} at once (ms)")
    for column in ("target", "p50", "p99", "a ping, p99", "the longest", "CPU meanwhile, p99", "most"):
        waits.add_column(column, justify="right")
    for name, r in out["beside"].items():
        pings = (f"ping_{what}_{which}_ms" for what in ("wait", "cpu") for which in ("p99", "longest"))
        keys = ("p50_ms", "p99_ms", *pings)
        waits.add_row(name, *(f"{r[key]:.1f}" for key in keys))
    crowd = Table(title="As teams and limits grow")
    for column in ("target", "requests/s", "p99 ms", "CPU µs an exchange"):
        crowd.add_column(column, justify="right")
    for name, r in out["crowds"].items():
        cpu = "  ".join(f"{kind} {r[kind]:.0f}" for kind in ("up", "processor", "envoy", "redis"))
        crowd.add_row(name, f"{r['rps']:.0f}", f"{r['p99_ms']:.1f}", cpu)
    for table in (waits, crowd):
        if table.row_count:
            console.print(table)


def in_lab(targets: tuple[Target, ...], work: Callable[[Lab], Coroutine[Any, Any, Any]]) -> Any:
    """What is found in a lab with these targets."""
    folder = Path(tempfile.mkdtemp(prefix="spendgate-bench-"))
    lab = Lab(folder, targets)
    try:
        lab.start()
        return uvloop.run(work(lab))
    finally:
        lab.stop()
        shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="short rounds")
    parser.add_argument("--only", default="", help="targets, by name, with commas")
    parser.add_argument("--gate", action="store_true", help="fail where a ratio fell")
    parser.add_argument("--commit", action="store_true", help="write bench/ratios.json")
    parser.add_argument("--out", type=Path, default=HERE / "results.json")
    args = parser.parse_args()
    names = [x.strip() for x in args.only.split(",") if x.strip()]
    targets = tuple(t for t in TARGETS if not names or t.name in names or t is YARDSTICK or t is BASE)
    many = tuple(t for t in CROWDS if not (names or args.gate) or t.name in names)
    rounds, seconds = (3, 1.0) if args.quick else (5, 3.0)
    began = time.monotonic()
    out = in_lab(targets, lambda lab: measure(lab, rounds, seconds, args))
    out["crowds"] = in_lab(many, lambda lab: crowds(lab, rounds, seconds)) if many else {}
    args.out.write_text(json.dumps(out, indent=1) + "\n")
    show(out)
    print(f"{time.monotonic() - began:.0f} s; written to {args.out}")
    if args.commit:
        RATIOS.write_text(json.dumps(ratios(out), indent=1, sort_keys=True) + "\n")
    if args.gate and (problems := fallen(ratios(out), json.loads(RATIOS.read_text()))):
        sys.exit("ratios fell by more than a tenth:\n" + "\n".join(problems))


if __name__ == "__main__":
    main()
