"""Side by side in one run: Envoy alone, Envoy with a Python ext_proc that does nothing, and spendgate with
reserve and settle. One worker each. Prints a table and writes bench/results.json.

Rounds are interleaved, and what counts are the ratios: the machine's mood is the same for all three.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
import yaml
from load import Result, closed_loop, request_bytes, stream_chunks
from rich.console import Console
from rich.table import Table

HERE = Path(__file__).parent
SPENDGATE = Path(sys.executable).parent / "spendgate"
SIZES = {"1 KB": 1_000, "50 KB": 50_000, "500 KB": 500_000, "2 MB": 2_000_000}
TARGETS = ("envoy", "no-op", "spendgate")
WORDS = "the quick brown fox jumps over the lazy dog and thinks about budgets in the mesh "


def free_port() -> int:
    """A port that is free now."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def body(size: int, stream: bool = False) -> bytes:
    """A chat request of about `size` bytes."""
    text = (WORDS * (size // len(WORDS) + 1))[: max(size - 120, 1)]
    document = {"model": "gpt-4o", "max_tokens": 300, "messages": [{"role": "user", "content": text}]}
    if stream:
        document = {"stream": True, **document}
    return json.dumps(document, separators=(",", ":")).encode()


class Lab:
    """The three targets, running."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.ports = {name: free_port() for name in TARGETS}
        self.upstream = free_port()

    def start(self) -> None:
        """Start upstream, no-op, three Envoys (spendgate brings its own)."""
        self._run("upstream", [sys.executable, str(HERE / "upstream.py"), str(self.upstream)])
        socket_path = self.folder / "noop.sock"
        self._run("noop", [sys.executable, str(HERE / "noop.py"), f"unix:{socket_path}"])
        for name in ("envoy", "no-op"):
            rendered = subprocess.run(
                [SPENDGATE, "render", "bootstrap", "--listen", f"127.0.0.1:{self.ports[name]}",
                 "--upstream", f"http://127.0.0.1:{self.upstream}", "--grpc", f"unix:{socket_path}"],
                check=True, capture_output=True, text=True,
            ).stdout  # fmt: skip
            config = yaml.safe_load(rendered)
            if name == "envoy":
                manager = config["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0][
                    "typed_config"
                ]
                manager["http_filters"] = manager["http_filters"][1:]
                for route in manager["route_config"]["virtual_hosts"][0]["routes"]:
                    route.pop("typed_per_filter_config", None)
                clusters = config["static_resources"]["clusters"]
                config["static_resources"]["clusters"] = [c for c in clusters if c["name"] != "spendgate"]
            path = self.folder / f"{name}.yaml"
            path.write_text(yaml.safe_dump(config))
            envoy = Path(sys.executable).parent / "envoy"
            self._run(name, [str(envoy), "-c", str(path), "--use-dynamic-base-id", "-l", "error"])
        policy = self.folder / "policy.yaml"
        policy.write_text(
            "apiVersion: ai.systemhardening.com/v1\nkind: LLMBudget\nmetadata: {name: bench}\n"
            "spec: {team: bench, monthlyBudgetUSD: 1000000}\n"
        )
        self._run(
            "spendgate",
            [str(SPENDGATE), "up", "--quiet", "--workers", "1", "--policy", str(policy),
             "--upstream", f"http://127.0.0.1:{self.upstream}", "--listen", f"127.0.0.1:{self.ports['spendgate']}",
             "--admin", f"127.0.0.1:{free_port()}", "--data-dir", str(self.folder / "data")],
        )  # fmt: skip

    def _run(self, name: str, argv: list[str]) -> None:
        with (self.folder / f"{name}.log").open("wb") as log:
            self.processes[name] = subprocess.Popen(argv, stdout=log, stderr=log)

    async def until_ready(self) -> None:
        """Wait until all three answer through their whole chain."""
        for name in TARGETS:
            for _ in range(300):
                try:
                    result = await closed_loop(
                        self.ports[name], request_bytes("/v1/chat/completions", body(500)), 1, 0.1
                    )
                    if result.statuses.get(200):
                        break
                except OSError:
                    pass
                await asyncio.sleep(0.1)
            else:
                raise SystemExit(
                    f"{name} does not answer: {(self.folder / f'{name}.log').read_text()[-800:]}"
                )
        await asyncio.sleep(2)  # health checks, warm caches

    def memory_mb(self) -> float:
        """Resident memory of spendgate's worker."""
        parent = psutil.Process(self.processes["spendgate"].pid)
        for child in parent.children(recursive=True):
            if "spendgate.gateway.process.worker" in " ".join(child.cmdline()):
                return float(child.memory_info().rss) / 1e6
        raise SystemExit("no worker found")

    def stop(self) -> None:
        """End all."""
        for process in self.processes.values():
            process.send_signal(signal.SIGTERM)
        for process in self.processes.values():
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


async def json_round(lab: Lab, size: int, connections: int, seconds: float) -> dict[str, Result]:
    """Each target once, one after the other."""
    request = request_bytes("/v1/chat/completions", body(size))
    return {name: await closed_loop(lab.ports[name], request, connections, seconds) for name in TARGETS}


async def sse_round(lab: Lab, chunks: int, delay_ms: float) -> dict[str, list[float]]:
    """Gaps between the chunks of a stream, by target."""
    raw = request_bytes("/v1/chat/completions", body(300, stream=True))
    request = raw.replace(b"x-llm-app:", b"x-bench-chunks: %d/%d\r\nx-llm-app:" % (chunks, delay_ms), 1)
    return {name: await stream_chunks(lab.ports[name], request) for name in TARGETS}


async def open_streams(lab: Lab, n: int) -> dict[str, float]:
    """Memory of the worker with n open streams."""
    before = lab.memory_mb()
    raw = request_bytes("/v1/chat/completions", body(300, stream=True))
    request = raw.replace(b"x-llm-app:", b"x-bench-chunks: 40/500\r\nx-llm-app:", 1)
    writers = []
    for i in range(n):
        reader, writer = await asyncio.open_connection("127.0.0.1", lab.ports["spendgate"])
        writer.write(request)
        writers.append((reader, writer))
        if i % 50 == 49:
            await asyncio.sleep(0.05)
    await asyncio.sleep(6)
    during = lab.memory_mb()
    for _, writer in writers:
        writer.close()
    await asyncio.sleep(2)
    return {
        "streams": n,
        "before_mb": before,
        "during_mb": during,
        "kb_per_stream": (during - before) * 1000 / n,
    }


def median(values: list[float]) -> float:
    """The middle one."""
    return statistics.median(values)


async def measure(lab: Lab, quick: bool) -> dict[str, Any]:
    """All figures."""
    await lab.until_ready()
    rounds, seconds = (2, 1.0) if quick else (5, 3.0)
    out: dict[str, Any] = {"machine": platform.platform(), "cores": os.cpu_count(), "json": {}, "sse": {}}
    out["memory"] = await open_streams(lab, 300 if quick else 1000)  # first, while the heap is fresh
    for label, size in SIZES.items():
        rates: dict[str, list[float]] = {n: [] for n in TARGETS}
        singles: dict[str, list[float]] = {n: [] for n in TARGETS}
        tails: dict[str, list[float]] = {n: [] for n in TARGETS}
        for _ in range(rounds):
            for name, result in (await json_round(lab, size, 16, seconds)).items():
                assert set(result.statuses) <= {200}, (name, result.statuses)
                rates[name].append(result.rate)
            for name, result in (await json_round(lab, size, 1, seconds)).items():
                singles[name].append(result.percentile(50) * 1000)
                tails[name].append(result.percentile(99) * 1000)
        out["json"][label] = {
            name: {"rps": median(rates[name]), "p50_ms": median(singles[name]), "p99_ms": median(tails[name])}
            for name in TARGETS
        }
    for label, delay in (("300 chunks, 5 ms apart", 5.0), ("300 chunks, flat out", 0.0)):
        totals: dict[str, list[float]] = {n: [] for n in TARGETS}
        for _ in range(rounds):
            for name, times in (await sse_round(lab, 300, delay)).items():
                # pieces that come together are one chunk for who receives them: what counts is when the last is there
                totals[name].append(times[-1] * 1000 / 300 if delay == 0 else times[0] * 1000)
        out["sse"][label] = {name: median(totals[name]) for name in TARGETS}
    return out


def show(out: dict[str, Any]) -> None:
    """Print the tables."""
    console = Console(width=120)
    table = Table(title="JSON, one worker each (median of rounds)")
    for column in (
        "request",
        "target",
        "requests/s",
        "p50 ms",
        "p99 ms",
        "added p50",
        "rate / no-op",
        "added / no-op's",
    ):
        table.add_column(column, justify="right")
    for label, row in out["json"].items():
        base, noop = row["envoy"], row["no-op"]
        for name in TARGETS:
            r = row[name]
            added = r["p50_ms"] - base["p50_ms"]
            ratio = added / (noop["p50_ms"] - base["p50_ms"])
            table.add_row(
                label, name, f"{r['rps']:.0f}", f"{r['p50_ms']:.2f}", f"{r['p99_ms']:.2f}", f"{added:.2f}",
                f"{r['rps'] / noop['rps']:.2f}", f"{ratio:.2f}" if name == "spendgate" else "",
            )  # fmt: skip
    console.print(table)
    for label, row in out["sse"].items():
        what = "ms a chunk" if "flat" in label else "ms to the first chunk"
        console.print(f"SSE, {label}: " + ", ".join(f"{n} {row[n]:.2f}" for n in TARGETS) + f" {what}")
    m = out["memory"]
    console.print(
        f"Memory: {m['streams']} open streams take {m['kb_per_stream']:.0f} KB each "
        f"({m['before_mb']:.0f} → {m['during_mb']:.0f} MB in the worker)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="short rounds")
    parser.add_argument("--out", type=Path, default=HERE / "results.json")
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="spendgate-bench-"))
    lab = Lab(folder)
    began = time.monotonic()
    try:
        lab.start()
        out = asyncio.run(measure(lab, args.quick))
    finally:
        lab.stop()
        shutil.rmtree(folder, ignore_errors=True)
    args.out.write_text(json.dumps(out, indent=1) + "\n")
    show(out)
    print(f"{time.monotonic() - began:.0f} s; written to {args.out}")


if __name__ == "__main__":
    main()
