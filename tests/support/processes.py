"""Running a command of ours as a subprocess until it says `ready:`, and ending it properly."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import psutil

SPENDGATE = str(Path(sys.executable).with_name("spendgate"))
WORKER = "spendgate.gateway.process.worker"
"""What a gateway's workers have in their command lines."""
START_S = 60.0
STOP_S = 60.0
T = TypeVar("T")


def program(name: str) -> str:
    """The path of a program that scripts/setup_tests.sh put beside our Python, else of one on PATH; a test without it
    fails.
    """
    beside = Path(sys.executable).with_name(name)
    path = str(beside) if beside.exists() else shutil.which(name)
    assert path, f"no {name} in .venv/bin nor on PATH; run make setup-tests and read what it says"
    return path


def until(look: Callable[[], T], good: Callable[[T], bool], what: str, timeout_s: float = 30.0) -> T:
    """Look again and again until what is seen is good; returns it. Fails with the last sight."""
    deadline = time.monotonic() + timeout_s
    while True:
        seen = look()
        if good(seen):
            return seen
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come within {timeout_s:.0f} s; last seen: {seen!r}")
        time.sleep(0.02)


class Command:
    """One `spendgate` command in a process of its own, its output in files of `folder`."""

    def __init__(self, folder: Path, argv: Sequence[str], env: Mapping[str, str] | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._out, self._err = folder / "stdout.txt", folder / "stderr.txt"
        ours = ("SPENDGATE_", "PROMETHEUS_")
        clean = {k: v for k, v in os.environ.items() if k == "SPENDGATE_ENVOY" or not k.startswith(ours)}
        if engine := os.environ.get("SPENDGATE_TEST_ENGINE"):  # any test on another gRPC engine
            clean["SPENDGATE_GRPC_ENGINE"] = engine
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                [SPENDGATE, *argv],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env={**clean, **(env or {})},
            )

    def ready(self) -> str:
        """Wait for the line `ready: URL` and return the URL."""

        def look() -> str:
            lines = [x for x in self.stdout.splitlines() if x.startswith("ready: ")]
            assert self.process.poll() is None or lines, f"it ended: {self.stdout}{self.stderr}"
            return lines[0].removeprefix("ready: ") if lines else ""

        return until(look, bool, f"ready: of {self.process.args!r}", START_S)

    @property
    def stdout(self) -> str:
        """What it printed so far."""
        return self._out.read_text(errors="replace")

    @property
    def stderr(self) -> str:
        """What it said on stderr so far."""
        return self._err.read_text(errors="replace")

    def children(self, mark: str) -> list[psutil.Process]:
        """The processes below it whose command lines have this mark. One that has just ended is none of them."""
        found = []
        for child in psutil.Process(self.process.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                if any(mark in part for part in child.cmdline()):
                    found.append(child)
        return found

    def child(self, mark: str) -> psutil.Process:
        """The first of them. Raises ValueError where there is none."""
        [first, *_] = self.children(mark)
        return first

    def stop(self) -> int:
        """SIGTERM, then its exit status (killed after a minute)."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()
