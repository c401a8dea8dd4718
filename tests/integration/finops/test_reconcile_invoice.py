"""`reconcile invoice` on a real Redis, its drift in a real Prometheus and Alertmanager."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import redis
import uvicorn
from prometheus_client import CollectorRegistry, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from support.billing import Use, invoice, month
from support.ports import free_port
from support.processes import until
from support.prometheus import Alertmanager, Prometheus
from support.usage_lines import record, write_log

from spendgate.budget.policy import Policy
from spendgate.cli.main import main
from spendgate.finops.invoice.line import Line
from spendgate.ledger.exchanges import Settlement
from spendgate.ledger.redis.embedded import EmbeddedRedis
from spendgate.ledger.redis.ledger import RedisLedger
from spendgate.monitoring.catalogue import GROUPS
from spendgate.monitoring.rules import as_yaml, rule_file
from spendgate.views.gauges import BudgetGauges

USES = [*month(), Use(3, "gpt-4o-mini", 7, team="blue", app="batch")]


def at_ms(day: int) -> int:
    return int(datetime(2026, 10, day, 9, tzinfo=UTC).timestamp() * 1000)


async def settle(url: str, uses: list[Use]) -> None:
    ledger = RedisLedger.from_url(url, timeout_s=5.0)
    await ledger.settle(
        [
            Settlement(
                f"x{i}", u.team, u.app, u.model, u.cell().cost_nanousd, dict(u.tokens), at_ms(u.day),
                scopes=(("month", "month"),),
            )
            for i, u in enumerate(uses)
        ]
    )  # fmt: skip
    await ledger.close()


@pytest.fixture
def url(server: EmbeddedRedis) -> str:
    """A ledger in which every use stands as one exchange."""
    with redis.Redis.from_url(server.url) as client:
        client.flushall()
    asyncio.run(settle(server.url, USES))
    return server.url


def exported(path: Path, lines: list[Line]) -> str:
    """As OpenAI's costs and usage APIs write it, in one file a kind of page."""
    sums: dict[tuple[str, str], Decimal] = {}
    for x in lines:
        if x.cost_usd:
            item = f"{x.model}, {x.kind.replace('_', ' ')}" if x.kind else x.model
            sums[x.day, item] = sums.get((x.day, item), Decimal(0)) + x.cost_usd
    buckets: dict[str, list[dict[str, Any]]] = {}
    for (day, item), usd in sums.items():
        row = {"amount": {"value": str(usd), "currency": "usd"}, "line_item": item}
        buckets.setdefault(day, []).append(row)
    usage: dict[tuple[str, str], dict[str, int]] = {}
    for x in lines:
        used = usage.setdefault((x.day, x.model), {"input_tokens": 0, "num_model_requests": 0, "output_tokens": 0,
                                                   "input_cached_tokens": 0})  # fmt: skip
        used["num_model_requests"] += 1 if x.requests else 0
        used["output_tokens"] += x.tokens if x.kind == "output" else 0
        used["input_cached_tokens"] += x.tokens if x.kind == "cached_input" else 0
        used["input_tokens"] += x.tokens if x.kind != "output" else 0
    data: list[dict[str, Any]] = [
        {"start_time": f"{d[:4]}-{d[4:6]}-{d[6:]}", "results": r} for d, r in sorted(buckets.items())
    ]
    data += [
        {"start_time": f"{d[:4]}-{d[4:6]}-{d[6:]}", "results": [{"model": m, **used}]}
        for (d, m), used in sorted(usage.items())
        if any(used.values())
    ]
    path.write_text(json.dumps({"object": "page", "has_more": False, "data": data}))
    return str(path)


def run(capsys: pytest.CaptureFixture[str], url: str, *arguments: str) -> tuple[int, dict[str, Any], str]:
    code = 0
    try:
        main(
            [
                "reconcile",
                "invoice",
                "--provider",
                "openai",
                "--month",
                "2026-10",
                "--redis",
                url,
                "-o",
                "json",
                *arguments,
            ]
        )
    except SystemExit as e:
        code = int(e.code or 0)
    out, err = capsys.readouterr()
    return code, json.loads(out) if out else {}, err


def everything(url: str) -> dict[bytes, Any]:
    """All that Redis holds of teams."""
    with redis.Redis.from_url(url) as client:
        return {k: client.hgetall(k) for k in sorted(client.scan_iter("sg1:{*")) if client.type(k) == b"hash"}


def test_an_invoice_that_agrees_needs_nothing(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, report, err = run(capsys, url, exported(tmp_path / "costs.json", invoice(USES)), "--apply")
    assert (code, report["drift_usd"], report["causes"], report["true_ups"]) == (0, "0.00", {}, [])
    assert err == "spendgate reconcile: 0 true-ups made\n"


def test_a_true_up_brings_the_drift_to_zero_and_a_second_one_changes_nothing(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [
        *invoice(USES, "1.2"),
        Line("20261020", "o3-2026-04-16", "output", Decimal("7.5"), 50_000),
    ]
    file = exported(tmp_path / "costs.json", lines)
    before = everything(url)
    code, report, err = run(capsys, url, file)
    assert (code, everything(url)) == (0, before)
    assert "more than 10 %" in err and "--apply would make 3 true-ups" in err
    egress = next(m for m in report["models"] if m["direct_egress"])
    assert (egress["model"], egress["causes"]) == ("o3-2026-04-16", {"bypassed the gateway": "7.50"})
    assert set(report["causes"]) == {"bypassed the gateway", "price changed"}

    code, report, err = run(capsys, url, file, "--apply", "--egress-team", "platform", "--by", "ann")
    assert (code, report["drift_usd"], report["drift_ratio"]) == (0, "0.00", 0.0)
    assert {(t["team"], t["app"]) for t in report["true_ups"]} == {
        ("red", "chat"), ("blue", "batch"), ("platform", "direct egress")
    }  # fmt: skip
    after = everything(url)
    code, report, err = run(capsys, url, file, "--apply", "--egress-team", "platform", "--by", "ann")
    assert (report["drift_usd"], err, everything(url)) == (
        "0.00",
        "spendgate reconcile: 0 true-ups made\n",
        after,
    )

    main(["ledger", "adjustments", "--redis", url, "-o", "json"])
    audit = json.loads(capsys.readouterr().out)
    assert {a["by"] for a in audit} == {"ann"}
    assert all(a["id"].startswith("invoice/openai/202610/") and "costs.json" in a["reason"] for a in audit)


def test_usage_logs_tell_that_the_providers_day_begins_elsewhere(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    records = [
        record(i, team="red", app="chat", model="gpt-4o", at_ms=at_ms(u.day) + (i * 7 % 24 - 9) * 3_600_000,
               tokens=dict(u.tokens), cost_nanousd=u.cell().cost_nanousd, estimate_nanousd=1)
        for i, u in enumerate(month())
    ]  # fmt: skip
    log = write_log(tmp_path / "usage.jsonl", records)
    with redis.Redis.from_url(url) as client:
        client.flushall()

    async def fill() -> None:
        ledger = RedisLedger.from_url(url, timeout_s=5.0)
        await ledger.settle([Settlement(r.exchange_id, r.team, r.app, r.model, r.cost_nanousd, dict(r.tokens), r.at_ms,
                                        scopes=(("month", "month"),)) for r in records])  # fmt: skip
        await ledger.close()

    asyncio.run(fill())
    moved = [
        Use(datetime.fromtimestamp(r.at_ms / 1000 - 8 * 3600, UTC).day, "gpt-4o", 1, dict(r.tokens))
        for r in records
        if datetime.fromtimestamp(r.at_ms / 1000 - 8 * 3600, UTC).month == 10
    ]
    code, report, _ = run(capsys, url, exported(tmp_path / "costs.json", invoice(moved)), "--log", str(log))
    assert code == 0
    assert set(report["causes"]) == {"time zone edge"}
    (model,) = report["models"]
    assert any("after midnight UTC" in note for note in model["notes"])


def settled(url: str, team: str, month: str) -> int:
    async def read() -> int:
        ledger = RedisLedger.from_url(url, timeout_s=5.0)
        try:
            return (await ledger.month(team, month)).settled_nanousd
        finally:
            await ledger.close()

    return asyncio.run(read())


def test_true_ups_move_the_month_that_is_over_and_after_its_close_stand_beside_the_counters(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = settled(url, "red", "202610")
    fee = Line("20261005", "evals | gpt-4o, input", "", Decimal(3))
    file = exported(tmp_path / "costs.json", [*invoice(USES, "1.1"), fee])
    _, report, _ = run(capsys, url, file, "--apply", "--egress-team", "finance", "--threshold", "0")
    assert report["drift_usd"] == "0.00"
    moved = settled(url, "red", "202610")
    assert moved - before == pytest.approx(before * 0.1, abs=1000)
    assert settled(url, "finance", "202610") == 0  # a fee is an entry, whatever the month

    main(["month", "close", "2026-10", "--redis", url])
    capsys.readouterr()
    later = exported(tmp_path / "late.json", [*invoice(USES, "1.2"), fee])
    _, report, _ = run(capsys, url, later, "--apply", "--egress-team", "finance", "--threshold", "0")
    assert (report["drift_usd"], settled(url, "red", "202610")) == ("0.00", moved)
    running = datetime.now(UTC).strftime("%Y%m")
    assert settled(url, "red", running) == 0
    main(["report", "chargeback", "--month", f"{running[:4]}-{running[4:]}", "--redis", url, "-o", "json"])
    out, err = capsys.readouterr()
    assert '"adjustment"' in out and '"red"' in out and '"blue"' in out
    assert "counter" not in err


def test_the_running_month_is_only_moved_when_asked(
    server: EmbeddedRedis, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with redis.Redis.from_url(server.url) as client:
        client.flushall()
    now = datetime.now(UTC)
    use = Use(now.day)
    month_text = now.strftime("%Y-%m")

    async def fill() -> None:
        ledger = RedisLedger.from_url(server.url, timeout_s=5.0)
        cost, at = use.cell().cost_nanousd, int(now.timestamp() * 1000)
        scopes = (("month", "month"),)
        await ledger.settle(
            [Settlement("x", "red", "chat", "gpt-4o", cost, dict(use.tokens), at, scopes=scopes)]
        )
        await ledger.close()

    asyncio.run(fill())
    lines = [replace(x, day=now.strftime("%Y%m%d")) for x in invoice([use], "1.5")]
    file = exported(tmp_path / "now.json", lines)
    before = settled(server.url, "red", now.strftime("%Y%m"))
    span = ("--month", month_text, "--complete", "--apply")
    _, report, _ = run(capsys, server.url, file, *span)
    assert (report["drift_usd"], settled(server.url, "red", now.strftime("%Y%m"))) == ("0.00", before)
    more = exported(tmp_path / "more.json", [replace(x, cost_usd=x.cost_usd * 2) for x in lines])
    _, report, _ = run(capsys, server.url, more, *span, "--enforce")
    assert report["drift_usd"] == "0.00"
    assert settled(server.url, "red", now.strftime("%Y%m")) > before


def test_a_file_of_half_a_month_is_told_and_trues_nothing_up(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    half = exported(tmp_path / "half.json", invoice([u for u in USES if u.day <= 14]))
    _, report, err = run(capsys, url, half)
    assert (report["drift_usd"], report["causes"], report["true_ups"]) == ("0.00", {}, [])
    assert "the files have 2026-10-01 to 2026-10-14 and the month is longer" in err
    _, whole, _ = run(capsys, url, half, "--complete")
    assert set(whole["causes"]) == {"not on the invoice"}


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("--month", "2026-09"), 1, "nothing of 2026-09 in it; it has 20261001 to 20261031"),
        (("--month", "October"), 2, "YYYY-MM"),
        (("--rate", "EUR"), 2, "write it like EUR=1.14"),
        (("--threshold", "some"), 2, "write it like 0.01,0.1%"),
        (("--map", "/nowhere.yaml"), 1, "/nowhere.yaml: cannot be read as YAML"),
    ],
)
def test_what_can_not_be_compared_says_what_to_do(
    arguments: tuple[str, ...],
    code: int,
    says: str,
    url: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    found, _, err = run(capsys, url, exported(tmp_path / "c.json", invoice(USES)), *arguments)
    assert (found, says in err) == (code, True), err


@contextmanager
def metrics_of(url: str) -> Iterator[str]:
    """The gauges of a controller or `up` on a socket."""
    loop_ledger = RedisLedger.from_url(url, timeout_s=5.0)
    gauges = BudgetGauges(loop_ledger, Policy())
    registry = CollectorRegistry()
    registry.register(gauges)

    async def metrics(_: Request) -> PlainTextResponse:
        await gauges.refresh(at_ms(31))
        return PlainTextResponse(generate_latest(registry).decode())

    port = free_port()
    server = uvicorn.Server(
        uvicorn.Config(
            Starlette(routes=[Route("/metrics", metrics)]), port=port, log_level="error", lifespan="off"
        )
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(10)


def test_above_a_tenth_the_alert_reaches_alertmanager_and_a_true_up_ends_it(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rules = as_yaml(rule_file(GROUPS)).replace("for: 5m", "for: 0s").replace("interval: 1m", "interval: 1s")
    file = exported(tmp_path / "costs.json", invoice(USES, "1.2"))
    with (
        metrics_of(url) as target,
        Alertmanager(tmp_path / "am") as manager,
        Prometheus(
            tmp_path / "prom", scrapes=[target], rules=rules, alertmanager=manager.address
        ) as prometheus,
    ):

        def drift() -> list[float]:
            return list(prometheus.query('spendgate_invoice_drift_ratio{model="(all)"}').values())

        run(capsys, url, exported(tmp_path / "agree.json", invoice(USES, "1.05")))
        (small,) = until(drift, bool, "the drift", 60)
        assert small == pytest.approx(0.05 / 1.05, abs=1e-6)
        assert manager.alerts("SpendgateInvoiceDrift") == []
        run(capsys, url, file)
        (alert,) = until(lambda: manager.alerts("SpendgateInvoiceDrift"), bool, "the alert", 90)
        assert alert["labels"]["provider"] == "openai"
        assert "16.67% apart" in alert["annotations"]["summary"]
        run(capsys, url, file, "--apply")
        until(drift, lambda found: found == [0.0], "a drift of zero", 60)
        until(lambda: manager.alerts("SpendgateInvoiceDrift"), lambda found: not found, "the alert's end", 90)
