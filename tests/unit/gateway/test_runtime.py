"""What a worker does while the ledger does not answer (rule 10)."""

from __future__ import annotations

import orjson
from prometheus_client import CollectorRegistry
from unit.exchange.driver import NOW_MS, chat, snapshot_of

from spendgate.errors import LedgerUnavailable
from spendgate.exchange import events as e
from spendgate.exchange.exchange import Exchange
from spendgate.gateway.metrics import Metrics
from spendgate.gateway.runtime import Runtime
from spendgate.identity.identity import Caller
from spendgate.ledger.exchanges import ReserveRequest, ReserveResult, Settlement

# the estimate of `chat()` is 0.0011375 USD: 100 tokens of output at 10 USD and 55 of input at 2.50 a million
SPEC = "{team: ml, monthlyBudgetUSD: 10, failOpenLimitUSD: 0.005}"


class Ledger:
    def __init__(self) -> None:
        self.asked = 0
        self.away = True
        self.settled = 1

    async def reserve(self, request: ReserveRequest, now_ms: int = 0) -> ReserveResult:
        self.asked += 1
        if self.away:
            raise LedgerUnavailable("away")
        return ReserveResult(0, 1, None, self.settled, 0, NOW_MS)


class Settler:
    is_full = False

    def __init__(self) -> None:
        self.voids: list[Settlement] = []

    def void(self, settlement: Settlement) -> None:
        self.voids.append(settlement)

    def put(self, ending: object) -> None: ...


def need(spec: str = SPEC) -> e.NeedReserve:
    exchange = Exchange("x", snapshot_of(spec))
    caller = Caller({"content-type": "application/json", "x-llm-team": "ml", "x-llm-app": "a"})
    exchange.receive(e.RequestHeaders("POST", "/v1/chat/completions", caller))
    action = exchange.receive(e.RequestBody(orjson.dumps(chat()), NOW_MS))
    assert isinstance(action, e.NeedReserve)
    return action


def runtime(spec: str = SPEC, workers: int = 1) -> tuple[Runtime, Ledger]:
    ledger = Ledger()
    metrics = Metrics(CollectorRegistry())
    return Runtime(snapshot_of(spec), ledger, Settler(), metrics, workers), ledger  # type: ignore[arg-type]


async def admitted(run: Runtime, spec: str = SPEC) -> int:
    n = 0
    while n < 50:
        done = await run.reserve(need(spec))
        assert isinstance(done, e.LedgerDown)
        if not done.admitted:
            break
        n += 1
    return n


async def test_a_replica_fails_open_up_to_its_limit_and_then_closes() -> None:
    run, _ = runtime()
    assert await admitted(run) == 4


async def test_the_workers_of_a_replica_share_its_limit() -> None:
    run, _ = runtime(workers=2)
    assert await admitted(run) == 2


async def test_failure_policy_open_lifts_the_limit_and_closed_takes_it_away() -> None:
    open_ = "{team: ml, monthlyBudgetUSD: 10, failurePolicy: open}"
    assert await admitted(runtime(open_)[0], open_) == 50
    closed = "{team: ml, monthlyBudgetUSD: 10, failurePolicy: closed}"
    assert await admitted(runtime(closed)[0], closed) == 0


async def test_a_dead_ledger_is_not_waited_for_by_every_request() -> None:
    run, ledger = runtime()
    await admitted(run)
    assert ledger.asked == 1


async def test_when_the_ledger_is_back_it_decides_again() -> None:
    run, ledger = runtime()
    await admitted(run)
    ledger.away = False
    run._closed_until = 0.0
    assert isinstance(await run.reserve(need()), e.ReserveDone)


async def test_outages_one_after_another_give_out_one_share_until_the_ledger_took_what_was_spent() -> None:
    run, ledger = runtime()
    for _ in range(3):
        ledger.away, run._closed_until = False, 0.0
        assert isinstance(await run.reserve(need()), e.ReserveDone)
        ledger.away, run._closed_until = True, 0.0
        await admitted(run)
    estimate, rest = divmod(run.guard.committed("ml"), 4)
    assert (rest, 4 * estimate <= 5_000_000 < 5 * estimate) == (0, True)
    for _ in range(4):
        run.guard.settle("ml", estimate, 1000)
    run.settler.when_home()
    assert run.guard.committed("ml") == 0
    assert await admitted(run) == 4


async def test_a_replica_without_room_on_its_disk_lets_nothing_pass_but_what_has_no_limit() -> None:
    run, _ = runtime()
    run.settler.is_full = True
    assert await admitted(run) == 0
    open_ = "{team: ml, monthlyBudgetUSD: 10, failurePolicy: open}"
    run, _ = runtime(open_)
    run.settler.is_full = True
    assert await admitted(run, open_) == 50


class Standing:
    """The replica remembers that the team is exhausted."""

    def __init__(self) -> None:
        self.hurried = 0

    async def restore(self, team: str) -> None: ...

    def remembered(self, team: str, month: str) -> int:
        return 10 * 10**9 if team == "ml" else 0

    def hurry(self) -> None:
        self.hurried += 1


async def test_a_worker_that_never_asked_for_a_team_refuses_it_where_the_replica_knows_it_is_exhausted() -> (
    None
):
    run, _ = runtime()
    run.standing = Standing()  # type: ignore[assignment]
    assert await admitted(run) == 0


async def test_a_month_that_fell_by_half_makes_the_pulse_look_at_once() -> None:
    run, ledger = runtime()
    run.standing = standing = Standing()  # type: ignore[assignment]
    ledger.away = False
    for settled, hurried in ((1000, 0), (600, 0), (200, 1)):
        ledger.settled = settled
        await run.reserve(need())
        assert standing.hurried == hurried


async def test_what_was_asked_of_a_silent_ledger_and_then_refused_is_voided() -> None:
    closed = "{team: ml, monthlyBudgetUSD: 10, failurePolicy: closed}"
    run, ledger = runtime(closed)
    asked = need(closed)
    assert not (await run.reserve(asked)).admitted  # type: ignore[union-attr]
    [void] = run.settler.voids  # type: ignore[attr-defined]
    assert (void.exchange_id, void.team, void.release) == (asked.request.exchange_id, "ml", True)
    await run.reserve(need(closed))  # not asked: nothing to void
    assert (ledger.asked, len(run.settler.voids)) == (1, 1)  # type: ignore[attr-defined]
