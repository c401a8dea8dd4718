"""The usage log's file: whole lines, whoever writes beside and whoever puts it aside."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import pytest

from spendgate.records.rotation import Rotation
from spendgate.records.writer import UsageLog, rotated

DAY_S = 86_400


def lines_of(*paths: Path) -> list[bytes]:
    return [line for p in paths for line in p.read_bytes().splitlines()]


def test_a_file_is_put_aside_at_its_size_and_no_line_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "log" / "usage.jsonl"
    log = UsageLog(str(path), Rotation(max_bytes=100))
    for i in range(50):
        log.write([b'{"n":%d}' % i])
    aside = rotated(path)
    assert len(aside) >= 3
    assert lines_of(*aside, path) == [b'{"n":%d}' % i for i in range(50)]
    assert all(100 <= p.stat().st_size < 120 for p in aside)


def test_a_file_is_put_aside_when_its_day_has_ended(tmp_path: Path) -> None:
    path = tmp_path / "usage.jsonl"
    now = [1_795_521_600.0]
    log = UsageLog(str(path), Rotation(every_ms=DAY_S * 1000), lambda: now[0])
    log.write([b"one"])
    os.utime(path, (now[0], now[0]))
    log.write([b"two"])
    os.utime(path, (now[0], now[0]))
    assert rotated(path) == []
    now[0] += DAY_S
    log.write([b"three"])
    (aside,) = rotated(path)
    assert (lines_of(aside), lines_of(path)) == ([b"one", b"two"], [b"three"])
    assert aside.name == "usage-20261125T120000.000000Z.jsonl"


def test_only_the_newest_that_were_put_aside_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "usage.jsonl"
    (tmp_path / "usage-notes.jsonl").write_text("mine")
    log = UsageLog(str(path), Rotation(max_bytes=1, keep=2))
    for i in range(6):
        log.write([b"%d" % i])
    assert lines_of(*rotated(path), path) == [b"3", b"4", b"5"]
    assert (tmp_path / "usage-notes.jsonl").exists()


def write_many(path: str, worker: int, count: int) -> None:
    log = UsageLog(path, Rotation(max_bytes=20_000))
    for i in range(count):
        log.write([b'{"w":%d,"i":%d,"j":%d}' % (worker, i, j) for j in range(3)])


def test_workers_that_rotate_one_file_lose_and_tear_no_line(tmp_path: Path) -> None:
    path = tmp_path / "usage.jsonl"
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=write_many, args=(str(path), w, 300)) for w in range(4)]
    for w in workers:
        w.start()
    for w in workers:
        w.join(120)
        assert w.exitcode == 0
    found = [json.loads(line) for line in lines_of(*rotated(path), path)]
    assert len(rotated(path)) >= 2
    assert len(found) == len({(x["w"], x["i"], x["j"]) for x in found}) == 4 * 300 * 3
    for n in range(4):  # each worker's lines in its own order
        assert [x["i"] for x in found if x["w"] == n] == sorted(x["i"] for x in found if x["w"] == n)


@pytest.mark.parametrize("way", ["rename", "copytruncate"])
def test_logrotate_may_do_it_either_way(way: str, tmp_path: Path) -> None:
    path, aside = tmp_path / "usage.jsonl", tmp_path / "usage.jsonl.1"
    log = UsageLog(str(path))
    log.write([b"one"])
    if way == "rename":
        path.rename(aside)
    else:
        aside.write_bytes(path.read_bytes())
        os.truncate(path, 0)
    log.write([b"two"])
    assert (lines_of(aside), lines_of(path)) == ([b"one"], [b"two"])


FULL = """
import resource, signal, sys
from spendgate.records.writer import UsageLog
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
log = UsageLog(sys.argv[1])
log.write([b"a" * 60])
try:
    log.write([b"b" * 60])
except OSError:
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    log.write([b"c" * 60])
"""


def test_a_batch_that_does_not_fit_is_taken_out_whole(tmp_path: Path) -> None:
    path = tmp_path / "usage.jsonl"
    subprocess.run([sys.executable, "-c", FULL, str(path)], check=True, timeout=60)
    assert lines_of(path) == [b"a" * 60, b"c" * 60]


def test_standard_output_and_nowhere(tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    UsageLog("-").write([b"x", b"y"])
    assert capfdbinary.readouterr().out == b"x\ny\n"
    off = UsageLog("off")
    off.write([b"x"])
    assert not off.is_on and list(tmp_path.iterdir()) == []
