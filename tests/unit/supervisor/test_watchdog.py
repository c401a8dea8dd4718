"""Who hangs is ended: by the worker's own silence, never because the machine stood still."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.processes import until

from spendgate.gateway.process.heartbeat import FD
from spendgate.supervisor.processes import START_S, Child
from spendgate.supervisor.watchdog import AGAIN_S, Watchdog

BEATS = f"import os, time; os.write(int(os.environ['{FD}']), b'.'); time.sleep(600)"
MUTE = "import time; time.sleep(600)"
SILENCE_S = 6.0


class Clock:
    """Children, a watchdog over them, and when it looks."""

    def __init__(self, *children: Child) -> None:
        self.kills = 0
        self.children = children
        self.dog = Watchdog(children, self._killed)
        for child in children:
            child.start()
        self.began = time.monotonic()

    def _killed(self) -> None:
        self.kills += 1

    def look(self, after_s: float, late_s: float = 0.0) -> int:
        """The kills so far, after a look."""
        self.dog.look(self.began + after_s, late_s)
        return self.kills


def child(code: str) -> Child:
    return Child("w", [sys.executable, "-c", code], None, silence_s=SILENCE_S)


@pytest.fixture
def beating() -> Iterator[Clock]:
    clock = Clock(child(BEATS))
    heard = clock.children[0]
    # its beat is in the pipe: looked at, it is young no more
    until(lambda: (heard.hangs(clock.began), heard._young), lambda seen: not seen[1], "a beat")
    yield clock
    heard.kill()
    heard.wait(10)


def test_a_silent_worker_is_killed_once_a_minute_at_most(beating: Clock) -> None:
    assert beating.look(SILENCE_S - 0.1) == 0
    assert beating.look(SILENCE_S + 0.1) == 1
    [worker] = beating.children
    until(worker.alive, lambda alive: not alive, "its end")
    assert worker.revive()
    until(lambda: (worker.hangs(beating.began + 7), worker._young), lambda seen: not seen[1], "a beat")
    assert beating.look(7 + SILENCE_S + 1) == 1
    assert beating.look(SILENCE_S + AGAIN_S + 1) == 2


def test_a_machine_that_stood_still_is_nobodys_fault(beating: Clock) -> None:
    assert beating.look(100, late_s=95) == 0
    assert beating.look(100 + SILENCE_S - 0.1) == 0
    assert beating.look(100 + SILENCE_S + 0.1) == 1


def test_a_worker_has_time_to_start() -> None:
    clock = Clock(child(MUTE))
    assert clock.look(SILENCE_S + 1) == 0
    assert clock.look(START_S + 1) == 1
    clock.children[0].wait(10)


def test_what_does_not_beat_is_left_alone(tmp_path: Path) -> None:
    envoy = Child("envoy", [sys.executable, "-c", MUTE], tmp_path / "log", dict(os.environ))
    clock = Clock(envoy)
    assert clock.look(10_000) == 0
    envoy.kill()
    envoy.wait(10)
