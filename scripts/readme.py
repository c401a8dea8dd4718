"""Run README's own blocks, in its order, as a reader would type them: from a fresh clone to a green doctor.

    .venv/bin/python scripts/readme.py                 # a fresh clone of HEAD, `make setup` included
    .venv/bin/python scripts/readme.py --venv .venv    # with what is installed

A block of bash must succeed, but where README shows that it is refused (429). What README shows of its output must come
out; `…` stands for anything. What README ends it all with must leave nothing running. Claude Code is that of
tests/agents, else the one on PATH.
"""

from __future__ import annotations

import argparse
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
SECTION = "Try it by hand"
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
LONGEST_S = 600
READY = "ready: http"
PORTS = ("9900", "10000", "9090")
ENDING = re.compile(r"^`(kill [^`]+)` ends", re.MULTILINE)
ENDS_WITHIN_S = 60
NOWHERE = "http://127.0.0.1:9"
CLAUDE = ROOT / "tests/agents/node_modules/@anthropic-ai/claude-code/cli-wrapper.cjs"


class Block(NamedTuple):
    """Commands, and what README shows of their output (nothing: whatever it is)."""

    commands: str
    shown: str


def section() -> str:
    """README's section, up to what a 429 looks like."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return text.partition(f"## {SECTION}\n")[2].partition("\n## ")[0].partition("\n**What a 429")[0]


def blocks() -> list[Block]:
    """The blocks of the section, in order."""
    found: list[Block] = []
    for language, body in FENCE.findall(section()):
        if language == "bash":
            found.append(Block(body, ""))
        else:
            found[-1] = Block(found[-1].commands, body)
    return found


def ending() -> str:
    """What README ends all that runs with, as a script that succeeds where it does."""
    (kill,) = ENDING.findall(section())
    wait = f'for _ in {{1..{10 * ENDS_WITHIN_S}}}; do [ -n "$(jobs -pr)" ] || break; sleep 0.1; done'
    return f'{kill}\n{wait}\njobs -r\n[ -z "$(jobs -pr)" ]\n'


def missing(shown: str, output: str) -> list[str]:
    """The lines that README shows and that did not come out, blanks aside."""
    flat = " ".join(output.split())
    lines = [" ".join(line.split()) for line in shown.splitlines()]
    return [
        line for line in lines if not re.search(".*".join(map(re.escape, line.split("…"))), flat, re.DOTALL)
    ]


def with_ports(commands: str, ports: Mapping[str, str]) -> str:
    """The same commands on other ports (none: as they stand)."""
    if not ports:
        return commands
    for port, other in ports.items():
        commands = re.sub(rf"(127\.0\.0\.1:){port}\b", rf"\g<1>{other}", commands)
    listen = {"mock-provider": f"--listen 127.0.0.1:{ports['9900']}",
              "up": f"--listen 127.0.0.1:{ports['10000']} --admin 127.0.0.1:{ports['9090']}"}  # fmt: skip
    for name, flags in listen.items():
        commands = re.sub(rf"^(\S*spendgate {name}\b.*) &$", rf"\1 {flags} &", commands, flags=re.MULTILINE)
    own = f"spendgate budget --url http://127.0.0.1:{ports['10000']} "
    return commands.replace("spendgate budget ", own)


class Terminal:
    """A shell that stays: its variables and its jobs are there for the next block."""

    def __init__(self, folder: Path, path: str) -> None:
        self.folder, self.text, self._count = folder, "", 0
        env = {"PATH": path, "HOME": str(folder), "TMPDIR": str(folder), "LANG": "C.UTF-8", "TERM": "dumb",
               "HTTPS_PROXY": NOWHERE, "HTTP_PROXY": NOWHERE, "NO_PROXY": "127.0.0.1"}  # fmt: skip
        self._bash = subprocess.Popen(
            ["bash"], cwd=folder, env=env, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._bash.stdout is not None
        for line in self._bash.stdout:
            self.text += line

    def run(self, commands: str) -> tuple[int, str]:
        """The status of a block and what was printed meanwhile. What it starts in the background must say that it is
        ready. Raises TimeoutError."""
        self._count += 1
        script, mark = self.folder / f"block-{self._count}.sh", f"<<block {self._count} "
        script.write_text(commands)
        began, ready = len(self.text), self.text.count(READY)
        assert self._bash.stdin is not None
        self._bash.stdin.write(f"source {shlex.quote(str(script))} </dev/null\necho '{mark}'$?\n")
        self._bash.stdin.flush()
        ready += len(re.findall(r" &$", commands, re.MULTILINE))
        until = time.monotonic() + 120
        while (found := re.search(rf"{mark}(\d+)", self.text)) is None or self.text.count(READY) < ready:
            if time.monotonic() > until or self._bash.poll() is not None:
                raise TimeoutError(f"{commands}\n{self.text[began:]}")
            time.sleep(0.05)
        return int(found[1]), self.text[began:]

    def close(self) -> None:
        """End what runs in the background, and the shell."""
        self.run("kill $(jobs -p); wait")
        assert self._bash.stdin is not None
        self._bash.stdin.close()
        self._bash.wait(60)


def shim(folder: Path) -> None:
    """The command `claude` of tests/agents, where it is installed."""
    if CLAUDE.exists():
        import playwright

        node = Path(playwright.__file__).parent / "driver" / "node"
        folder.mkdir()
        (folder / "claude").write_text(
            f'#!/bin/sh\nexec {shlex.quote(str(node))} {shlex.quote(str(CLAUDE))} "$@"\n'
        )
        (folder / "claude").chmod(0o755)


def run(folder: Path, ports: Mapping[str, str]) -> list[str]:
    """Run every block in `folder`, which has `.venv`; what was wrong."""
    shim(folder / "bin")
    wrong = []
    terminal = Terminal(folder, f"{folder / 'bin'}:/usr/local/bin:/usr/bin:/bin")
    try:
        for block in blocks():
            began = time.monotonic()
            status, output = terminal.run(with_ports(block.commands, ports))
            print(f"{time.monotonic() - began:6.1f} s  {block.commands.splitlines()[-1]}", flush=True)
            if (status != 0) != ("(429)" in block.shown):
                wrong.append(f"status {status}: {block.commands}\n{output}")
            wrong += [f"not shown: {line!r}, but:\n{output}" for line in missing(block.shown, output)]
        status, output = terminal.run(ending())
        if status != 0:
            wrong.append(f"still running after {ending().splitlines()[0]}:\n{output}")
    finally:
        terminal.close()
    return wrong


def main() -> int:
    """Exit 1 where a block does not do what README says, or all of them take ten minutes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--venv", type=Path, help="an installation to use, instead of `make setup`")
    options = parser.parse_args()
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="spendgate-readme-"))
    try:
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder / "clone")], check=True)
        if options.venv:
            (folder / "clone/.venv").symlink_to(options.venv.resolve())
        else:
            subprocess.run(["make", "setup"], cwd=folder / "clone", check=True)
        wrong = run(folder / "clone", {})
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    seconds = time.monotonic() - began
    if seconds > LONGEST_S:
        wrong.append(f"took {seconds:.0f} s")
    print("\n".join(wrong) or f"README does what it says, in {seconds:.0f} s")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
