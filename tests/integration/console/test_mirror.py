"""What the console keeps of the ledger's days is what the ledger has, whatever moved since."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from spendgate.console.cube import Where
from spendgate.console.mirror import DAYS_FRESH_MS, FRESH_MS, Mirror
from spendgate.ledger.accounts import Adjustment
from spendgate.ledger.redis.codec import team_prefix
from spendgate.ledger.redis.ledger import RedisLedger

from .conftest import T0, USD, House

DAY_MS = 86_400_000
MONTHS = ["202610", "202611"]
ALL = Where("20261001", "20261130")


def mirror_of(house: House) -> Mirror:
    return Mirror(house.ledger, lambda: house.snapshot.prices)


async def same(mirror: Mirror, ledger: RedisLedger) -> bool:
    """Is every cell of both months as the ledger has it?"""
    teams = await ledger.teams()
    wanted = {
        (c.team, c.day, c.app, c.model): (c.requests, c.cost_nanousd, c.refused, c.adjusted_nanousd)
        for month in MONTHS
        for c in await ledger.cells(teams, month)
    }
    found = {
        (c.team, c.day, c.app, c.model): (c.requests, c.cost_nanousd, c.refused, c.adjusted_nanousd)
        for some in mirror.cube.cells(ALL)
        for c in some
    }
    return found == wanted


async def test_after_every_kind_of_change_the_mirror_is_the_ledger(house: House) -> None:
    mirror, chance, now = mirror_of(house), random.Random(3), T0
    for step in range(40):
        team, app = chance.choice(("red", "blue", "ü/ {x}")), chance.choice(("a", "b"))
        match chance.randrange(4):
            case 0:
                await house.spend(team, USD + step, app=app)
            case 1:
                day = chance.choice(("20261003", "20261031", "20261101", "20261117", "20261118"))
                await house.ledger.adjust([Adjustment(f"a{step}", team, USD, "more", app=app, day=day)], T0)
            case 2:  # money moves between apps, and the month's counter stays
                await house.ledger.adjust(
                    [
                        Adjustment(f"p{step}", team, USD, "here", app="a", day="20261031"),
                        Adjustment(f"q{step}", team, -USD, "not there", app="b", day="20261031"),
                    ],
                    T0,
                )
            case _:
                await house.spend(team, step + 1, app=app, model="o3")
        now += FRESH_MS
        await mirror.bring(MONTHS, now)
        assert await same(mirror, house.ledger), step


async def test_what_moves_no_money_is_seen_a_little_later(house: House) -> None:
    mirror = mirror_of(house)
    await house.spend("red", USD)
    await mirror.bring(MONTHS, T0)
    key = f"{team_prefix('red')}d:20261118"
    await house.ledger.calls.redis.hincrby(key, "chat\x1fo3\x1f!", 3)
    await mirror.bring(MONTHS, T0 + DAYS_FRESH_MS)
    assert mirror.cube.sums(ALL).refused == 3


async def test_days_that_did_not_move_are_not_read_again(house: House) -> None:
    mirror = mirror_of(house)
    for team in ("red", "blue", "green"):
        await house.spend(team, USD)
    await mirror.bring(MONTHS, T0)
    before = await _reads(house.ledger)
    await mirror.bring(MONTHS, T0 + FRESH_MS)
    idle = await _reads(house.ledger) - before
    await house.spend("red", USD, app="late")
    before = await _reads(house.ledger)
    await mirror.bring(MONTHS, T0 + 2 * FRESH_MS)
    assert await _reads(house.ledger) - before == idle + 2  # today and yesterday of one team
    assert await same(mirror, house.ledger)


async def test_what_is_spent_while_it_reads_has_no_whole_month_read_again(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror, balances = mirror_of(house), house.ledger.balances
    await house.spend("red", USD)
    await mirror.bring(MONTHS, T0)
    before = await _reads(house.ledger)
    await mirror.bring(MONTHS, T0 + FRESH_MS)
    idle = await _reads(house.ledger) - before

    async def meanwhile(teams: Sequence[str], month: str) -> list[tuple[int, int]]:
        found = await balances(teams, month)
        await house.spend("red", USD, app=f"meanwhile-{month}")
        return found

    await house.spend("red", USD, app="late")
    monkeypatch.setattr(house.ledger, "balances", meanwhile)
    before = await _reads(house.ledger)
    await mirror.bring(["202611"], T0 + 2 * FRESH_MS)
    assert await _reads(house.ledger) - before == idle + 2  # today and yesterday
    assert await same(mirror, house.ledger)


async def test_an_accounting_entry_is_part_of_the_reports_and_beside_the_counters(house: House) -> None:
    mirror = mirror_of(house)
    await house.spend("red", 5 * USD)
    await house.ledger.adjust([Adjustment("e", "red", 2 * USD, "a late bill", day="20261020", scopes=())], T0)
    await mirror.bring(MONTHS, T0)
    sums = mirror.cube.sums(ALL)
    assert (sums.cost_nanousd, sums.adjusted_nanousd) == (7 * USD, 2 * USD)
    await house.ledger.adjust([Adjustment("f", "red", USD, "another", day="20261020", scopes=())], T0)
    await mirror.bring(MONTHS, T0 + FRESH_MS)
    assert mirror.cube.sums(ALL).cost_nanousd == 8 * USD


async def test_the_pace_by_day_is_the_ledgers_which_counts_no_adjustments(house: House) -> None:
    mirror, days = mirror_of(house), ["20261102", "20261117", "20261118"]
    await house.spend("red", 5 * USD)
    await house.ledger.adjust(
        [
            Adjustment("a", "red", 3 * USD, "a bill", day="20261117"),
            Adjustment("b", "red", -USD, "a credit", app="chat", model="gpt-4o", day="20261118"),
            Adjustment("c", "red", 2 * USD, "a late bill", day="20261102", scopes=()),
        ],
        T0,
    )
    await mirror.bring(MONTHS, T0)
    assert mirror.daily(["red"], days) == await house.ledger.daily(["red"], days) == {"red": [0, 0, 5 * USD]}


async def _reads(ledger: RedisLedger) -> int:
    """How often whole hashes were read (days and audits)."""
    stats = await ledger.calls.redis.info("commandstats")
    return int(stats.get("cmdstat_hgetall", {}).get("calls", 0))
