"""OpenAI embeddings as the mock speaks them. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from spendgate.mock.answer import Answer, BadRequest, Order, falsify
from spendgate.mock.sse import Event
from spendgate.tokens.count import count

VECTOR = [0.6, 0.0, -0.8]
"""What every text is embedded as: a unit vector."""


def read(document: dict[str, Any]) -> Order:
    """Read a request. Raises BadRequest with what is wrong."""
    model, given = document.get("model"), document.get("input")
    if not isinstance(model, str) or not model:
        raise BadRequest("you must provide a model parameter")
    if isinstance(given, list) and given and all(type(item) is int for item in given):
        given = [given]
    inputs = given if isinstance(given, list) else [given]
    if not inputs:
        raise BadRequest("'input' cannot be an empty list")
    return Order(model, sum(map(_tokens, inputs)), cap=0, stream=False, choices=len(inputs))


def whole(answer: Answer) -> dict[str, Any]:
    """The answer as one JSON document: a vector an input."""
    vectors = [{"object": "embedding", "index": i, "embedding": VECTOR} for i in range(answer.choices)]
    document = {"object": "list", "data": vectors, "model": answer.model}
    total = answer.prompt_tokens
    reported = falsify({"prompt_tokens": total, "total_tokens": total}, answer.usage)
    return document if reported is None else {**document, "usage": reported}


def events(answer: Answer) -> Iterator[Event]:
    """None: embeddings do not stream."""
    return iter(())


def _tokens(value: Any) -> int:
    """The tokens of one input: a text, or a list of token ids."""
    if isinstance(value, str):
        return count(value)
    if isinstance(value, list) and all(type(item) is int for item in value):
        return len(value)
    raise BadRequest("'input' must be a string, a list of strings, or lists of token ids")
