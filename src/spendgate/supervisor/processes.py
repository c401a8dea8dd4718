"""Child processes that live and die with us: started, watched, started again when they die, ended in order."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import structlog

from spendgate.children import dying_with_parent
from spendgate.gateway.process.heartbeat import FD

log = structlog.get_logger()

BACKOFF_S = (0.0, 0.2, 0.5, 1.0, 2.0, 5.0)
STEADY_S = 30.0
"""A child that lived so long starts its back-off anew."""
START_S = 60.0
"""How long a child may take to its first beat, and one that is to end to its end."""


class Child:
    """One child process with a log file of its own; `log_path` None: it shares our output. `silence_s`: one that
    beats (gateway.heartbeat) hangs when it was silent for longer; 0: it does not beat."""

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        log_path: Path | None,
        env: Mapping[str, str] | None = None,
        silence_s: float = 0.0,
    ):
        self.name = name
        self.log_path = log_path
        self.restarts = 0
        self._argv = list(argv)
        self._env = {**os.environ, **(env or {})}
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._failures = 0
        self._again_at = 0.0
        self._silence_s = silence_s
        self._young, self._ending = True, False
        self._pulse = -1
        self._heard_s = 0.0

    @property
    def pid(self) -> int:
        """Its process id, 0 before the start."""
        return self._process.pid if self._process else 0

    def alive(self) -> bool:
        """Does it run?"""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it; its output goes to the end of its log."""
        with contextlib.ExitStack() as closing:
            out = None
            if self.log_path is not None:
                self.log_path.parent.mkdir(parents=True, exist_ok=True)
                out = closing.enter_context(self.log_path.open("ab"))
            env: Mapping[str, str] = self._env
            inherited: tuple[int, ...] = ()
            if self._silence_s:
                if self._pulse >= 0:
                    os.close(self._pulse)
                self._pulse, theirs = os.pipe()
                os.set_blocking(self._pulse, False)
                closing.callback(os.close, theirs)
                env, inherited = {**env, FD: str(theirs)}, (theirs,)
            self._process = subprocess.Popen(
                dying_with_parent(self._argv),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env=env,
                pass_fds=inherited,
                start_new_session=True,  # Ctrl-C is for us: we end our children in order
            )
        self._started = self._heard_s = time.monotonic()
        self._young, self._ending = True, False

    def hangs(self, now_s: float) -> bool:
        """Does it live, and was it silent for too long (monotonic clock)?"""
        if not self._silence_s or not self.alive():
            return False
        with contextlib.suppress(BlockingIOError):
            if os.read(self._pulse, 65536):
                self.forgive(now_s)
                self._young = False
        patience_s = START_S if self._young or self._ending else 0.0
        return now_s - self._heard_s > max(self._silence_s, patience_s)

    def forgive(self, now_s: float) -> None:
        """Begin to count its silence anew."""
        self._heard_s = now_s

    def kill(self) -> None:
        """End it at once, whatever it does."""
        if self._process is not None:
            self._process.kill()

    def revive(self) -> int:
        """Start it again if it died and its back-off is over. Returns the dead one's pid, else 0."""
        if self._process is None or self.alive():
            return 0
        now = time.monotonic()
        if not self._again_at:
            if now - self._started > STEADY_S:
                self._failures = 0
            wait = BACKOFF_S[min(self._failures, len(BACKOFF_S) - 1)]
            self._failures += 1
            self._again_at = now + wait
            log.error("child_died", child=self.name, pid=self.pid, status=self._process.returncode)
        if now < self._again_at:
            return 0
        dead = self.pid
        self._again_at = 0.0
        self.restarts += 1
        self.start()
        log.warning("child_restarted", child=self.name, pid=self.pid)
        return dead

    def signal(self, number: int = signal.SIGTERM) -> None:
        """Send a signal, if it runs."""
        if self._process is not None and self.alive():
            self._ending = self._ending or number == signal.SIGTERM
            self._process.send_signal(number)

    def wait(self, timeout_s: float) -> bool:
        """Wait for its end; kill it when it takes longer. True where it went by itself."""
        if self._process is None:
            return True
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            return False
        return True

    def tail(self, lines: int = 8) -> str:
        """The last lines of its log, for an error message."""
        if self.log_path is None:
            return "(it logs to this output)"
        try:
            text = self.log_path.read_text(errors="replace")
        except OSError:
            return ""
        return "\n".join(text.splitlines()[-lines:])
