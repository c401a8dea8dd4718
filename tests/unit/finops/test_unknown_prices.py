"""What was charged by a stand-in is found in the log."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from click.testing import CliRunner
from support.usage_lines import record

from spendgate.cli.prices import command
from spendgate.finops.unknown_prices import unknown_prices
from spendgate.records.record import PricedBy


def test_stand_ins_are_counted_with_their_money_the_dearest_first(tmp_path: Path) -> None:
    plain = record()
    model = replace(plain, model="house", priced_by=PricedBy(stand_in="gpt-5"), cost_nanousd=5)
    kind = replace(plain, model="gpt-4o", priced_by=PricedBy(unpriced=("searches",)), cost_nanousd=7)
    found = unknown_prices([plain, model, model, kind])
    assert [(u.what, u.stand_in, u.exchanges, u.cost_nanousd) for u in found] == [
        ("house", "gpt-5", 2, 10),
        ("gpt-4o: searches", "", 1, 7),
    ]
    log = tmp_path / "usage.jsonl"
    log.write_bytes(b"".join(r.line() + b"\n" for r in (plain, model, kind)))
    done = CliRunner().invoke(command, ["unknown", str(log), "-o", "json"], catch_exceptions=False)
    assert [row["what"] for row in json.loads(done.stdout)] == ["gpt-4o: searches", "house"]
    log.write_bytes(plain.line() + b"\n")
    assert "of its own" in CliRunner().invoke(command, ["unknown", str(log)]).stdout
