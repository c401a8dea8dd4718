"""A closed month never changes: what comes later for it falls into the open one, to the nano-dollar."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
import redis as sync_redis
from support.asks import T0, ask, bound, candidate, end, void

from spendgate.cli.main import main
from spendgate.finops.chargeback.chargeback import chargeback
from spendgate.finops.chargeback.render import to_json
from spendgate.ledger.accounts import Adjustment
from spendgate.ledger.redis.closing import close_month, look_at_month
from spendgate.ledger.redis.codec import SEP, team_prefix
from spendgate.ledger.redis.embedded import EmbeddedRedis
from spendgate.ledger.redis.ledger import RedisLedger
from spendgate.months import month_key, month_text
from spendgate.pricing.load import table

DECEMBER = int(datetime(2026, 12, 3, tzinfo=UTC).timestamp() * 1000)
NOVEMBER = "202611"
SCOPES = (("month", "month"), ("app:chat", "month"), ("day", "day"))
BOUNDS = tuple(bound(scope=scope, window=window) for scope, window in SCOPES)


async def spend(ledger: RedisLedger) -> None:
    """November: 1000 settled, 300 expired at its estimate in the app `chat`."""
    await ledger.settle([end("x1", 1000, scopes=SCOPES, usage={"input": 9})], T0)
    await ledger.reserve(ask("late", candidate(300, *BOUNDS), ttl_ms=1000), DECEMBER - 3 * 86_400_000)
    assert len(await ledger.expire("red", DECEMBER - 2 * 86_400_000)) == 1


async def november(ledger: RedisLedger) -> str:
    """The month's report, to the last character."""
    report = chargeback(NOVEMBER, "ledger", await ledger.cells(["red"], NOVEMBER), table())
    month = await ledger.month("red", NOVEMBER)
    return to_json(report) + str((month.settled_nanousd, month.reserved_nanousd, month.requests))


async def frozen(ledger: RedisLedger) -> str:
    await spend(ledger)
    (closing,) = await close_month(ledger, ["red"], NOVEMBER, "ann", DECEMBER)
    assert (closing.state, closing.settled_nanousd, closing.cells_nanousd) == ("closed", 1300, 1300)
    assert (closing.requests, closing.by, closing.closed_ms) == (2, "ann", DECEMBER)
    return await november(ledger)


async def adds_up(ledger: RedisLedger, month: str, settled: int) -> None:
    found = await ledger.month("red", month)
    assert found.settled_nanousd == settled
    assert sum(found.apps.values()) == sum(found.models.values()) == settled


async def test_a_month_is_closed_once_it_is_over_and_nothing_of_it_is_in_flight(ledger: RedisLedger) -> None:
    await ledger.reserve(ask("x1", candidate(5)), T0)
    (early,) = await close_month(ledger, ["red"], NOVEMBER, "ann", T0 + 1)
    assert early.state == "open"
    (busy,) = await close_month(ledger, ["red"], NOVEMBER, "ann", DECEMBER)
    assert (busy.state, busy.in_flight, busy.is_closed) == ("holds", 1, False)
    await ledger.settle([end("x1", 5)], DECEMBER)
    (done,) = await close_month(ledger, ["red"], NOVEMBER, "ann", DECEMBER)
    (again,) = await close_month(ledger, ["red"], NOVEMBER, "bob", DECEMBER + 5)
    assert (done.state, again.state, again.by, again.closed_ms) == ("closed", "again", "ann", DECEMBER)


async def test_a_look_closes_nothing(ledger: RedisLedger) -> None:
    await spend(ledger)
    (seen,) = await look_at_month(ledger, ["red"], NOVEMBER, DECEMBER)
    assert (seen.state, seen.settled_nanousd) == ("open", 1300)
    (seen,) = await look_at_month(ledger, ["red"], NOVEMBER, DECEMBER)
    assert not seen.is_closed


async def test_an_adjustment_of_a_closed_month_is_booked_in_the_open_one(ledger: RedisLedger) -> None:
    before = await frozen(ledger)
    asked = Adjustment("a1", "red", 70, "missed", day="20261110", scopes=("month", "app:chat"), app="chat")
    (done,) = await ledger.adjust([asked], DECEMBER)
    assert (done.outcome, done.day, done.settled_nanousd) == ("adjusted", "20261203", 70)
    assert (await ledger.adjust([asked], DECEMBER + 1))[0].outcome == "replayed"
    (line,) = await ledger.adjustments("red")
    assert (line.adjustment.day, line.booked_day) == ("20261110", "20261203")
    assert await november(ledger) == before
    await adds_up(ledger, "202612", 70)


async def test_a_settlement_that_comes_home_after_the_close_is_spend_of_the_open_month(
    ledger: RedisLedger,
) -> None:
    before = await frozen(ledger)
    spooled = end("x9", 40, at_ms=T0, scopes=SCOPES, usage={"input": 3})
    assert await ledger.settle([spooled], DECEMBER) == ["settled"]
    assert await ledger.settle([spooled], DECEMBER) == ["replayed"]
    assert await november(ledger) == before
    month = await ledger.month("red", "202612")
    assert (month.settled_nanousd, month.requests, month.tokens) == (40, 1, {"input": 3})


@pytest.mark.parametrize(
    ("in_december", "cost", "booked"), [(0, 340, 40), (500, 120, -180), (100, 120, -100), (0, 120, 0)]
)
async def test_the_true_cost_of_an_expired_hold_is_adjusted_in_the_open_month_and_never_below_zero(
    ledger: RedisLedger, in_december: int, cost: int, booked: int
) -> None:
    before = await frozen(ledger)
    await ledger.settle([end("d1", in_december, at_ms=DECEMBER, scopes=SCOPES)], DECEMBER)
    assert await ledger.settle([end("late", cost, usage={"output": 4})], DECEMBER) == ["corrected"]
    assert await november(ledger) == before
    await adds_up(ledger, "202612", in_december + booked)
    month = await ledger.month("red", "202612")
    assert (month.adjusted_nanousd, month.requests, month.tokens) == (booked, 1, {"output": 4})


async def test_a_release_of_an_expired_hold_gives_back_what_the_open_month_has(ledger: RedisLedger) -> None:
    before = await frozen(ledger)
    await ledger.settle([end("d1", 1000, at_ms=DECEMBER, scopes=SCOPES)], DECEMBER)
    assert await ledger.settle([void("late")], DECEMBER) == ["corrected"]
    assert await november(ledger) == before
    await adds_up(ledger, "202612", 700)


async def test_a_rebuild_leaves_a_closed_month_alone(ledger: RedisLedger) -> None:
    before = await frozen(ledger)
    ask_for = {
        "n": 9, "empty": False, "month": NOVEMBER, "dry": False, "t": DECEMBER * 1000,
        "b": [["b:month:202611", "month", 9999]],
    }  # fmt: skip
    (done,) = await ledger.restore([("red", json.dumps(ask_for).encode())])
    assert (done.before_nanousd, done.after_nanousd) == (1300, 1300)
    assert await november(ledger) == before


async def test_a_change_by_other_means_is_told(ledger: RedisLedger, redis_client: sync_redis.Redis) -> None:
    await frozen(ledger)
    redis_client.hincrby(team_prefix("red") + "d:20261118", SEP.join(("chat", "gpt-4o", "$")), 1)
    (seen,) = await look_at_month(ledger, ["red"], NOVEMBER, DECEMBER)
    assert (seen.state, seen.was_nanousd, seen.cells_nanousd) == ("changed", 1300, 1301)


async def test_the_marks_of_closed_months_have_an_end_of_life(
    ledger: RedisLedger, redis_client: sync_redis.Redis
) -> None:
    await frozen(ledger)
    assert 0 < redis_client.ttl(team_prefix("red") + "closed") <= 400 * 86_400


class TestCommand:
    def run(self, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
        try:
            main(["month", *arguments])
            code = 0
        except SystemExit as e:
            code = int(e.code or 0)
        out, err = capsys.readouterr()
        return code, out, err

    @pytest.fixture
    async def past(self, ledger: RedisLedger) -> str:
        """A month that is over by the server's own clock, with a dollar spent."""
        month = datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        at = int(month.timestamp() * 1000) - 86_400_000
        await ledger.settle([end("x1", 10**9, at_ms=at)], at)
        return month_text(month_key(at))

    def test_close_show_list(
        self, server: EmbeddedRedis, past: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        at = ("--redis", server.url, "--data-dir", str(tmp_path))
        code, out, err = self.run(capsys, "list", *at)
        assert (code, out, err) == (0, f"{past}  1.00 USD, 1 requests; closed for 0 of 1 teams\n", "")
        code, out, err = self.run(capsys, "close", past, "--by", "ann", *at)
        archived = f"archived: {tmp_path}/closed/month={past}\n"
        assert (code, out, err) == (0, f"red  {past}  1.00 USD, 1 requests: closed\n{archived}", "")
        assert "by ann" in self.run(capsys, "close", past, *at)[1]
        main(
            [
                "ledger",
                "adjust",
                *at,
                "--team",
                "red",
                "--usd",
                "2",
                "--reason",
                "late",
                "--day",
                f"{past}-20",
            ]
        )
        code, out, _ = self.run(capsys, "show", past, *at)
        assert "1.00 USD, 1 requests: closed since" in out
        assert "corrected later: red 2.00 USD, booked on" in out
        (row,) = json.loads(self.run(capsys, "show", past, *at, "-o", "json")[1])
        assert (row["closed"], row["unchanged"], row["settled_usd"], row["by"]) == (True, True, "1.00", "ann")
        assert row["corrected_later"][0]["usd"] == "2.00"
        assert json.loads(self.run(capsys, "list", *at, "-o", "json")[1])[-1]["closed"] == 1

    def test_a_month_that_runs_can_not_be_closed(
        self, server: EmbeddedRedis, past: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        now = datetime.now(UTC).strftime("%Y-%m")
        code, _, err = self.run(capsys, "close", now, "--redis", server.url)
        assert code == 2 and "is not over" in err
        assert self.run(capsys, "close", "last", "--redis", server.url)[0] == 2
