"""`log tail`: the last lines, and every line to come, over rotation."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from support.usage_lines import record, write_log

from spendgate.cli.main import main
from spendgate.records.outcome import Outcome
from spendgate.records.tail import BLOCK, Tail, follow, last_lines


@pytest.mark.parametrize("count", [0, 1, 3, 7, 100])
@pytest.mark.parametrize("width", [1, 1000, BLOCK])
def test_the_last_lines_are_found_however_long_they_are(count: int, width: int, tmp_path: Path) -> None:
    path = tmp_path / "log"
    lines = [b"%d" % i + b"x" * width for i in range(7)]
    path.write_bytes(b"".join(line + b"\n" for line in lines) + b"torn")
    found, offset = last_lines(path, count)
    assert found == (lines[-count:] if count else [])
    if count:
        assert offset == path.stat().st_size - 4


def steps(*actions: Callable[[], object]) -> Callable[[], bool]:
    """Does the next action whenever the reader waits; ends after the last."""
    left = list(actions)

    def wait() -> bool:
        if not left:
            return False
        left.pop(0)()
        return True

    return wait


def test_lines_to_come_are_told_over_renames_truncation_and_writes_in_pieces(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"old\n")

    def add(data: bytes) -> Callable[[], object]:
        def act() -> None:
            with path.open("ab") as f:
                f.write(data)

        return act

    def rotate() -> None:
        with path.open("ab") as f:
            f.write(b"3\n")
        path.rename(tmp_path / "log.1")
        path.write_bytes(b"4\n")

    wait = steps(
        add(b"1\n2"), add(b"b\n"), rotate, lambda: os.truncate(path, 0), add(b"5\n"),
        lambda: path.rename(tmp_path / "log.2"), lambda: path.write_bytes(b"6\n7\n"),
    )  # fmt: skip
    assert list(follow(path, 4, wait)) == [b"1", b"2b", b"3", b"4", b"5", b"6", b"7"]


def test_files_that_were_put_aside_between_two_looks_are_all_read(tmp_path: Path) -> None:
    path = tmp_path / "usage.jsonl"
    path.write_bytes(b"old\n")
    tail = Tail(path)
    for i in range(3):
        with path.open("ab") as f:
            f.write(b"%d\n" % i)
        path.rename(tmp_path / f"usage-20261126T06150{i}.000000Z.jsonl")
    path.write_bytes(b"3\n")
    assert list(tail.lines()) == [b"0", b"1", b"2", b"3"]
    assert list(tail.lines()) == []
    tail.close()


def test_a_log_that_is_not_there_yet_is_read_from_its_beginning(tmp_path: Path) -> None:
    tail = Tail(tmp_path / "usage.jsonl")
    assert list(tail.lines()) == []
    (tmp_path / "usage.jsonl").write_bytes(b"1\ntor")
    assert list(tail.lines()) == [b"1"]
    tail.close()


def test_tail_filters_and_prints_lines_as_they_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    records = [
        record(1), record(2, team="blue"), record(3, outcome=Outcome.REFUSED, decision="reject", reason="why"),
        record(4, model="gpt-4o-mini", decision="route"),
    ]  # fmt: skip
    log = write_log(tmp_path / "usage.jsonl", records)
    main(["log", "tail", str(log), "-n", "3"])
    assert capsys.readouterr().out.encode() == b"".join(r.line() + b"\n" for r in records[1:])
    main(["log", "tail", "--data-dir", str(tmp_path), "--team", "red", "--outcome", "refused"])
    assert capsys.readouterr().out.encode() == records[2].line() + b"\n"
    main(["log", "tail", str(log), "--model", "gpt-4o-mini", "-o", "short"])
    assert (
        "red/chat gpt-4o → gpt-4o-mini complete route:within_budget $0.0035 input=1000"
        in capsys.readouterr().out
    )
    with pytest.raises(SystemExit) as e:
        main(["log", "tail", str(tmp_path / "none")])
    assert e.value.code == 1
    assert "No such file" in capsys.readouterr().err
