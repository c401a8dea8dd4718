"""`spendgate export` into a folder and into S3, Google's and Azure's stores (real servers on loopback): idempotent,
resumable, whole."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest import mock

import boto3
import pytest
from fsspec.registry import _registry as installed
from moto.server import ThreadedMotoServer
from support import stores
from support.asks import ask, candidate, end
from support.usage_lines import T0, record, write_log

from spendgate.cli.main import main
from spendgate.ledger.accounts import Adjustment
from spendgate.ledger.redis.embedded import EmbeddedRedis
from spendgate.ledger.redis.ledger import RedisLedger
from spendgate.months import month_key
from spendgate.records.reader import read

DAY_MS = 86_400_000
FOCUS = "focus-1.4/csv/billing_period=2026-11"
PARQUET = "focus-1.4/parquet/billing_period=2026-11"
MONTH = ("--month", "2026-11")


@pytest.fixture(scope="module")
def s3() -> Iterator[Any]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "key")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        client = boto3.client("s3")
        client.create_bucket(Bucket="acme-finops")
        yield client
    server.stop()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    records = [
        record(1, user="kim", saved_nanousd=7, end_user="u-9", tags=(("project", "atlas"),)),
        record(2, at_ms=T0 + DAY_MS, team="blue", cost_nanousd=2, tokens={"output": 3}),
        record(3, at_ms=T0 + 10 * DAY_MS),
    ]
    return write_log(tmp_path / "usage.jsonl", records)


@pytest.fixture
async def spent(ledger: RedisLedger) -> None:
    await ledger.reserve(ask("x1", candidate(10**9), app="chat"), T0)
    await ledger.settle([end("x1", 3_500_000, usage={"input": 1000, "output": 100}, at_ms=T0)], T0)
    await ledger.adjust([Adjustment("late", "red", 5 * 10**8, "the bill came late", day="20261124")], T0)


def run(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    code = 0
    try:
        main(["export", *args])
    except SystemExit as e:
        code = int(e.code or 0)
    said = capsys.readouterr()
    return code, said.out, said.err


@pytest.mark.usefixtures("spent")
class TestOfTheLedger:
    def test_a_month_is_there_with_its_manifest_and_a_second_run_changes_nothing(
        self, server: EmbeddedRedis, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        to = tmp_path / "out"
        asked = ("--redis", server.url, "--data-dir", str(tmp_path), "--to", str(to), *MONTH)
        code, out, err = run(capsys, *asked)
        assert (code, err) == (0, "")
        assert f"{FOCUS}/spendgate-2026-11.csv: " in out and "unchanged" not in out
        data = (to / FOCUS / "spendgate-2026-11.csv").read_bytes()
        manifest = json.loads((to / FOCUS / "_manifest.json").read_text())
        rows = list(csv.DictReader(io.StringIO(data.decode())))
        assert (
            sum(Decimal(r["BilledCost"]) for r in rows)
            == Decimal(manifest["billed_usd"])
            == Decimal("0.5035")
        )
        assert [r["x_AdjustmentId"] for r in rows if r["ChargeCategory"] == "Adjustment"] == ["late"]
        assert manifest["files"] == [
            {"name": "spendgate-2026-11.csv", "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        ]
        before = {p: p.stat().st_mtime_ns for p in to.rglob("*") if p.is_file()}
        _, out, _ = run(capsys, *asked)
        assert out.count("unchanged") == 2
        assert {p: p.stat().st_mtime_ns for p in to.rglob("*") if p.is_file()} == before

    def test_what_was_cut_off_or_damaged_is_written_again_and_no_part_is_left(
        self, server: EmbeddedRedis, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        to = tmp_path / "out"
        asked = ("--redis", server.url, "--data-dir", str(tmp_path), "--to", f"file://{to}", *MONTH)
        run(capsys, *asked)
        path = to / FOCUS / "spendgate-2026-11.csv"
        whole = path.read_bytes()
        path.write_bytes(whole[:-1] + b"?")  # the same size
        (to / FOCUS / "_manifest.json").unlink()
        path.with_name(path.name + ".part").write_bytes(whole[:9])
        code, out, _ = run(capsys, *asked)
        assert (code, out.count("written")) == (0, 2)
        assert sorted(p.name for p in path.parent.iterdir()) == ["_manifest.json", path.name]
        assert path.read_bytes() == whole

    def test_a_bucket_holds_what_a_folder_holds_and_is_left_alone_the_second_time(
        self, s3: Any, server: EmbeddedRedis, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        found = ("--redis", server.url, "--data-dir", str(tmp_path), *MONTH, "--as", "parquet")
        url = "s3://acme-finops/books/"
        code, out, err = run(capsys, *found, "--to", url)
        assert (code, err) == (0, ""), out
        run(capsys, *found, "--to", str(tmp_path / "out"))
        listed = s3.list_objects_v2(Bucket="acme-finops", Prefix="books/")["Contents"]
        assert {o["Key"] for o in listed} == {
            f"books/{PARQUET}/{name}" for name in ("_manifest.json", "spendgate-2026-11.parquet")
        }
        for found_there in listed:
            body = s3.get_object(Bucket="acme-finops", Key=found_there["Key"])["Body"].read()
            assert body == (tmp_path / "out" / found_there["Key"].removeprefix("books/")).read_bytes()
        _, out, _ = run(capsys, *found, "--to", url)
        again = s3.list_objects_v2(Bucket="acme-finops", Prefix="books/")["Contents"]
        assert out.count("unchanged") == 2
        assert [o["LastModified"] for o in again] == [o["LastModified"] for o in listed]

    @pytest.mark.parametrize("cloud", [stores.google, stores.azure])
    def test_the_stores_of_google_and_azure_hold_what_a_folder_holds_and_what_is_missing_is_written_again(
        self,
        cloud: Callable[[str], AbstractContextManager[stores.Bucket]],
        server: EmbeddedRedis,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        asked = ("--redis", server.url, "--data-dir", str(tmp_path), *MONTH)
        run(capsys, *asked, "--to", str(tmp_path / "out"))
        out = tmp_path / "out"
        wanted = {f"books/{p.relative_to(out)}": p.read_bytes() for p in out.rglob("*") if p.is_file()}
        with cloud("acme-finops") as bucket:

            def export() -> str:
                code, out, err = run(capsys, *asked, "--to", f"{bucket.url}/books")
                assert code == 0, err
                return out

            assert export().count("written") == 2
            assert bucket.read() == wanted
            data, manifest = sorted(wanted, key=lambda n: n.endswith("_manifest.json"))
            bucket.remove(manifest)
            bucket.put(data, wanted[data][:-1] + b"?")
            assert export().count("written") == 2
            assert bucket.read() == wanted
            assert export().count("unchanged") == 2

    def test_what_cannot_be_written_says_why_and_what_to_do(
        self, s3: Any, server: EmbeddedRedis, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        found = ("--redis", server.url, "--data-dir", str(tmp_path), *MONTH)
        code, _, err = run(capsys, *found, "--to", "s3://no-such-bucket/x")
        assert (code, "bucket does not exist" in err, "run it again" in err) == (1, True, True), err
        assert len(err.splitlines()) == 1
        with mock.patch.dict(sys.modules, {"gcsfs": None}), mock.patch.dict(installed):
            installed.pop("gs", None)
            code, _, err = run(capsys, *found, "--to", "gs://bucket/x")
        assert (code, "pip install 'spendgate[gcs]'" in err) == (1, True), err
        code, _, err = run(capsys, *found, "--to", "odd://bucket/x")
        assert (code, "--to odd://bucket/x" in err) == (1, True), err
        (tmp_path / "file").write_text("")
        code, _, err = run(capsys, *found, "--to", str(tmp_path / "file"))
        assert (code, "the store says" in err) == (1, True), err
        code, _, err = run(capsys, *found[:-1], "2026-13", "--to", str(tmp_path))
        assert (code, "YYYY-MM" in err) == (2, True)

    def test_a_month_without_spend_writes_nothing(
        self, server: EmbeddedRedis, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        found = ("--redis", server.url, "--data-dir", str(tmp_path), "--month", "2026-01")
        code, out, _ = run(capsys, *found, "--to", str(tmp_path / "out"))
        assert (code, out) == (0, "2026-01: nothing was spent; nothing is written\n")
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("file_type", ["csv", "parquet"])
def test_usage_logs_become_a_table_a_day_that_adds_up(
    file_type: str, log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    to = tmp_path / "out"
    asked = ("--to", str(to), "--format", "usage", "--log", str(log), *MONTH, "--as", file_type)
    code, out, err = run(capsys, *asked)
    assert (code, err) == (0, "")
    folder = to / f"usage/{file_type}/month=2026-11"
    files = sorted(folder.glob(f"day=*/*.{file_type}"))
    assert [f.parent.name for f in files] == ["day=2026-11-24", "day=2026-11-25"]
    assert json.loads((folder / "_manifest.json").read_text())["lines"] == 2
    if file_type == "parquet":
        import pyarrow.parquet as pq

        rows = [row for f in files for row in pq.ParquetFile(f).read().to_pylist()]
    else:
        rows = [row for f in files for row in csv.DictReader(io.StringIO(f.read_text()))]
    assert sum(Decimal(r["cost_usd"]) for r in rows) == Decimal("0.003500002")
    assert [(r["team"], r["user"], json.loads(r["tokens"])) for r in rows] == [
        ("red", "kim", {"input": 1000, "output": 100}),
        ("blue", "", {"output": 3}),
    ]
    assert str(rows[0]["time"])[:10] == "2026-11-24"
    assert [(r["end_user"] or "", r["tags"] or "") for r in rows] == [
        ("u-9", '{"project":"atlas"}'),
        ("", ""),
    ]
    _, out, _ = run(capsys, *asked)
    assert out.count("unchanged") == 3


def test_an_archive_of_messages_is_the_usage_log_once_more(
    log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    to = tmp_path / "out"
    asked = ("--to", str(to), "--format", "usage", "--log", str(log), *MONTH, "--as", "protobuf")
    code, _, err = run(capsys, *asked)
    assert (code, err) == (0, "")
    files = sorted((to / "usage/protobuf/month=2026-11").glob("day=*/usage-*.binpb"))
    november = [r for r in read([log]) if month_key(r.at_ms) == "202611"]
    assert list(read(files)) == november
    assert len(november) == 2
    _, out, _ = run(capsys, *asked)
    assert out.count("unchanged") == 3
    code, _, err = run(capsys, "--to", str(to), *MONTH, "--as", "protobuf")
    assert (code, "add --format usage" in err) == (2, True)


def test_focus_from_usage_logs_has_users_and_agrees_with_them(
    log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    to = tmp_path / "out"
    code, _, err = run(capsys, "--to", str(to), "--log", str(log), *MONTH, "--format", "focus-1.2")
    assert (code, err) == (0, "")
    text = (to / "focus-1.2/csv/billing_period=2026-11/spendgate-2026-11.csv").read_text()
    rows = list(csv.DictReader(io.StringIO(text)))
    assert sum(Decimal(r["BilledCost"]) for r in rows) == Decimal("0.003500002")
    assert {r["x_UserId"] for r in rows} == {"kim", ""}
