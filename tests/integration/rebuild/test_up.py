"""A whole local gateway whose Redis is emptied: rebuilt by itself from the Prometheus that scrapes it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis as sync_redis
from support.calls import chat
from support.gateway import Gateway
from support.policy import budget, policy
from support.processes import until
from support.prometheus import Prometheus
from support.provider import Provider
from support.tcp_proxy import TcpProxy

BUDGET = policy(budget("red", 100, apps=[{"name": "a", "maxMonthlyUSD": 50}]))


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    with Provider(tmp_path_factory.mktemp("provider")) as running:
        yield running


def test_a_flushed_ledger_is_whole_again_with_every_app_and_model_in_its_place(
    provider: Provider, tmp_path: Path
) -> None:
    with contextlib.closing(TcpProxy(("127.0.0.1", 1))) as admin, contextlib.ExitStack() as stack:
        prometheus = stack.enter_context(Prometheus(tmp_path / "p", scrapes=[f"127.0.0.1:{admin.port}"]))
        config = {"prometheus": prometheus.url, "usage_log": "off"}
        gateway = stack.enter_context(Gateway(tmp_path / "g", provider.url, BUDGET, config=config, workers=1))
        admin._target = ("127.0.0.1", gateway.admin_port)
        for app, model in (("a", "gpt-4o"), ("a", "gpt-4o-mini"), ("b", "gpt-4o"), ("b", "gpt-4o")):
            chat(gateway, "red", app=app, model=model, max_tokens=17)
        before = gateway.settled("red", 4)
        spent = float(before["settled_usd"])
        until(
            lambda: prometheus.query("sum(llm_cost_usd_total)"),
            lambda v: bool(v) and abs(v[()] - spent) < 1e-9,
            "scrapes",
        )
        until(
            lambda: gateway.metric("spendgate_reconcile_timestamp_seconds"),
            lambda t: t > 0,
            "a first comparison",
        )
        assert gateway.metric("spendgate_reconcile_drift_ratio") == 0
        until(lambda: gateway.metric("spendgate_ledger_remembered_teams"), lambda n: n > 0, "the memory")
        with sync_redis.Redis(unix_socket_path=str(gateway.data_dir / "redis.sock")) as client:
            client.flushall()
        until(lambda: gateway.metric("spendgate_ledger_lost_total"), lambda n: n == 1, "the loss is noticed")
        until(lambda: gateway.metric("spendgate_ledger_rebuilt_timestamp_seconds"), bool, "the rebuild", 90)
        after = until(
            lambda: gateway.row("red"), lambda r: r["settled_usd"] == before["settled_usd"], "the spend"
        )
        assert {k: after[k] for k in ("apps", "models")} == {k: before[k] for k in ("apps", "models")}
        until(lambda: gateway.metric("spendgate_ledger_rebuilding"), lambda n: n == 0, "the epoch is whole")
        chat(gateway, "red", app="a", max_tokens=17)
        assert gateway.spent("red", 1) > 0
