"""A worker gives a team back what its replica remembered at the loss, once, before the ledger decides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

from spendgate.gateway.ledger_watch import LedgerWatch
from spendgate.ledger.accounts import Restored
from spendgate.ledger.recovery.checkpoint import Checkpoint, TeamMemory
from spendgate.ledger.recovery.heartbeat import Epoch

MONTH = "202611"


class Ledger:
    def __init__(self) -> None:
        self.number = 1
        self.restored: list[tuple[str, dict[str, Any]]] = []

    async def epoch(self, *arguments: Any) -> list[Any]:
        return [b"e%d" % self.number, b"%d" % self.number, b"lost", b"0", b"1", b"1000"]

    async def shard_beats(self, process: str, beat: int) -> list[int]:
        return []

    async def restore(self, asked: list[tuple[str, bytes]]) -> list[Restored]:
        self.restored += [(team, orjson.loads(argument)) for team, argument in asked]
        return []


def memory(number: int, nano: int) -> Checkpoint:
    team = TeamMemory(5, ((f"b:month:{MONTH}", "month", nano),))
    return Checkpoint(Epoch(f"e{number}", number), "p", 1, MONTH, {"red": team})


async def test_each_team_once_and_from_what_was_known_at_the_loss(tmp_path: Path) -> None:
    path, ledger, lost = tmp_path / "memory.json", Ledger(), []
    memory(1, 100).write(path)

    async def when_lost() -> None:
        lost.append(ledger.number)

    standing = LedgerWatch(ledger, path, when_lost)
    await standing.look()
    await standing.restore("red")
    assert (lost, ledger.restored) == ([], [])
    ledger.number = 2
    await standing.look()
    assert lost == [2]
    memory(2, 7).write(path)  # the supervisor reads on, in the new epoch
    assert standing.remembered("red", MONTH) == 7
    for _ in range(2):
        await standing.restore("red")
        await standing.restore("blue")
    [(team, argument)] = ledger.restored
    assert (team, argument["n"], argument["b"][0][2]) == ("red", 2, 100)


async def test_where_the_supervisor_was_faster_nothing_is_left_to_give_back(tmp_path: Path) -> None:
    path, ledger = tmp_path / "memory.json", Ledger()
    memory(1, 100).write(path)

    async def when_lost() -> None: ...

    standing = LedgerWatch(ledger, path, when_lost)
    await standing.look()
    memory(2, 100).write(path)
    ledger.number = 2
    await standing.look()
    await standing.restore("red")
    assert ledger.restored == []


async def test_what_is_remembered_is_read_again_when_it_was_written_again(tmp_path: Path) -> None:
    path = tmp_path / "memory.json"

    async def when_lost() -> None: ...

    standing = LedgerWatch(Ledger(), path, when_lost)
    assert standing.remembered("red", MONTH) == 0
    memory(1, 5).write(path)
    assert standing.remembered("red", MONTH) == 5
    assert standing.remembered("red", "202610") == 0
    path.write_bytes(b"{torn")
    assert standing.remembered("red", MONTH) == 0
