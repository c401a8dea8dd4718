"""Usage logs as they grow, turn over and are packed: each line counts once, and users are where they spent."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from spendgate.console import usage_index
from spendgate.console.cube import Where
from spendgate.console.usage_index import OTHERS, UsageIndex
from spendgate.finops.log_cells import cells_of
from spendgate.pricing.load import table
from spendgate.records.outcome import ChargedBy, Outcome
from spendgate.records.reader import read
from spendgate.records.record import UsageRecord

NOW = 1_795_000_000_000
"""2026-11-18T11:06:40Z."""
DAY_MS = 86_400_000
ALL = Where("20260101", "20261231")
PRICES = table()


def line(name: str, nano: int = 5, user: str = "kim", at_ms: int = NOW, **more: Any) -> bytes:
    record = UsageRecord(
        name, "", at_ms, "red", "chat", user, "", "openai-chat", "gpt-4o", "gpt-4o", "", {"input": 10}, nano, nano, "v",
        "allow", "as_requested", Outcome.COMPLETE, charged_by=ChargedBy.USAGE,
    )  # fmt: skip
    return replace(record, **more).line() + b"\n"


def index(*paths: Path, file: Path | None = None) -> UsageIndex:
    return UsageIndex(paths, file, lambda: PRICES)


def whole(of: UsageIndex) -> UsageIndex:
    while not of.step(NOW):
        pass
    return of


def spent(of: UsageIndex) -> dict[str, int]:
    return of.cube.costs("user", ALL)


def test_lines_are_added_as_they_come_and_half_a_line_waits(tmp_path: Path) -> None:
    log = tmp_path / "usage.jsonl"
    log.write_bytes(line("a") + line("b", user="ann") + line("c")[:40])
    of = index(log)
    assert not of.progress.is_whole and of.progress.share == 0
    whole(of)
    assert spent(of) == {"kim": 5, "ann": 5}
    assert not of.progress.is_whole and 0.5 < of.progress.share < 1
    log.write_bytes(line("a") + line("b", user="ann") + line("c"))
    assert spent(whole(of)) == {"kim": 10, "ann": 5}
    assert of.progress.is_whole and (of.progress.lines, of.progress.bad) == (3, 0)
    assert of.first_day() == "20261118"


def rename(log: Path) -> None:
    log.rename(log.with_name("usage-20261118T110000.000000Z.jsonl"))


def pack(log: Path) -> None:
    aside = log.with_name("usage-20261118T110000.000000Z.jsonl.gz")
    aside.write_bytes(gzip.compress(log.read_bytes()))
    log.unlink()


def copy_and_empty(log: Path) -> None:
    shutil.copy(log, log.with_name("usage-20261118T110000.000000Z.jsonl"))
    log.write_bytes(b"")


@pytest.mark.parametrize("turn", [rename, pack, copy_and_empty])
@pytest.mark.parametrize("seen", [True, False])
def test_no_line_counts_twice_or_is_lost_when_the_log_turns_over(
    tmp_path: Path, turn: Callable[[Path], None], seen: bool
) -> None:
    log = tmp_path / "usage.jsonl"
    log.write_bytes(b"".join(line(f"a{n}") for n in range(50)))
    of = index(log)
    if seen:
        whole(of)
        with log.open("ab") as file:
            file.write(line("late"))
    turn(log)
    with log.open("ab") as file:
        file.write(line("new", user="ann"))
    assert spent(whole(of)) == {"kim": 5 * (51 if seen else 50), "ann": 5}
    assert of.progress.is_whole


def test_a_restart_reads_on_where_it_was_and_another_version_begins_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, file = tmp_path / "usage.jsonl", tmp_path / "index.sqlite"
    log.write_bytes(line("a"))
    whole(index(log, file=file)).cube.close()
    with log.open("ab") as more:
        more.write(line("b"))
    again = whole(index(log, file=file))
    assert spent(again) == {"kim": 10}
    again.cube.close()
    monkeypatch.setattr(usage_index, "VERSION", 99)
    newer = whole(index(log, file=file))
    assert spent(newer) == {"kim": 10}
    newer.cube.close()
    file.write_bytes(b"no database at all, but long enough to be taken for one" * 100)
    assert spent(whole(index(log, file=file))) == {"kim": 10}


def test_the_true_cost_takes_the_place_of_an_expired_hold_also_after_a_restart(tmp_path: Path) -> None:
    log, file = tmp_path / "usage.jsonl", tmp_path / "index.sqlite"
    expired = line("e", 900, user="", outcome=Outcome.UNMETERED, unmetered="expired", tokens={})
    log.write_bytes(expired + line("a"))
    first = whole(index(log, file=file))
    assert first.cube.sums(ALL).cost_nanousd == 905
    first.cube.close()
    with log.open("ab") as more:
        more.write(line("e", 7, user="ann"))
    of = whole(index(log, file=file))
    assert {u: n for u, n in spent(of).items() if n} == {"kim": 5, "ann": 7}
    assert of.cube.sums(ALL).requests == 2


def test_it_adds_up_to_what_reports_read_from_the_same_log(tmp_path: Path) -> None:
    log = tmp_path / "usage.jsonl"
    log.write_bytes(
        line("a")
        + line("b", 0, outcome=Outcome.FAILED, tokens={})
        + line(
            "c", 0, outcome=Outcome.REFUSED, tokens={}, decision="reject", reason="monthly_budget_exceeded"
        )
        + line("d", 50, outcome=Outcome.UNMETERED, unmetered="expired", tokens={})
        + line("d", 9, saved_nanousd=-3, tokens={"cached_input": 10**6, "output": 3})
        + line("f", 4, at_ms=NOW - 30 * DAY_MS)
    )
    of = whole(index(log))
    for month in ("202610", "202611"):
        cells, sums = cells_of(read([log]), month), of.cube.sums(Where(f"{month}01", f"{month}31"))
        assert sums.cost_nanousd == sum(c.cost_nanousd for c in cells)
        assert sums.requests == sum(c.requests for c in cells)
        assert sums.refused == sum(c.refused for c in cells)
        assert sums.saved_nanousd == sum(c.saved_nanousd for c in cells)
    assert of.cube.sums(ALL).cached_nanousd > 0


def test_bad_lines_are_counted_and_the_rest_is_read(tmp_path: Path) -> None:
    log = tmp_path / "usage.jsonl"
    log.write_bytes(line("a") + b"not json\n\n" + b'{"team": 3}\n' + line("b"))
    of = whole(index(log))
    assert (of.progress.bad, spent(of)) == (2, {"kim": 10})


def test_users_without_end_are_counted_together_and_no_money_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usage_index, "USERS_MAX", 10)
    monkeypatch.setattr(usage_index, "STEP_BYTES", 3000)
    log = tmp_path / "usage.jsonl"
    log.write_bytes(b"".join(line(f"x{n}", user=f"user-{n % 40}") for n in range(200)))
    found = spent(whole(index(log)))
    assert sum(found.values()) == 1000
    assert len(found) == 11 and found[OTHERS] > 0
    assert all(n == 25 for u, n in found.items() if u != OTHERS)


def test_a_large_log_is_read_in_pieces_whatever_their_edges(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "usage.jsonl"
    data = b"".join(line(f"x{n}", n, user="ü" * (n % 7)) for n in range(300))
    log.write_bytes(data)
    wanted = sum(range(300))
    for size in (1, 100, 4096, len(data), len(data) * 2):
        monkeypatch.setattr(usage_index, "STEP_BYTES", size)
        assert sum(spent(whole(index(log))).values()) == wanted
    packed = tmp_path / "usage-20261118T110000.000000Z.jsonl.gz"
    packed.write_bytes(gzip.compress(data))
    log.unlink()
    monkeypatch.setattr(usage_index, "STEP_BYTES", 4096)
    assert sum(spent(whole(index(log))).values()) == wanted


def test_old_days_are_let_go(tmp_path: Path) -> None:
    log = tmp_path / "usage.jsonl"
    log.write_bytes(line("old", at_ms=NOW - 401 * DAY_MS) + line("new"))
    assert spent(whole(index(log))) == {"kim": 5}


async def test_a_log_that_cannot_be_read_is_said_and_tried_again(tmp_path: Path) -> None:
    log = tmp_path / "usage.jsonl"
    log.mkdir()
    of = index(log)
    await of.nudge(NOW)
    assert "directory" in of.progress.problem.lower() and not of.progress.is_whole
    log.rmdir()
    log.write_bytes(line("a"))
    await of.nudge(NOW + 60_000)
    assert of.progress.is_whole and spent(of) == {"kim": 5}


def test_where_no_file_can_be_made_the_logs_are_read_all_the_same(tmp_path: Path) -> None:
    log = tmp_path / "usage.jsonl"
    log.write_bytes(line("a"))
    assert spent(whole(index(log, file=tmp_path / "nowhere" / "index.sqlite"))) == {"kim": 5}
