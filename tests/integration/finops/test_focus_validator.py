"""The FOCUS export before the FinOps Foundation's own validator, at 1.2, the version whose rules it brings."""

from __future__ import annotations

import json
import re
import subprocess
from decimal import Decimal
from pathlib import Path

import pytest
from support.focus import charges, month

from spendgate.finops.chargeback.focus_columns import Version
from spendgate.finops.chargeback.focus_files import focus_csv, focus_parquet

ROOT = Path(__file__).parents[3]
VERSION: Version = "1.2"
NOT_OURS = ("AVAILABILITY_ZONE", "COMMITMENT", "CAPACITY", "PROVISIONED_RESOURCES", "RESOURCE_TYPE", "REGION")
"""What a provider of tokens does not have; rules that apply only with it are not asked for."""
ALTERNATIVES = {"InvoiceId-C-004-C", "InvoiceId-C-005-C"}
"""Of these two (an invoice is named, or is null) rule InvoiceId-C-003-C demands one; the validator prints the
other as failed, whatever the data."""


@pytest.fixture(scope="module")
def validator() -> Path:
    """The package's folder; it reads files relative to its parent."""
    made = subprocess.run(
        [str(ROOT / "scripts" / "focus_validator.sh")],
        stdout=subprocess.PIPE,
        check=True,
        text=True,
        timeout=280,
    )
    return Path(made.stdout.strip())


def judged(validator: Path, data: Path) -> dict[str, str]:
    """Every rule with its verdict."""
    rules = json.loads(next((validator / "rules").glob("model-*.json")).read_text())
    criteria = [
        c for c in rules["ApplicabilityCriteria"] if not c.startswith(NOT_OURS) and "PROVISIONED" not in c
    ]
    command = [
        str(validator.parents[3] / "bin" / "focus-validator"), "--data-file", str(data), "--validate-version", VERSION,
        "--block-download", "--output-type", "console", "--applicability-criteria", ",".join(criteria),
    ]  # fmt: skip
    done = subprocess.run(
        command, cwd=validator.parent, capture_output=True, text=True, check=False, timeout=250
    )
    found = dict(re.findall(r"^\S* ?(\w+-[CD]-\d+-[A-Z]): (PASS|FAIL|SKIPPED)", done.stdout, re.MULTILINE))
    total = re.search(r"Pass: (\d+) \| Fail: (\d+)", done.stdout)
    assert total, done.stdout[-2000:] + done.stderr[-2000:]
    assert [list(found.values()).count(w) for w in ("PASS", "FAIL")] == [int(n) for n in total.groups()]
    return found


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_the_published_validator_accepts_the_export(form: str, validator: Path, tmp_path: Path) -> None:
    data = tmp_path / f"focus.{form}"
    if form == "csv":
        data.write_text(focus_csv(month(), VERSION))
    else:
        data.write_bytes(focus_parquet(month(), VERSION))
    found = judged(validator, data)
    failed = {rule for rule, verdict in found.items() if verdict == "FAIL"}
    assert len(failed & ALTERNATIVES) == 1
    assert failed - ALTERNATIVES == set()
    assert found["InvoiceId-C-003-C"] == "PASS"
    assert list(found.values()).count("PASS") >= 250


def test_the_validator_sees_what_is_wrong(validator: Path, tmp_path: Path) -> None:
    rows = focus_csv(month(), VERSION).replace(",Usage,", ",Consumption,")
    data = tmp_path / "wrong.csv"
    data.write_text(rows)
    assert {rule for rule, v in judged(validator, data).items() if v == "FAIL"} - ALTERNATIVES


def test_parquet_and_csv_say_the_same_and_add_up_to_the_ledger(tmp_path: Path) -> None:
    import csv
    import io

    import pyarrow.parquet as pq

    data = tmp_path / "focus.parquet"
    data.write_bytes(focus_parquet(month(), VERSION))
    rows = pq.read_table(data).to_pylist()
    lines = list(csv.DictReader(io.StringIO(focus_csv(month(), VERSION))))
    assert len(rows) == len(lines)
    for row, line in zip(rows, lines, strict=True):
        assert row["BilledCost"] == Decimal(line["BilledCost"])
        assert (row["ConsumedQuantity"] is None) == (line["ConsumedQuantity"] == "")
        assert row["Tags"] == line["Tags"]
        assert row["ChargePeriodStart"].isoformat() == line["ChargePeriodStart"].replace("Z", "+00:00")
    settled = sum(c.cost_nanousd for c in charges())
    assert (
        sum(r["BilledCost"] for r in rows) * 10**9 == sum(r["EffectiveCost"] for r in rows) * 10**9 == settled
    )
    assert {json.loads(r["Tags"]).get("run") for r in rows} == {None, "run-7"}
