"""OpenAI Responses as the mock speaks them. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any

from spendgate.mock.answer import Answer, BadRequest, Order, falsify, json_tokens, piece, text, text_tokens
from spendgate.mock.openai_chat import MESSAGE_TOKENS, PRIMING_TOKENS
from spendgate.mock.sse import Event, named

STORED_TOKENS = 1_000
"""What an earlier response, a conversation or a stored prompt adds to the input: the mock keeps none, so
every one is this long."""

CAP_MIN = 16


def read(document: dict[str, Any]) -> Order:
    """Read a request. Raises BadRequest with what is wrong."""
    model, given = document.get("model"), document.get("input")
    if not isinstance(model, str) or not model:
        raise BadRequest("you must provide a model parameter")
    if given is not None and not isinstance(given, str | list):
        raise BadRequest("'input' must be a string or a list")
    cap = document.get("max_output_tokens")
    if cap is not None and (type(cap) is not int or cap < CAP_MIN):
        raise BadRequest(f"'max_output_tokens' must be a whole number from {CAP_MIN} on")
    tokens = PRIMING_TOKENS + text_tokens(document.get("instructions")) + json_tokens(document.get("tools"))
    for item in given if isinstance(given, list) else [{"content": given}]:
        if not isinstance(item, dict):
            raise BadRequest("'input' must be a string or a list of objects")
        tokens += MESSAGE_TOKENS + text_tokens(item.get("content"))
    stored = ("previous_response_id", "conversation", "prompt")
    tokens += STORED_TOKENS * sum(document.get(key) is not None for key in stored)
    return Order(model=model, prompt_tokens=tokens, cap=cap, stream=document.get("stream") is True)


def whole(answer: Answer) -> dict[str, Any]:
    """The answer as one JSON document."""
    document = {
        **_head(answer),
        "status": "incomplete" if answer.cut else "completed",
        "incomplete_details": {"reason": "max_output_tokens"} if answer.cut else None,
        "output": [_item(answer, "completed", [_part(text(answer.visible))])],
    }
    return {**document, "usage": falsify(usage(answer), answer.usage)}


def events(answer: Answer) -> Iterator[Event]:
    """The answer as a stream: the last event holds the whole response with its usage."""
    place = {"output_index": 0, "item_id": f"msg_{answer.id}", "content_index": 0}
    made = text(answer.visible)
    opened = {**_head(answer), "status": "in_progress", "output": [], "usage": None}
    before: list[dict[str, Any]] = [
        {"type": "response.created", "response": opened},
        {"type": "response.output_item.added", "output_index": 0, "item": _item(answer, "in_progress", [])},
        {"type": "response.content_part.added", **place, "part": _part("")},
    ]
    after: list[dict[str, Any]] = [
        {"type": "response.output_text.done", **place, "text": made, "logprobs": []},
        {"type": "response.content_part.done", **place, "part": _part(made)},
        {
            "type": "response.output_item.done",
            "output_index": 0,
            "item": _item(answer, "completed", [_part(made)]),
        },
        {"type": "response.incomplete" if answer.cut else "response.completed", "response": whole(answer)},
    ]
    number = count()
    for event in before:
        yield Event(named({**event, "sequence_number": next(number)}))
    for i in range(answer.visible):
        delta = {"type": "response.output_text.delta", **place, "delta": piece(i), "logprobs": []}
        yield Event(named({**delta, "sequence_number": next(number)}), 1)
    for event in after:
        yield Event(named({**event, "sequence_number": next(number)}))


def _part(content: str) -> dict[str, Any]:
    return {"type": "output_text", "text": content, "annotations": [], "logprobs": []}


def _item(answer: Answer, status: str, content: list[dict[str, Any]]) -> dict[str, Any]:
    head = {"type": "message", "id": f"msg_{answer.id}", "role": "assistant"}
    return {**head, "status": status, "content": content}


def usage(answer: Answer) -> dict[str, Any]:
    """The usage object: the details are parts of the totals."""
    prompt = answer.prompt
    details = {"cached_tokens": prompt["cached_input"]}
    if written := prompt["cache_write_5m"] + prompt["cache_write_1h"]:
        details["cache_write_tokens"] = written
    return {
        "input_tokens": answer.prompt_tokens,
        "input_tokens_details": details,
        "output_tokens": answer.output_tokens,
        "output_tokens_details": {"reasoning_tokens": answer.choices * answer.reasoning},
        "total_tokens": answer.prompt_tokens + answer.output_tokens,
    }


def _head(answer: Answer) -> dict[str, Any]:
    return {
        "id": answer.id,
        "object": "response",
        "created_at": answer.created,
        "model": answer.model,
        "error": None,
        "instructions": None,
        "metadata": {},
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
    }
