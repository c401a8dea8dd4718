"""The tutorial's own commands, in its order, as a reader would give them; only the ports are this test's."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.ports import free_port
from support.processes import until

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
TEXT = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
BACKGROUND = (".venv/bin/spendgate mock-provider", ".venv/bin/spendgate up")


def steps() -> list[tuple[str, str]]:
    """Commands, each with what the page shows to come out ("": nothing)."""
    out: list[tuple[str, str]] = []
    for language, text in FENCE.findall(TEXT):
        if language == "bash":
            out.append((text, ""))
        else:
            out[-1] = (out[-1][0], text)
    return out


class Reader:
    """Somebody in a shell, in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / ".venv").symlink_to(ROOT / ".venv")
        shutil.copytree(ROOT / "docs" / "examples", folder / "docs" / "examples")
        self.ports = {port: str(free_port()) for port in ("9900", "10000", "9090")}
        self.terminals: list[subprocess.Popen[bytes]] = []

    def typed(self, commands: str) -> str:
        """Commands with this test's ports."""
        for port, mine in self.ports.items():
            commands = re.sub(rf"(127\.0\.0\.1:){port}\b", rf"\g<1>{mine}", commands)
        return commands

    def terminal(self, command: str) -> None:
        """A command that goes on, in a terminal of its own."""
        name = "provider" if "mock-provider" in command else "up"
        here = f"--listen 127.0.0.1:{self.ports['9900' if name == 'provider' else '10000']}"
        if name == "up":
            here += f" --admin 127.0.0.1:{self.ports['9090']}"
        log = (self.folder / f"{name}.txt").open("wb")
        with log:
            self.terminals.append(
                subprocess.Popen(
                    ["bash", "-c", f"exec {self.typed(command).strip()} {here}"],
                    cwd=self.folder, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                )
            )  # fmt: skip
        process = self.terminals[-1]

        def ready() -> bool:
            text = (self.folder / f"{name}.txt").read_text()
            assert process.poll() is None, text
            return "ready: http" in text

        until(ready, bool, f"ready: of {command}", 60)

    def run(self, commands: str) -> str:
        """Commands that end; each must succeed."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", self.typed(commands)],
            cwd=self.folder, capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        return done.stdout

    def end(self) -> list[int]:
        """Ctrl-C in every terminal, the last first."""
        statuses = []
        for process in reversed(self.terminals):
            process.send_signal(2)
            statuses.append(process.wait(60))
        return statuses


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    made = Reader(tmp_path_factory.mktemp("tutorial"))
    yield made
    for process in made.terminals:
        if process.poll() is None:
            process.kill()
            process.wait()


def test_the_tutorial_does_what_it_says_in_less_than_ten_minutes(reader: Reader) -> None:
    began = time.monotonic()
    blocks = steps()
    assert blocks[0][0] == "make setup\n"
    assert [c.startswith(BACKGROUND) for c, _ in blocks[1:3]] == [True, True]
    reader.terminal(blocks[1][0])
    reader.terminal(blocks[2][0])

    explain, shown = blocks[3]
    assert reader.run(explain).split() == shown.split()

    request, headers = blocks[4]
    for _ in range(2):  # "In a third terminal, twice"
        answer = reader.run(request)
        assert "HTTP/1.1 200 OK" in answer
    first_words = {line.split(":")[0] for line in headers.strip().splitlines()}
    assert first_words <= {line.split(":")[0].lower() for line in answer.splitlines()}
    assert "x-spendgate-cost-usd: 0.02003" in answer
    table = until(lambda: reader.run(blocks[5][0]), lambda t: "100.2%" in t, "the settlement", 60)
    assert "payments" in table

    refused = reader.run(blocks[6][0])
    assert "HTTP/1.1 429 Too Many Requests" in refused
    assert "x-should-retry: false" in refused
    assert "monthly_budget_exceeded" in refused
    invoice = json.loads(reader.run(blocks[7][0]))
    assert invoice["models"]["gpt-4o"]["requests"] == 2
    claude = json.loads(reader.run(blocks[8][0]))
    assert (claude["type"], claude["error"]["type"]) == ("error", "budget_exceeded")

    policy = reader.folder / "docs/examples/payments.yaml"
    policy.write_text(re.sub(r"monthlyBudgetUSD: \S+", "monthlyBudgetUSD: 0.10", policy.read_text()))
    until(lambda: reader.run(blocks[6][0]), lambda t: "HTTP/1.1 200 OK" in t, "the raised budget", 60)
    reader.run(blocks[9][0])

    operator = reader.run(blocks[10][0])
    assert '"team":"payments"' in operator.replace(" ", "")
    assert "llm_cost_usd_total{" in operator
    assert '"outcome"' in operator.splitlines()[-1]
    assert len(blocks) == 11, "a command that this test does not give"
    assert reader.end() == [0, 0]
    assert time.monotonic() - began < 600
