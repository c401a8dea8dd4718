"""`budget.evaluate` is a mirror of `reserve.lua`: whatever the candidates and the spend, both choose alike."""

from __future__ import annotations

import random
from dataclasses import astuple
from pathlib import Path

from spendgate.budget.bounds import UNLIMITED, Bound, Candidate, Clamp, LearnedHold
from spendgate.budget.evaluate import evaluate
from spendgate.budget.ratios import Ratios
from spendgate.ledger.exchanges import ReserveRequest, Settlement
from spendgate.ledger.redis.embedded import EmbeddedRedis
from spendgate.ledger.redis.ledger import RedisLedger

NOW_MS = 1_795_000_000_000
SCOPES = [("month", "month"), ("day", "day"), ("model:a", "month"), ("app:b", "month"), ("run:r", "run")]
MODELS = ["m", "m", "n"]
TEAMS, REQUESTS = 120, 20


def bound(rng: random.Random, scope: str, window: str, scale: int) -> Bound:
    if rng.random() < 0.3:
        return Bound(scope, window, UNLIMITED, UNLIMITED, scope)
    floor = rng.randrange(1, 20) * scale + rng.randrange(1000)
    return Bound(scope, window, floor, floor * 105 // 100 if rng.random() < 0.6 else floor, scope)


def candidate(rng: random.Random, scale: int) -> Candidate:
    estimate = rng.randrange(scale * 6)
    clamp = None
    if rng.random() < 0.5:
        clamp = Clamp(rng.randrange(estimate + 1), rng.randrange(5_000_000), rng.randrange(1, 50))
    learned = None
    if rng.random() < 0.6:
        fees, brought = rng.randrange(estimate // 9 + 1), rng.randrange(estimate // 2 + 1)
        made = estimate - fees - brought
        learned = LearnedHold(
            fees,
            rng.randrange(brought + 1),
            brought,
            made,
            rng.choice([50, 90, 99, 100]),
            rng.randrange(1, 12),
        )
    scopes = SCOPES[:1] + rng.sample(SCOPES[1:], rng.randrange(4))
    return Candidate(
        rng.choice(MODELS),
        estimate,
        tuple(bound(rng, scope, window, scale) for scope, window in scopes),
        rng.choice([0, 0, rng.randrange(10 * scale)]),
        rng.choice([UNLIMITED, UNLIMITED, rng.randrange(20 * scale)]),
        rng.randrange(3 * scale),
        clamp,
        learned,
    )


async def test_the_mirror_and_the_script_choose_alike(tmp_path: Path) -> None:
    rng = random.Random(7)
    kinds = {"whole": 0, "clamped": 0, "refused": 0, "learned": 0}
    waits = {True: 0, False: 0}
    with EmbeddedRedis(tmp_path) as server:
        ledger = RedisLedger.from_url(server.url, timeout_s=5)
        for team in range(TEAMS):
            scale = 10 ** rng.randrange(3, 13)
            settled: dict[str, int] = {}
            held: dict[str, int] = {}
            ratios: dict[str, Ratios] = {}
            for i in range(REQUESTS):
                candidates = tuple(candidate(rng, scale) for _ in range(rng.randrange(1, 4)))
                request = ReserveRequest(f"{team}-{i}", f"t{team}", "a", 60_000, candidates)
                got = await ledger.reserve(request, NOW_MS)
                want = evaluate(candidates, settled, held, ratios)
                assert (got.candidate, got.held_nanousd, got.output_cap, got.worst_nanousd) == (
                    want.candidate, want.held_nanousd, want.output_cap, want.worst_nanousd,
                ), (candidates, settled, held)  # fmt: skip
                assert (got.settled_nanousd, got.reserved_nanousd) == (
                    settled.get("month", 0), held.get("month", 0) + want.held_nanousd,
                )  # fmt: skip
                assert [astuple(r) for r in got.refusals] == [astuple(r) for r in want.refusals]
                waits[got.waits_for is not None] += 1
                kinds["learned"] += got.worst_nanousd > 0
                kind = "refused" if want.candidate < 0 else "whole" if want.output_cap is None else "clamped"
                kinds[kind] += 1
                if got.candidate >= 0:
                    books = held
                    if rng.random() < 0.5:
                        books = settled
                        sample = (rng.randrange(1, 1025), rng.choice([1, 9, 17, 200, 1024]))
                        model = candidates[got.candidate].model
                        end = Settlement(
                            f"{team}-{i}", f"t{team}", "a", model, got.held_nanousd, sample=sample
                        )
                        await ledger.settle([end], NOW_MS)
                        ratios.setdefault(model, Ratios()).add(sample)
                    for b in candidates[got.candidate].bounds:
                        books[b.scope] = books.get(b.scope, 0) + got.held_nanousd
        await ledger.close()
    assert all(kinds.values()) and all(waits.values()), (kinds, waits)
