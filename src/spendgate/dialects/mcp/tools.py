"""MCP over streamable HTTP: `POST …/mcp`, and any path with a header of the protocol. JSON-RPC 2.0: a request, or a
batch of them (protocol version 2025-03-26 alone has batches).

A `tools/call` is what costs money; its price is the operator's, by server and tool. All else (`initialize`,
notifications, lists, prompts, resources, pings, answers to the server's own requests) is free. What a call costs is one
request: an answer with a result, also one that says `isError`, was made; an error of the protocol was not, unless it
says that nobody waited for the end. A call that is not answered may have been made.
(modelcontextprotocol.io, specification 2025-06-18: "Transports", "Tools"; jsonrpc.org, section 5.)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from spendgate.dialects.base import NO_HEADERS, Reading, Rejection, RequestFacts
from spendgate.dialects.json_api import JsonApi
from spendgate.dialects.mcp.stream import REFUSED, McpStreamMeter, reading_of
from spendgate.dialects.wire import json_read, outline
from spendgate.dialects.wire.json_read import JsonObject
from spendgate.dialects.wire.spelling import Spelling, says_once
from spendgate.errors import RequestError

CALL = "tools/call"
NAME_MAX = 256
HEADERS = ("mcp-protocol-version", "mcp-session-id")
"""What clients send with every request after the first (specification, "Transports")."""


class McpTools(JsonApi):
    """The dialect `mcp`."""

    name = "mcp"
    title = "MCP tools over streamable HTTP, at the operator's prices"
    provider = "mcp"
    operation = "execute_tool"
    paths: tuple[str, ...] = ("/mcp",)
    path_marks: tuple[str, ...] = ("/mcp",)
    path_regex = r"/+mcp(/+[\w.-]+)?"
    numbers_retries = False
    spelling = Spelling.of("")
    """The names of arguments are each tool's own."""
    owns_path = False

    def read_request(self, body: bytes, path: str, headers: Mapping[str, str] = NO_HEADERS) -> RequestFacts:
        """Raises RequestError."""
        items = _items(body)
        calls = [_tool(item) for item in items if _is_call(item)]
        if not calls:
            return RequestFacts(
                model=self.name, stream=False, texts=(), text_bytes=0, output_cap=0, free=True
            )
        made = {"requests": len(calls)}
        return RequestFacts(
            model=calls[0],
            stream=False,
            texts=(),
            text_bytes=0,
            output_cap=0,
            fee_kinds=made,
            known_usage=made,
            model_fixed=True,
            tools=tuple(calls),
            answers=len(calls) + sum(_may_wait(item) for item in items if not _is_call(item)),
        )

    def rewrite(
        self, body: bytes, facts: RequestFacts, *, model: str | None, output_cap: int | None, ask_usage: bool
    ) -> bytes:
        """There is nothing to change."""
        return body

    def read_answer(self, body: bytes, headers: Mapping[str, str] = NO_HEADERS) -> Reading:
        try:
            return self.read_document(outline.parse(body))
        except json_read.NotJson:
            return Reading({}, problem="not_json")

    def read_document(self, document: object) -> Reading:
        return reading_of(document if isinstance(document, list) else [document])

    def stream_meter(self, *, hide_usage: bool, count: Callable[[str], int]) -> McpStreamMeter:
        return McpStreamMeter(count=count)

    def refusal_status(self, rejection: Rejection) -> int:
        """A refusal is an answer to each request that waits for one; to what cannot be read there is none."""
        return 200 if any(_waits(item) for item in _items_or_none(rejection.request)) else rejection.status

    def error_body(self, rejection: Rejection) -> bytes:
        """One error for each request of a batch, with its id."""
        data = {"reason": rejection.code, "type": rejection.type, **rejection.details}
        error = {"code": REFUSED, "message": rejection.message, "data": data}
        items = _items_or_none(rejection.request)
        answers = [{"jsonrpc": "2.0", "id": item["id"], "error": error} for item in items if _waits(item)]
        if _is_batch(rejection.request) and answers:
            return json_read.dumps_bytes(answers)
        return json_read.dumps_bytes(
            answers[0] if answers else {"jsonrpc": "2.0", "id": None, "error": error}
        )


def _items(body: bytes) -> list[JsonObject]:
    """The messages of a body. Raises RequestError."""
    try:
        document = json_read.parse(body)
    except json_read.NotJson as e:
        raise RequestError(f"the body is not JSON: {e}") from e
    items = document if isinstance(document, list) else [document]
    if not items or not all(isinstance(item, dict) for item in items):
        raise RequestError("the body is no JSON-RPC message; send an object with jsonrpc, method and params")
    if not says_once(body, document):
        raise RequestError("the body names a thing twice")
    return items


def _items_or_none(body: bytes) -> list[JsonObject]:
    try:
        return _items(body)
    except RequestError:
        return []


def _is_batch(body: bytes) -> bool:
    return body.lstrip()[:1] == b"["


def _waits(item: JsonObject) -> bool:
    """Is it a request, and no notification or answer?"""
    return "method" in item and item.get("id") is not None


def _may_wait(item: JsonObject) -> bool:
    """Is it a request to a server that reads names in any case? Raises RequestError."""
    return _one(item, "method") is not None and any(key.lower() == "id" for key in item)


def _is_call(item: JsonObject) -> bool:
    return bool(_one(item, "method") == CALL)


def _tool(item: JsonObject) -> str:
    """The tool's name. Raises RequestError."""
    params = _one(item, "params")
    name = _one(params, "name") if isinstance(params, dict) else None
    if not isinstance(name, str) or not name.strip() or len(name) > NAME_MAX:
        raise RequestError("params.name: a tools/call names its tool in a text of 1 to 256 characters")
    return json_read.clean(name)


def _one(item: JsonObject, name: str) -> Any:
    """A member by its name, in any case: servers in Go do not tell them apart. Raises RequestError for several."""
    found = [value for key, value in item.items() if key == name or key.lower() == name]
    if len(found) > 1:
        raise RequestError(f"{name}: named twice")
    return found[0] if found else None
