"""`backfill` on a real ledger: from usage logs to the nano-dollar, from a provider's usage export, once only."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import redis
from integration.finops.test_reconcile_invoice import at_ms, exported
from support.billing import Use, invoice, month
from support.usage_lines import expired, record, write_log

from spendgate.cli.main import main
from spendgate.ledger.exchanges import Settlement
from spendgate.ledger.redis.embedded import EmbeddedRedis
from spendgate.ledger.redis.ledger import RedisLedger
from spendgate.money import usd_to_nano
from spendgate.records.record import UsagePart, UsageRecord

CORRECTED = "models:\n  gpt-4o: {input: 3.00, cached_input: 1.25, output: 10.00}\n"


def logged(uses: list[Use]) -> list[UsageRecord]:
    return [
        record(
            i, team=u.team, app=u.app, model=u.model, model_requested=u.model, at_ms=at_ms(u.day),
            tokens=dict(u.tokens), cost_nanousd=u.cell().cost_nanousd, estimate_nanousd=1,
        )
        for i, u in enumerate(uses)
    ]  # fmt: skip


@pytest.fixture
def url(server: EmbeddedRedis) -> str:
    with redis.Redis.from_url(server.url) as client:
        client.flushall()

    async def fill() -> None:
        ledger = RedisLedger.from_url(server.url, timeout_s=5.0)
        await ledger.settle(
            [
                Settlement(r.exchange_id, r.team, r.app, r.model, r.cost_nanousd, r.tokens, r.at_ms,
                           scopes=(("month", "month"),))
                for r in logged(USES)
            ]
        )  # fmt: skip
        await ledger.close()

    asyncio.run(fill())
    return server.url


USES = [*month(), Use(3, "gpt-4o", 7, team="blue", app="batch"), Use(5, "gpt-4o-mini")]


@pytest.fixture
def prices(tmp_path: Path) -> str:
    path = tmp_path / "corrected.yaml"
    path.write_text(CORRECTED)
    return str(path)


def run(capsys: pytest.CaptureFixture[str], url: str, *arguments: str) -> tuple[int, dict[str, Any], str]:
    code = 0
    try:
        main(["backfill", "--redis", url, "-o", "json", *arguments])
    except SystemExit as e:
        code = int(e.code or 0)
    out, err = capsys.readouterr()
    return code, json.loads(out) if out else {}, err


def total(report: dict[str, Any]) -> int:
    return sum(usd_to_nano(a["usd"]) for a in report["adjustments"])


def test_from_logs_each_exchange_is_priced_again_and_made_up_for_once(
    url: str, prices: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = write_log(
        tmp_path / "usage.jsonl", [*logged(USES), expired(99, 5_000, at_ms=at_ms(9), model="gpt-4o")]
    )
    span = ("--prices", prices, "--log", str(log), "--from", "2026-10-03", "--to", "2026-10-31")
    wrong = sum(
        500 * u.tokens["input"] for u in USES if u.model == "gpt-4o" and u.day >= 3
    )  # half a dollar a million
    code, dry, err = run(capsys, url, *span)
    assert (code, dry["applied"], total(dry)) == (0, False, wrong)
    assert "--apply would make 30 adjustments" in err
    assert {(d["team"], d["app"]) for d in dry["differences"]} == {("red", "chat"), ("blue", "batch")}

    _, made, _ = run(capsys, url, *span, "--apply", "--by", "ann")
    assert made["adjustments"] == dry["adjustments"]
    _, again, err = run(capsys, url, *span, "--apply")
    assert (again["adjustments"], "0 adjustments of 0.00 USD made" in err) == ([], True)
    # another range over the same days adds only what is new
    wider = ("--prices", prices, "--log", str(log), "--from", "2026-10-01", "--to", "2026-10-31")
    _, more, _ = run(capsys, url, *wider)
    assert total(more) == sum(500 * u.tokens["input"] for u in USES if u.model == "gpt-4o" and u.day < 3)

    main(["ledger", "adjustments", "--redis", url, "-o", "json"])
    audit = json.loads(capsys.readouterr().out)
    assert len(audit) == 30
    assert {a["by"] for a in audit} == {"ann"}
    assert any(a["reason"] == "corrected.yaml: backfill of 2026-10-03" for a in audit)


def test_after_a_backfill_the_invoice_has_no_drift(
    url: str, prices: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = write_log(tmp_path / "usage.jsonl", logged(USES))
    run(
        capsys,
        url,
        "--prices",
        prices,
        "--log",
        str(log),
        "--from",
        "2026-10-01",
        "--to",
        "2026-10-31",
        "--apply",
    )
    lines = [
        x if x.kind != "input" or x.model.startswith("gpt-4o-mini") else
        type(x)(x.day, x.model, x.kind, x.cost_usd * 12 / 10, x.tokens, x.requests)
        for x in invoice(USES)
    ]  # fmt: skip
    file = exported(tmp_path / "costs.json", lines)
    main(
        [
            "reconcile",
            "invoice",
            file,
            "--provider",
            "openai",
            "--month",
            "2026-10",
            "--redis",
            url,
            "-o",
            "json",
        ]
    )
    report = json.loads(capsys.readouterr().out)
    assert (report["drift_usd"], set(report["causes"]), report["true_ups"]) == ("0.00", {"price changed"}, [])


def test_from_a_providers_usage_export_what_was_missed_is_shared_out_by_day(
    url: str, prices: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shadow = Use(8, "o3", 2, {"input": 1000})
    lines = [*invoice(USES, money=False), *shadow.lines(money=False)]
    usage = exported(tmp_path / "usage.json", lines)
    span = (
        "--prices",
        prices,
        "--usage",
        usage,
        "--provider",
        "openai",
        "--from",
        "2026-10-03",
        "--to",
        "2026-10-10",
    )
    _, made, _ = run(capsys, url, *span, "--apply", "--egress-team", "platform")
    wrong = sum(500 * u.tokens["input"] for u in USES if u.model == "gpt-4o" and 3 <= u.day <= 10)
    egress = [a for a in made["adjustments"] if a["team"] == "platform"]
    assert [(a["app"], a["model"]) for a in egress] == [("direct egress", "o3")]
    assert total(made) - usd_to_nano(egress[0]["usd"]) == pytest.approx(wrong, abs=10)
    _, again, _ = run(capsys, url, *span, "--apply", "--egress-team", "platform")
    assert again["adjustments"] == []


def test_an_exchange_of_several_models_is_priced_part_by_part(
    url: str, prices: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = (
        UsagePart("gpt-4o", {"input": 1000}, 2_500_000),
        UsagePart("gpt-4o-mini", {"input": 1000}, 150_000),
    )
    both = record(1, at_ms=at_ms(4), tokens={"input": 2000}, cost_nanousd=2_650_000, parts=parts)
    log = write_log(tmp_path / "usage.jsonl", [both])
    _, dry, _ = run(
        capsys, url, "--prices", prices, "--log", str(log), "--from", "2026-10-04", "--to", "2026-10-04"
    )
    assert total(dry) == 500_000


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--from", "2026-10-09", "--to", "2026-10-03", "--log", "x"), "--from must not be after --to"),
        (("--from", "2026-10-09", "--to", "2026-10-10"), "give --log FILE, or --usage FILE"),
        (("--from", "9.10.", "--to", "2026-10-10", "--log", "x"), "--from: not a day"),
        (
            ("--from", "2026-10-09", "--to", "2026-10-10", "--usage", "x"),
            "--usage and --provider belong together",
        ),
    ],
)
def test_wrong_usage_is_named(
    arguments: tuple[str, ...], says: str, url: str, prices: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(capsys, url, "--prices", prices, *arguments)
    assert (code, says in err) == (2, True), err
