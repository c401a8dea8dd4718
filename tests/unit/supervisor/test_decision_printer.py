"""Decisions as lines that a person reads."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from spendgate.records.tail import Tail
from spendgate.supervisor import decision_printer as console
from spendgate.supervisor.decision_printer import readable

ROW: dict[str, object] = {
    "time": "2026-11-24T12:34:56.000Z", "team": "ml", "app": "chat", "model_requested": "gpt-4o",
    "model": "gpt-4o", "tokens": {"input": 10, "output": 5}, "cost_usd": "0.000075", "outcome": "complete",
    "decision": "allow", "reason": "within_budget",
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({}, ["12:34:56 ✓ ml/chat gpt-4o", "$0.000075", "15 tokens"]),
        (
            {"outcome": "refused", "reason": "monthly_budget_exceeded"},
            ["✗", "refused: monthly_budget_exceeded"],
        ),
        ({"model": "gpt-4o-mini", "decision": "downgrade"}, ["↓", "gpt-4o → gpt-4o-mini"]),
        ({"outcome": "aborted"}, ["…", "aborted"]),
        ({"outcome": "unmetered"}, ["?", "unmetered"]),
    ],
)
def test_a_line_says_who_what_and_why(change: dict[str, object], parts: list[str]) -> None:
    text = readable(ROW | change).plain
    for part in parts:
        assert part in text


async def test_what_up_prints_loses_no_line_of_a_log_that_is_put_aside(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "EVERY_S", 0.01)
    path = tmp_path / "usage.jsonl"
    path.write_bytes(b"")
    printing = asyncio.create_task(console.follow(Tail(path), "json"))
    await asyncio.sleep(0.03)
    for i in range(40):
        with path.open("ab") as f:
            f.write(json.dumps({"n": i}).encode() + b"\n")
        if i == 20:
            path.rename(tmp_path / "usage-20261126T061500.000000Z.jsonl")
        if i % 7 == 0:
            await asyncio.sleep(0.03)
    seen: list[int] = []
    async with asyncio.timeout(10):
        while len(seen) < 40:
            await asyncio.sleep(0.01)
            seen += [json.loads(line)["n"] for line in capsys.readouterr().out.splitlines()]
    printing.cancel()
    assert seen == list(range(40))


async def test_what_up_prints_is_bounded_and_says_what_it_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "EVERY_S", 0.01)
    path = tmp_path / "usage.jsonl"
    path.write_bytes(b"")
    printing = asyncio.create_task(console.follow(Tail(path), "text"))
    await asyncio.sleep(0.03)
    path.write_bytes(b"".join(json.dumps(ROW).encode() + b"\n" for _ in range(500)))
    out = ""
    async with asyncio.timeout(10):
        while "more in the usage log" not in out:
            await asyncio.sleep(0.01)
            out += capsys.readouterr().out
    printing.cancel()
    shown = [line for line in out.splitlines() if "ml/chat" in line]
    assert len(shown) <= console.LINES_AT_ONCE + console.LINES_A_SECOND
    assert f"… {500 - len(shown)} more in the usage log" in out
