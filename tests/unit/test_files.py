"""What outlives a process is written whole or not at all, and is on the disk before it counts."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from spendgate.alerts.memory import AlertMemory as AlertMemory
from spendgate.files import write_whole
from spendgate.identity import key_file
from spendgate.ledger.recovery.checkpoint import Checkpoint as LedgerMemory
from spendgate.supervisor.state import StateFile


def state(folder: Path) -> None:
    StateFile(1, "redis://x", "127.0.0.1:1", "127.0.0.1:2", (), ()).write(folder)


def alerts(folder: Path) -> None:
    memory = AlertMemory(folder)
    memory.note("202611", "red", {"~": "1"})
    memory.save()


def keys(folder: Path) -> None:
    with key_file.editing(folder / "keys.yaml") as rings:
        rings.append(rings[0])


WRITERS: dict[str, Callable[[Path], None]] = {
    "up.json": state,
    "ledger-memory.json": lambda folder: LedgerMemory().write(folder / "ledger-memory.json"),
    "alerts.json": alerts,
    "keys.yaml": keys,
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_file_and_its_name_are_on_the_disk_when_it_is_written(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: set[int] = set()
    to_disk = os.fsync

    def spying(fd: int) -> None:
        to_disk(fd)
        synced.add(os.fstat(fd).st_ino)

    monkeypatch.setattr(os, "fsync", spying)
    WRITERS[name](tmp_path)
    assert (tmp_path / name).stat().st_ino in synced
    assert tmp_path.stat().st_ino in synced
    assert [p.name for p in tmp_path.iterdir() if p.name.endswith(".new")] == []


def test_a_write_that_fails_leaves_the_old_file_and_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a"
    path.write_text("old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_whole(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_secret_is_never_readable_by_others(tmp_path: Path) -> None:
    write_whole(tmp_path / "a", "x", 0o600)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o600
