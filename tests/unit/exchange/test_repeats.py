"""What makes two requests of a run the same: the model and what is said to it, and nothing else."""

from __future__ import annotations

import json
from typing import Any, ClassVar

import pytest
from unit.exchange.driver import Drive, FakeLedger, snapshot_of

from spendgate.budget.policy import RepeatRule
from spendgate.exchange import repeats
from spendgate.exchange.events import NeedReserve, Reject
from spendgate.exchange.repeats import of_run
from spendgate.ledger.exchanges import ReserveResult

RULE = RepeatRule(3, 60_000)
CHAT: dict[str, Any] = {"model": "gpt-4o", "messages": [{"role": "user", "content": "go"}], "max_tokens": 100}
CALL: dict[str, Any] = {
    "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "search", "arguments": {"id": 7}},
}  # fmt: skip


def digest(body: object, app: str = "chat", run: str = "r1", model: str = "gpt-4o") -> str:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return of_run(RULE, app, run, model, raw, refuses=True).digest


@pytest.mark.parametrize(
    "same",
    [
        CHAT | {"max_tokens": 5, "temperature": 0.7, "user": "ann", "stream": True, "seed": 4},
        dict(reversed(CHAT.items())),
        json.dumps(CHAT, indent=3).encode(),
        CHAT | {"metadata": {"try": 2}},
    ],
)
def test_limits_options_and_spelling_make_no_other_request(same: object) -> None:
    assert digest(same) == digest(CHAT)


@pytest.mark.parametrize(
    "other",
    [
        CHAT | {"messages": [*CHAT["messages"], {"role": "assistant", "content": "gone"}]},
        CHAT | {"messages": [{"role": "user", "content": "stop"}]},
        CHAT | {"system": "be kind"},
        CHAT | {"previous_response_id": "resp_1"},
        CHAT
        | {
            "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:a"}}]}]
        },
    ],
)
def test_what_is_said_makes_another(other: object) -> None:
    assert digest(other) != digest(CHAT)


def test_so_do_another_model_run_and_app() -> None:
    assert (
        len({digest(CHAT), digest(CHAT, model="o3"), digest(CHAT, run="r2"), digest(CHAT, app="batch")}) == 4
    )


def test_of_a_tool_call_its_own_number_and_progress_token_say_nothing_and_arguments_do() -> None:
    again = CALL | {"id": 2, "params": CALL["params"] | {"_meta": {"progressToken": 9}}}
    other = CALL | {"params": {"name": "search", "arguments": {"id": 8}}}
    assert digest(again) == digest(CALL) == digest(dict(CALL))
    assert digest(other) != digest(CALL)
    assert digest([CALL, other]) != digest([CALL, CALL])


def test_a_body_of_which_nothing_is_known_is_taken_whole() -> None:
    assert digest(b"--x\r\nform") == digest(b"--x\r\nform") != digest(b"--y\r\nform")
    assert digest({"unknown": 1}) != digest({"unknown": 2})


def test_a_body_is_read_once_to_be_known_again_however_often_the_ledger_is_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read: list[bytes] = []
    real = repeats._said

    def said(body: bytes) -> bytes:
        read.append(body)
        return real(body)

    class Ledger(FakeLedger):
        asked: ClassVar[list[Any]] = []

        def reserve(self, need: NeedReserve) -> ReserveResult:
            self.asked.append(need.request.repeats)
            return super().reserve(need)

    monkeypatch.setattr(repeats, "_said", said)
    budget = "{team: ml, monthlyBudgetUSD: 1000, overshootPercent: 0, repeats: {max: 3}}"
    drive = Drive(snapshot_of(budget), Ledger(ml=999_990_000_000))
    long = CHAT | {"messages": [{"role": "user", "content": "go on " * 10_000}]}
    assert isinstance(drive.send(long, headers={"x-llm-run": "r1"}), Reject)
    first, second = Ledger.asked  # counted by the bytes, then exactly
    assert first == second is not None
    assert len(read) == 1
