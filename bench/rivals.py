"""LiteLLM's proxy and Portkey's gateway before the same upstream, without budgets: what a proxy of its own
costs. Both are installed into a temporary folder (PyPI, npm) where that is possible; one that does not install
is left out, and said so.

They are whole proxies that parse and rebuild every request; spendgate rides on Envoy. The figures say what a
call costs on this machine, not which is the better product.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from lab import HERE, free_port
from load import Result, closed_loop, request_bytes
from run import body

UPSTREAM_KEY = "sk-bench-0123456789abcdef-0123456789"


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


async def measure(name: str, port: int, upstream: int, seconds: float) -> dict[str, float]:
    """Rate with 16 connections, latency with one, at 1 KB."""
    raw = request(name, 1_000, upstream)
    await until_answers(port, raw, name)
    many: Result = await closed_loop(port, raw, 16, seconds)
    one: Result = await closed_loop(port, raw, 1, seconds)
    return {"rps": many.rate, "p50_ms": one.percentile(50) * 1000, "p99_ms": one.percentile(99) * 1000}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--out", type=Path, default=HERE / "rivals.json")
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="spendgate-rivals-"))
    upstream = free_port()
    provider = subprocess.Popen([sys.executable, str(HERE / "upstream.py"), str(upstream)])
    out: dict[str, dict[str, float]] = {}
    try:
        for name, install in (("litellm", litellm), ("portkey", portkey)):
            port = free_port()
            argv = install(folder, upstream, port)
            if argv is None:
                continue
            env = {
                **os.environ,
                "LITELLM_LOG": "ERROR",
                "LITELLM_MASTER_KEY": UPSTREAM_KEY,
                "NODE_ENV": "production",
                "TRUSTED_CUSTOM_HOSTS": "127.0.0.1",
            }
            with (folder / f"{name}.log").open("wb") as log:
                process = subprocess.Popen(argv, stdout=log, stderr=log, env=env, cwd=folder)
            try:
                out[name] = asyncio.run(measure(name, port, upstream, args.seconds))
                print(name, {k: round(v, 2) for k, v in out[name].items()})
            except SystemExit as e:
                print(e, (folder / f"{name}.log").read_text()[-500:], file=sys.stderr)
            finally:
                process.terminate()
                process.wait(20)
    finally:
        provider.terminate()
        shutil.rmtree(folder, ignore_errors=True)
    args.out.write_text(json.dumps(out, indent=1) + "\n")


if __name__ == "__main__":
    main()
