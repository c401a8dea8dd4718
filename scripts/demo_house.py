"""What the demo runs on: a mock provider and `spendgate up`, on free ports, in a folder of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar
from urllib.request import ProxyHandler, build_opener

PATIENCE_S = 60.0
T = TypeVar("T")
_DIRECT = build_opener(ProxyHandler({}))


class DemoFailure(Exception):
    """Something did not go as spendgate promises."""


class Process:
    """A child process that prints `ready: URL`."""

    def __init__(self, name: str, arguments: list[str], log: Path) -> None:
        self.name = name
        self._log = log
        self._err = log.with_suffix(".err")
        command = [str(Path(sys.executable).with_name("spendgate")), *arguments]
        with log.open("wb") as out, self._err.open("wb") as err:
            self._child = subprocess.Popen(command, stdout=out, stderr=err)

    def url(self) -> str:
        """Wait for the line `ready:`."""

        def ready() -> str | None:
            for line in self._log.read_text().splitlines():
                if line.startswith("ready: "):
                    return line.removeprefix("ready: ")
            if self._child.poll() is not None:
                raise DemoFailure(
                    f"{self.name} ended with {self._child.returncode}:\n{self._err.read_text()[-2000:]}"
                )
            return None

        return wait_for(ready, f"{self.name} to be ready")

    def stop(self) -> None:
        """Ask it to end, and wait."""
        if self._child.poll() is None:
            self._child.terminate()
        try:
            self._child.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()


class House:
    """The two processes. The folder and all in it are gone at the end."""

    def __enter__(self) -> House:
        self._folder = tempfile.TemporaryDirectory(prefix="spendgate-demo-")
        self.folder = Path(self._folder.name)
        self._processes: list[Process] = []
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in reversed(self._processes):
            process.stop()
        self._folder.cleanup()

    def start(self, policy: str) -> None:
        """Start both and wait until they serve."""
        (self.folder / "budgets.yaml").write_text(policy)
        self.provider = self._run("mock-provider", ["--listen", "127.0.0.1:0", "--quiet"]).url()
        admin = free_address()
        self.admin = f"http://{admin}"
        arguments = ["--upstream", self.provider, "--policy", str(self.folder / "budgets.yaml")]
        arguments += ["--listen", "127.0.0.1:0", "--admin", admin, "--data-dir", str(self.folder / "data")]
        self.gateway = self._run("up", [*arguments, "--quiet"]).url()

    def _run(self, command: str, arguments: list[str]) -> Process:
        process = Process(f"spendgate {command}", [command, *arguments], self.folder / f"{command}.log")
        self._processes.append(process)
        return process

    def ledger(self) -> dict[str, dict[str, Any]]:
        """The ledger's rows by team, when nothing is held any more."""

        def at_rest() -> dict[str, dict[str, Any]] | None:
            rows = self.budgets()
            return rows if all(float(r["reserved_usd"]) == 0 for r in rows.values()) else None

        return wait_for(at_rest, "all requests to be settled")

    def budgets(self) -> dict[str, dict[str, Any]]:
        """The ledger's rows by team, now."""
        return {row["team"]: row for row in get(f"{self.admin}/v1/budgets")}

    def invoice(self) -> dict[str, Any]:
        """What the provider counted itself."""
        invoice: dict[str, Any] = get(f"{self.provider}/mock/invoice")
        return invoice

    def usage(self, after: int, expected: int = 1) -> list[dict[str, Any]]:
        """The lines of the usage log from number `after` on, once there are `expected`."""
        log = self.folder / "data" / "usage.jsonl"

        def lines() -> list[dict[str, Any]] | None:
            written = log.read_bytes().split(b"\n")[:-1] if log.exists() else []
            new = [json.loads(line) for line in written[after:]]
            return new if len(new) >= expected else None

        return wait_for(lines, f"{expected} lines in the usage log")


def wait_for(found: Callable[[], T | None], what: str) -> T:
    """Ask until there is an answer. Raises DemoFailure after a minute."""
    deadline = time.monotonic() + PATIENCE_S
    while (answer := found()) is None:
        if time.monotonic() > deadline:
            raise DemoFailure(f"waited {PATIENCE_S:.0f} s for {what}")
        time.sleep(0.05)
    return answer


def get(url: str) -> Any:
    """GET JSON, never through a proxy."""
    with _DIRECT.open(url, timeout=PATIENCE_S) as answer:
        return json.loads(answer.read())


def free_address() -> str:
    """An address of this machine that nobody listens on."""
    import socket

    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{s.getsockname()[1]}"
