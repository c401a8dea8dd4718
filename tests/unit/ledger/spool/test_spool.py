from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import zlib
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.asks import end, void
from support.fake_ledger import FakeLedger

from spendgate.errors import ConfigurationError, LedgerError, LedgerUnavailable
from spendgate.ledger.exchanges import Settlement
from spendgate.ledger.spool.journal import write_settlement
from spendgate.ledger.spool.spool import Spool


def ends(*ids: int) -> list[Settlement]:
    return [end(f"x{i}", i, usage={"input": i}, scopes=(("month", "month"), ("app:a", "month"))) for i in ids]


async def test_what_was_appended_is_replayed_whole_and_in_order(tmp_path: Path) -> None:
    spool, ledger = Spool(tmp_path, "w1"), FakeLedger()
    spool.append([*ends(1, 2), void("x3")])
    assert spool.depth() == 3
    assert await spool.replay(ledger) == 3
    assert ledger.taken == [*ends(1, 2), void("x3")]
    assert spool.depth() == 0
    assert (tmp_path / "w1.jsonl").stat().st_size == 0
    assert await spool.replay(ledger) == 0


async def test_a_restart_finds_what_the_last_run_left(tmp_path: Path) -> None:
    first = Spool(tmp_path, "w1")
    first.append(ends(1, 2))
    first.close()
    second, ledger = Spool(tmp_path, "w1"), FakeLedger()
    assert second.depth() == 2
    assert await second.replay(ledger) == 2
    assert ledger.taken == ends(1, 2)


async def test_what_was_acknowledged_before_a_failure_is_not_sent_again_even_by_the_next_run(
    tmp_path: Path,
) -> None:
    spool, ledger = Spool(tmp_path, "w1"), FakeLedger(takes=450)
    spool.append(ends(*range(500)))
    with pytest.raises(LedgerUnavailable):
        await spool.replay(ledger)
    assert spool.depth() == 100
    spool.append(ends(500))
    spool.close()
    again = Spool(tmp_path, "w1")
    assert again.depth() == 101
    ledger.takes = 10**6
    assert await again.replay(ledger) == 101
    assert ledger.taken == ends(*range(501))


async def test_settlements_appended_during_a_replay_are_kept(tmp_path: Path) -> None:
    spool = Spool(tmp_path, "w1")

    class Adding(FakeLedger):
        async def settle(self, batch: list[Settlement], now_ms: int = 0) -> list[str]:
            if not self.taken:
                spool.append(ends(9))
            return await super().settle(batch, now_ms)

    ledger = Adding()
    spool.append(ends(1))
    assert await spool.replay(ledger) == 2
    assert ledger.ids == ["x1", "x9"]


@settings(deadline=None)
@given(st.data())
async def test_a_crash_at_any_byte_loses_no_whole_line(data: st.DataObject) -> None:
    lines = [write_settlement(s) for s in ends(1, 2, 3)]
    whole = b"".join(lines)
    cut = data.draw(st.integers(0, len(whole)))
    complete = whole[:cut].count(b"\n")
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "w1.jsonl").write_bytes(whole[:cut])
        spool, ledger = Spool(folder, "w1"), FakeLedger()
        assert spool.torn == (0 if whole[:cut].endswith(b"\n") or not cut else 1)
        spool.append(ends(7))
        await spool.replay(ledger)
        spool.close()
    assert ledger.taken == [*ends(1, 2, 3)[:complete], *ends(7)]
    assert spool.corrupt == 0


@settings(deadline=None)
@given(st.data())
async def test_a_changed_byte_never_changes_an_amount_and_never_vanishes(data: st.DataObject) -> None:
    lines = [write_settlement(s) for s in ends(1, 2, 3)]
    whole = bytearray(b"".join(lines))
    at = data.draw(st.integers(0, len(whole) - 2))
    whole[at] ^= data.draw(st.integers(1, 255))
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "w1.jsonl").write_bytes(whole)
        spool, ledger = Spool(folder, "w1"), FakeLedger()
        await spool.replay(ledger)
        spool.close()
        bad = (Path(folder) / "w1.bad").read_bytes()
    assert all(s in ends(1, 2, 3) for s in ledger.taken)
    assert len(ledger.taken) in (1, 2)
    assert spool.corrupt >= 1
    kept = b"".join(line for s, line in zip(ends(1, 2, 3), lines, strict=True) if s in ledger.taken)
    assert len(bad) + len(kept) == len(whole)


async def test_a_corrupt_line_is_quarantined_once_over_restarts(tmp_path: Path) -> None:
    good = [write_settlement(s) for s in ends(1, 2)]
    (tmp_path / "w1.jsonl").write_bytes(good[0] + b"garbage\n" + good[1])
    for _ in range(3):
        spool = Spool(tmp_path, "w1")
        assert (spool.depth(), spool.corrupt) == (2, 1)
        spool.close()
    assert (tmp_path / "w1.bad").read_bytes() == b"garbage\n"


async def test_a_worker_whose_file_another_adopted_takes_the_next_name(tmp_path: Path) -> None:
    former = Spool(tmp_path, "w1")
    former.append(ends(1))
    former.close()
    other = Spool(tmp_path, "w0")
    assert other.depth() == 1  # adopted at its start, before w1 is back
    back, ledger = Spool(tmp_path, "w1"), FakeLedger()
    back.append(ends(2))
    assert names_in(tmp_path) == ["w0.jsonl", "w1-2.jsonl", "w1.jsonl"]
    assert await other.replay(ledger) + await back.replay(ledger) == 2
    assert ledger.taken == ends(1, 2)
    assert names_in(tmp_path) == ["w0.jsonl", "w1-2.jsonl"]
    back.close()
    again = Spool(tmp_path, "w1")
    assert names_in(tmp_path) == ["w0.jsonl", "w1.jsonl"]
    again.close()


def test_a_folder_that_can_not_be_made_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="--data-dir"):
        Spool(tmp_path / "file" / "spool", "w1")


@pytest.mark.parametrize("name", ["", "../w", "a/b", ".hidden", "a b"])
def test_a_worker_name_that_can_not_name_a_file_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot name a file"):
        Spool(tmp_path, name)


def die_with_one_settlement(folder: Path) -> None:
    script = (
        "import os, sys; from support.asks import end; from spendgate.ledger.spool.spool import Spool\n"
        "Spool(sys.argv[1], 'dead').append([end('x2', 2, usage={'input': 2},"
        " scopes=(('month', 'month'), ('app:a', 'month')))]); os._exit(9)"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    subprocess.run([sys.executable, "-c", script, str(folder)], env=environment, check=False)


def names_in(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


async def test_the_file_of_a_dead_worker_is_adopted_and_that_of_a_living_one_left_alone(
    tmp_path: Path,
) -> None:
    living = Spool(tmp_path, "living")
    living.append(ends(1))
    die_with_one_settlement(tmp_path)
    heir, ledger = Spool(tmp_path, "heir"), FakeLedger()
    assert await heir.replay(ledger) == 1
    assert ledger.taken == ends(2)
    assert names_in(tmp_path) == ["heir.jsonl", "living.jsonl"]
    assert living.depth() == 1


async def test_an_adopted_file_survives_a_failed_replay(tmp_path: Path) -> None:
    dead = Spool(tmp_path, "dead")
    dead.append(ends(1))
    dead.close()
    heir, ledger = Spool(tmp_path, "heir"), FakeLedger(takes=0)
    with pytest.raises(LedgerUnavailable):
        await heir.replay(ledger)
    assert heir.depth() == 1
    ledger.takes = 10
    assert await heir.replay(ledger) == 1
    assert not (tmp_path / "dead.jsonl").exists()


def test_a_closed_empty_spool_leaves_no_file(tmp_path: Path) -> None:
    Spool(tmp_path, "w1").close()
    assert list(tmp_path.iterdir()) == []


def test_a_full_spool_says_so(tmp_path: Path) -> None:
    spool = Spool(tmp_path, "w1", bytes_max=10)
    spool.append(ends(1))
    with pytest.raises(LedgerError, match="full"):
        spool.append(ends(2))
    assert spool.depth() == 1


def test_a_write_that_fails_half_way_leaves_the_file_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(tmp_path, "w1")
    spool.append(ends(1))
    size = (tmp_path / "w1.jsonl").stat().st_size
    real = os.write
    with monkeypatch.context() as m:
        m.setattr(os, "write", lambda fd, data: real(fd, data[: len(data) // 2]))
        with pytest.raises(LedgerError, match="free space"):
            spool.append(ends(2))
    assert (tmp_path / "w1.jsonl").stat().st_size == size
    assert spool.depth() == 1


async def test_names_that_are_not_utf8_are_kept_as_the_ledger_stores_them(tmp_path: Path) -> None:
    spool, ledger = Spool(tmp_path, "w1"), FakeLedger()
    spool.append([end("x1", 1, team="a\ud800", app="\udfff", model="m\x1f")])
    await spool.replay(ledger)
    assert [(s.team, s.app, s.model) for s in ledger.taken] == [("a?", "?", "m?")]


V0 = (
    b'{"exchange_id":"old","team":"red","app":"a","model":"m","cost_nanousd":7,"usage":{"input":3},"at_ms":5,'
)
V0 += b'"release":false,"scopes":[["month","month"]]}'
"""What the first release wrote."""


def line(body: bytes) -> bytes:
    return b"%08x %s\n" % (zlib.crc32(body), body)


async def test_a_spool_of_the_first_release_is_read(tmp_path: Path) -> None:
    (tmp_path / "w1.jsonl").write_bytes(line(V0))
    spool, ledger = Spool(tmp_path, "w1"), FakeLedger()
    assert await spool.replay(ledger) == 1
    assert ledger.taken == [
        Settlement("old", "red", "a", "m", 7, {"input": 3}, 5, False, (("month", "month"),))
    ]
    assert spool.corrupt == 0


async def test_what_a_later_release_of_the_same_form_added_is_let_go(tmp_path: Path) -> None:
    later = b'{"v":1,"colour":"blue",' + V0[1:]
    (tmp_path / "w1.jsonl").write_bytes(line(later))
    spool, ledger = Spool(tmp_path, "w1"), FakeLedger()
    assert await spool.replay(ledger) == 1
    assert (ledger.ids, spool.corrupt) == (["old"], 0)


async def test_a_spool_of_a_newer_form_is_left_alone_byte_for_byte(tmp_path: Path) -> None:
    newer = line(V0) + line(b'{"v":2,"money":"7"}') + b"torn"
    (tmp_path / "w1.jsonl").write_bytes(newer)
    (tmp_path / "w9.jsonl").write_bytes(newer)
    spool, ledger = Spool(tmp_path, "w1"), FakeLedger()
    spool.append(ends(1))
    assert await spool.replay(ledger) == 1
    spool.close()
    assert ledger.ids == ["x1"]
    for name in ("w1", "w9"):
        assert (tmp_path / f"{name}.jsonl").read_bytes() == newer
    assert not list(tmp_path.glob("*.bad"))


async def test_when_it_was_counted_comes_back_with_it(tmp_path: Path) -> None:
    spool, ledger = Spool(tmp_path, "w1"), FakeLedger()
    counted = replace(ends(1)[0], counted_us=1234)
    spool.append([counted])
    await spool.replay(ledger)
    assert ledger.taken == [counted]
