"""LiteLLM's proxy and Portkey's gateway beside spendgate and the processor that does nothing, before one upstream, in
interleaved rounds: their budgets off, ours on (reserve and settle in Redis). Both are installed into a temporary folder
(PyPI, npm) where that is possible; one that does not install is left out, and said so.

    .venv/bin/python bench/rivals.py [--rounds 5] [--seconds 4]        writes bench/rivals.json

They are whole proxies that parse and rebuild every request; spendgate rides on Envoy. The figures say what a
call costs on this machine, not which is the better product. Exit 1 where spendgate is below what it promises:
as many a second as the no-op, twice Portkey's, twenty times LiteLLM's.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import uvloop
from lab import HERE, YARDSTICK, Lab, Target, free_port
from load import closed_loop, request_bytes
from rich.console import Console
from rich.table import Table
from run import MANY, body

UPSTREAM_KEY = "sk-bench-0123456789abcdef-0123456789"
OURS = (Target("spendgate", "ngh2"), Target("spendgate", "ngh2", workers=2))
FLOOR = {YARDSTICK.name: 1.0, "portkey": 2.0, "litellm": 20.0}
"""How many times as many requests a second as these spendgate is to serve: the better of its two rows."""
median = statistics.median


def litellm(folder: Path, upstream: int, port: int) -> list[str] | None:
    """Install LiteLLM's proxy; its command, None where it does not install."""
    venv = folder / "litellm"
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    done = subprocess.run(
        [str(venv / "bin" / "pip"), "install", "--quiet", "litellm[proxy]"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        print(f"litellm does not install here: {done.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
        return None
    config = folder / "litellm.yaml"
    model = {
        "model_name": "gpt-4o",
        "litellm_params": {
            "model": "openai/gpt-4o",
            "api_base": f"http://127.0.0.1:{upstream}/v1",
            "api_key": UPSTREAM_KEY,
        },
    }
    config.write_text(json.dumps({"model_list": [model], "litellm_settings": {"telemetry": False}}))
    return [
        str(venv / "bin" / "litellm"),
        "--config",
        str(config),
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]


def portkey(folder: Path, _: int, port: int) -> list[str] | None:
    """Install Portkey's gateway; its command, None where it does not install."""
    if not shutil.which("npm"):
        print("portkey does not install here: no npm", file=sys.stderr)
        return None
    home = folder / "portkey"
    home.mkdir()
    done = subprocess.run(
        ["npm", "install", "--silent", "--prefix", str(home), "@portkey-ai/gateway"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        print(f"portkey does not install here: {done.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
        return None
    server = home / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"
    return ["node", str(server), f"--port={port}", "--headless"]


def request(name: str, size: int, upstream: int) -> bytes:
    """The request that each understands."""
    raw = request_bytes("/v1/chat/completions", body(size))
    extra = f"authorization: Bearer {UPSTREAM_KEY}\r\n"
    if name == "portkey":
        extra += f"x-portkey-provider: openai\r\nx-portkey-custom-host: http://127.0.0.1:{upstream}/v1\r\n"
    return raw.replace(b"x-llm-app:", extra.encode() + b"x-llm-app:", 1)


async def until_answers(port: int, raw: bytes, name: str) -> None:
    """Wait for the first good answer."""
    for _ in range(240):
        try:
            if (await closed_loop(port, raw, 1, 0.2)).statuses.get(200):
                return
        except OSError:
            pass
        await asyncio.sleep(0.5)
    raise SystemExit(f"{name} does not answer")


INSTALL: dict[str, Callable[[Path, int, int], list[str] | None]] = {"litellm": litellm, "portkey": portkey}


def version(folder: Path, name: str) -> str:
    """Of a peer, as it is installed."""
    if name == "portkey":
        package = folder / "portkey" / "node_modules" / "@portkey-ai" / "gateway" / "package.json"
        return str(json.loads(package.read_text())["version"])
    pip = folder / "litellm" / "bin" / "pip"
    shown = subprocess.run([pip, "show", "litellm"], check=True, capture_output=True, text=True).stdout
    return next(line.split()[1] for line in shown.splitlines() if line.startswith("Version:"))


class Rivals:
    """The peers' processes."""

    def __init__(self, folder: Path, upstream: int) -> None:
        self.folder, self.upstream = folder, upstream
        self.ports: dict[str, int] = {}
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Install and start each."""
        env = {
            **os.environ,
            "LITELLM_LOG": "ERROR",
            "LITELLM_MASTER_KEY": UPSTREAM_KEY,
            "NODE_ENV": "production",
            "TRUSTED_CUSTOM_HOSTS": "127.0.0.1",
        }
        for name, install in INSTALL.items():
            port = free_port()
            argv = install(self.folder, self.upstream, port)
            if argv is None:
                continue
            self.ports[name] = port
            with (self.folder / f"{name}.log").open("wb") as log:
                self._processes.append(
                    subprocess.Popen(argv, stdout=log, stderr=log, env=env, cwd=self.folder)
                )

    def stop(self) -> None:
        """End them."""
        for process in self._processes:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


async def measure(lab: Lab, rivals: Rivals, rounds: int, seconds: float) -> dict[str, dict[str, float]]:
    """Rate and p99 with many connections, p50 with one, at 1 KB; and how many times as fast spendgate is."""
    await lab.until_ready()
    ways = {t.name: (lab.ports[t], request(t.name, 1_000, lab.upstream)) for t in lab.targets}
    ways |= {name: (port, request(name, 1_000, lab.upstream)) for name, port in rivals.ports.items()}
    for name, port in rivals.ports.items():
        await until_answers(port, ways[name][1], name)
    rows: dict[str, dict[str, list[float]]] = {n: {"rps": [], "p50_one_ms": [], "p99_ms": []} for n in ways}
    for _ in range(rounds):
        for name, (port, raw) in ways.items():
            many = await closed_loop(port, raw, MANY, seconds)
            one = await closed_loop(port, raw, 1, seconds / 2)
            assert set(many.statuses) | set(one.statuses) == {200}, (name, many.statuses, one.statuses)
            rows[name]["rps"].append(many.rate)
            rows[name]["p99_ms"].append(many.percentile(99) * 1000)
            rows[name]["p50_one_ms"].append(one.percentile(50) * 1000)
    out = {name: {key: median(values) for key, values in row.items()} for name, row in rows.items()}
    for target in OURS:
        own = rows[target.name]["rps"]
        for other in FLOOR.keys() & rows.keys():
            out[target.name][f"x {other}"] = median(
                a / b for a, b in zip(own, rows[other]["rps"], strict=True)
            )
    return out


def show(out: dict[str, dict[str, float]], versions: dict[str, str]) -> None:
    """Print the table."""
    table = Table(title=f"1 KB, {MANY} connections (medians of interleaved rounds)")
    columns = ["requests/s", "p50 ms, 1 conn.", f"p99 ms, {MANY} conn."]
    for column in ("", *columns, *(f"x {name}" for name in FLOOR)):
        table.add_column(column, justify="right")
    for name, row in out.items():
        figures = (f"{row['rps']:.0f}", f"{row['p50_one_ms']:.2f}", f"{row['p99_ms']:.1f}")
        times = (f"{row[f'x {o}']:.2f}" if f"x {o}" in row else "" for o in FLOOR)
        table.add_row(f"{name} {versions.get(name, '')}", *figures, *times)
    Console(width=120).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=HERE / "rivals.json")
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="spendgate-rivals-"))
    lab = Lab(folder, (YARDSTICK, *OURS))
    rivals = Rivals(folder, lab.upstream)
    try:
        rivals.start()
        lab.start()
        out = uvloop.run(measure(lab, rivals, args.rounds, args.seconds))
        versions = {name: version(folder, name) for name in rivals.ports}
    finally:
        rivals.stop()
        lab.stop()
        shutil.rmtree(folder, ignore_errors=True)
    show(out, versions)
    args.out.write_text(json.dumps({"versions": versions, "figures": out}, indent=1) + "\n")
    best = {o: max(out[t.name].get(f"x {o}", 0) for t in OURS) for o in FLOOR if o in out}
    below = [f"{best[o]:.2f} x {o}, promised {FLOOR[o]:g}" for o in best if best[o] < FLOOR[o]]
    if below:
        sys.exit("below the promise: " + "; ".join(below))


if __name__ == "__main__":
    main()
