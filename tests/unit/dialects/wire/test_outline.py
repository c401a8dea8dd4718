"""Answers of millions of numbers are metered by what stands beside them."""

from __future__ import annotations

import json

import pytest

from spendgate.dialects import registry
from spendgate.dialects.wire import outline
from spendgate.dialects.wire.json_read import NotJson

USAGE = {"prompt_tokens": 8, "total_tokens": 8}


def _embeddings(numbers: int) -> bytes:
    vector = [0.0123456789, -0.5] * (numbers // 2)
    document = {"object": "list", "data": [{"index": 0, "embedding": vector}], "model": "m-1", "usage": USAGE}
    return json.dumps(document).encode()


def test_the_usage_of_a_large_answer_is_read_exactly() -> None:
    dialect = registry.find("POST", "/v1/embeddings", "application/json")
    assert dialect is not None
    small, large = (dialect.read_answer(_embeddings(n)) for n in (100, 1_200_000))
    assert large == small
    assert small.problem is None and small.usage["input"] == 8


def test_a_small_answer_is_parsed_whole() -> None:
    assert outline.parse(_embeddings(10)) == json.loads(_embeddings(10))


@pytest.mark.parametrize(
    "body", [b"[" + b"{}," * 1_000_000 + b"{}]", b'{"a":[' + b"{}," * 1_000_000 + b"{}]}"]
)
def test_what_inflates_to_millions_of_objects_is_not_looked_at(body: bytes) -> None:
    with pytest.raises(NotJson, match="too many parts"):
        outline.parse(body)


def test_a_large_answer_that_is_no_object_is_none() -> None:
    with pytest.raises(NotJson):
        outline.parse(b"[" + b"1," * 1_200_000 + b"1]")
