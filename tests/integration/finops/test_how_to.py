"""The commands of the how-to pages run as written, and print what the pages show."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
from support.asks import T0, end
from support.usage_lines import record, write_log

from spendgate.ledger.redis.embedded import EmbeddedRedis
from spendgate.ledger.redis.ledger import RedisLedger

ROOT = Path(__file__).parents[3]
BLOCK = re.compile(r"```bash\n(.*?)```(?:\n\n```text\n(.*?)```)?", re.DOTALL)


def blocks(page: str) -> list[tuple[str, str]]:
    """(commands, what is shown to come out of them) of a page."""
    return BLOCK.findall((ROOT / "docs" / "how-to" / page).read_text())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in (".venv", "docs"):
        (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path


def run(commands: str, folder: Path) -> str:
    done = subprocess.run(
        ["bash", "-euc", commands], cwd=folder, capture_output=True, text=True, check=False, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


def shape(text: str) -> list[str]:
    """The lines without their amounts, which move with the built-in prices."""
    lines = [" ".join(re.sub(r"[-\d.,%]+", " # ", line).split()) for line in text.splitlines()]
    return [line for line in lines if "another price list" not in line]


def test_simulate_does_what_its_page_says(folder: Path) -> None:
    pages = blocks("simulate.md")
    assert len(pages) == 3
    for commands, shown in pages:
        out = run(commands, folder)
        if shown:
            assert shape(out) == shape(shown)


def test_a_price_is_changed_as_its_page_says(folder: Path) -> None:
    pages = blocks("change-a-price.md")
    assert len(pages) == 3
    out = "".join(run(commands, folder) for commands, _ in pages)
    assert "input 2, cached_input 1, output 8" in out
    assert "each has a price" in out
    assert "gpt-4o,input,2.50,2" in (folder / "changes.csv").read_text()


async def test_chargeback_does_what_its_page_says(
    folder: Path, ledger: RedisLedger, server: EmbeddedRedis
) -> None:
    await ledger.settle([end("x1", 3_500_001, usage={"input": 1000, "output": 100})], T0)
    (folder / ".spendgate").mkdir()
    (folder / ".spendgate" / "up.json").write_text(json.dumps({"redis": server.url}))
    table, *_ = [run(commands, folder) for commands, _ in blocks("chargeback.md")]
    assert "<0.01" in table and "0.003500001" in (folder / "chargeback.json").read_text()
    for name in ("chargeback.csv", "chargeback.json", "chargeback.md", "chargeback.html", "focus.csv"):
        assert "gpt-4o" in (folder / name).read_text()
    for commands, _ in blocks("focus.md"):
        run(commands, folder)
    assert (folder / "focus.parquet").read_bytes()[:4] == b"PAR1"
    write_log(folder / ".spendgate" / "usage.jsonl", [record(1)])
    out = "".join(run(commands, folder) for commands, _ in blocks("export.md"))
    assert "unchanged" not in out
    archive = folder / "archive"
    assert (archive / "focus-1.4/parquet/billing_period=2026-11/spendgate-2026-11.parquet").is_file()
    assert (archive / "usage/csv/month=2026-11/_manifest.json").is_file()
