"""Anthropic's batches: charged what they may cost at most, as batches."""

from __future__ import annotations

import json
from typing import Any

import pytest

from spendgate.dialects.registry import by_name, find
from spendgate.errors import RequestError

PATH = "/v1/messages/batches"
DIALECT = by_name("anthropic-batches")


def item(model: str, **more: Any) -> dict[str, Any]:
    params = {"model": model, "max_tokens": 10, "messages": [{"role": "user", "content": "hi"}]}
    return {"custom_id": "c", "params": params | more}


def body(*items: dict[str, Any]) -> bytes:
    return json.dumps({"requests": list(items)}).encode()


def test_a_batch_is_the_sum_of_its_requests() -> None:
    assert find("POST", PATH, "application/json") is DIALECT
    search = [{"type": "web_search_20250305", "max_uses": 1}]
    facts = DIALECT.read_request(body(item("claude-haiku-4-5"), item("claude-opus-4-6", tools=search)), PATH)
    assert (facts.model, facts.other_models) == ("claude-haiku-4-5", ("claude-opus-4-6",))
    assert (facts.output_cap, facts.extra_output_tokens, facts.fee_kinds) == (0, 20, {"searches": 1})
    assert facts.texts[:2] == ("hi", "hi")
    assert facts.extra_input_tokens == 2 * 4 + 800
    assert (facts.service_tier, facts.model_fixed, facts.stream) == ("batch", True, False)


@pytest.mark.parametrize("raw", [b'{"requests":[]}', b'{"requests":5}', b"{}"])
def test_a_batch_of_nothing_is_not_read(raw: bytes) -> None:
    with pytest.raises(RequestError):
        DIALECT.read_request(raw, PATH)


def test_its_answer_has_used_nothing_yet() -> None:
    answer = json.dumps({"id": "msgbatch_1", "processing_status": "in_progress"}).encode()
    assert DIALECT.read_answer(answer).problem == "deferred"


def test_it_is_never_changed() -> None:
    raw = body(item("claude-haiku-4-5"))
    facts = DIALECT.read_request(raw, PATH)
    assert DIALECT.rewrite(raw, facts, model="b", output_cap=1, ask_usage=True) is raw
