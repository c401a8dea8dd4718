"""Strange names through a real gateway: who has a budget keeps its series, and the pages stay fast."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import httpx
import pytest
import redis as sync_redis
from support.calls import who
from support.gateway import Gateway
from support.policy import budget, policy
from support.raw_http import JSON as SENT
from support.raw_upstream import JSON, RawUpstream, fixed

from spendgate.ledger.redis.codec import TEAMS_KEY, team_prefix
from spendgate.months import month_key
from spendgate.supervisor.state import STATE

LIMIT = 40
BODY = {"model": "gpt-4o", "max_tokens": 5, "messages": [{"role": "user", "content": "hi there"}]}
USAGE = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}
ANSWER = json.dumps({"id": "a", "model": "gpt-4o", "choices": [], "usage": USAGE}).encode()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("labels")
    with (
        RawUpstream(fixed(ANSWER, JSON)) as upstream,
        Gateway(
            folder, upstream.url, policy(budget("loud", 1000), budget("late", 1000)), workers=1,
            config={"max_label_values": LIMIT},
        ) as running,
    ):  # fmt: skip
        yield running


def ask(client: httpx.Client, gateway: Gateway, team: str, app: str) -> None:
    headers = {**SENT, **who(team, app)}
    assert client.post(f"{gateway.url}/v1/chat/completions", json=BODY, headers=headers).status_code == 200


def test_strange_names_do_not_push_a_budgeted_team_out_of_its_series(gateway: Gateway) -> None:
    with httpx.Client(trust_env=False, timeout=60) as client:
        for i in range(LIMIT + 5):
            ask(client, gateway, "loud", f"app-{i}")
            ask(client, gateway, f"stranger-{i}", "a")
        for _ in range(3):
            ask(client, gateway, "late", "chat")
    gateway.settled("late", 3)
    series = {dict(labels)["team"]: n for labels, n in gateway.metrics()["spendgate_requests_total"].items()}
    assert series["late"] == 3
    assert series["other"] >= LIMIT // 2
    assert {"loud", "late"} <= set(series)
    assert len([t for t in series if t.startswith("stranger")]) <= LIMIT // 4
    assert gateway.metric("spendgate_requests_total", team="late", app="chat", model="gpt-4o") == 3


def test_ten_thousand_strange_teams_do_not_make_the_pages_slow(gateway: Gateway) -> None:
    redis_url = json.loads((gateway.data_dir / STATE).read_text())["redis"]
    month = month_key(time.time_ns() // 10**6)
    with sync_redis.Redis.from_url(redis_url) as client:
        pipe = client.pipeline(transaction=False)
        for i in range(10_500):
            prefix = team_prefix(f"invented-{i}")
            pipe.sadd(TEAMS_KEY, f"invented-{i}")
            pipe.hset(f"{prefix}b:month:{month}", mapping={"s": 20_000, "r": 0})
            pipe.hset(f"{prefix}d:{month}01", mapping={"app\x1fgpt-4o\x1f#": 1, "app\x1fgpt-4o\x1f$": 20_000})
        pipe.execute()
    for path in ("/metrics", "/v1/budgets"):
        began = time.monotonic()
        assert "invented-10499" in gateway.admin.get(path).text
        assert time.monotonic() - began < 8  # 13 s on two idle cores where each day was a command of its own
    assert {r["team"]: r for r in gateway.rows()}["invented-7"]["settled_usd"] == "0.00002"
