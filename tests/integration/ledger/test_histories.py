"""The ledger's laws hold in every random history; and each of them can fail."""

from __future__ import annotations

import pytest
import redis as sync_redis
from support.histories import LAWS, LawBroken, run_histories, sources, wanted
from support.mutations import MUTATIONS, Mutation

from spendgate.ledger.redis.embedded import EmbeddedRedis

PLANTED = [m for m in MUTATIONS if not m.rare or wanted(0)]


def test_every_random_history_keeps_the_laws(redis_client: sync_redis.Redis) -> None:
    """`make histories` runs ten thousand."""
    run_histories(redis_client, wanted(150))


@pytest.fixture(scope="module")
def broken(server: EmbeddedRedis) -> dict[str, str]:
    """Mutation → the law that broke first ("": none in fifteen hundred histories, always the same ones; what is rare is
    looked for in as many as are run)."""
    client = sync_redis.Redis.from_url(server.url)
    found = {}
    for mutation in PLANTED:
        count = max(1500, wanted(0)) if mutation.rare else 1500
        try:
            run_histories(client, count, mutation.applied(sources()), steps=20, shrink=False, same_again=True)
            found[mutation.name] = ""
        except LawBroken as e:
            found[mutation.name] = e.law
    client.close()
    return found


@pytest.mark.parametrize("mutation", PLANTED, ids=lambda m: m.name.replace(" ", "-"))
def test_a_planted_bug_breaks_a_law(broken: dict[str, str], mutation: Mutation) -> None:
    assert broken[mutation.name] in mutation.laws


def test_every_law_is_broken_by_some_planted_bug(broken: dict[str, str]) -> None:
    assert set(broken.values()) == set(LAWS)
