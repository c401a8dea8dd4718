"""The mock provider's routes, as one ASGI application."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Iterator, MutableMapping
from itertools import count
from typing import Any
from urllib.parse import parse_qs, unquote

import orjson

from spendgate.mock import (
    anthropic_messages,
    bedrock,
    cohere,
    gemini,
    ollama,
    openai_chat,
    openai_embeddings,
    openai_responses,
)
from spendgate.mock.answer import Answer, BadRequest, Order, plan
from spendgate.mock.books import Books
from spendgate.mock.control import BadControl, Control, read
from spendgate.mock.exchange import EVENTS, Exchange, Gone, Receive, Send
from spendgate.mock.sse import Event, comment
from spendgate.pricing.load import table
from spendgate.values import dataclass

DEPLOYMENT = re.compile(r"^/openai/deployments/([^/]+)/chat/completions$")
GEMINI_CALL = re.compile(r"^/v1(?:beta)?/models/([^/:]+):(generateContent|streamGenerateContent)$")
CONVERSE = re.compile(r"^/model/([^/]+)/converse(-stream)?$")


@dataclass(frozen=True, slots=True)
class Api:
    """One API's ways to read and write. `foreign` are the control fields that mean nothing in it."""

    prefix: str
    whole: Callable[[Answer], dict[str, Any]]
    events: Callable[[Answer], Iterator[Event]]
    error: Callable[[int, str, str], bytes]
    foreign: tuple[str, ...]
    stream_type: bytes = EVENTS


OPENAI = Api("chatcmpl-", openai_chat.whole, openai_chat.events, openai_chat.error, ("cache_write_1h",))
RESPONSES = Api(
    "resp_", openai_responses.whole, openai_responses.events, openai_chat.error, ("cache_write_1h", "audio")
)
EMBEDDINGS = Api(
    "embd_",
    openai_embeddings.whole,
    openai_embeddings.events,
    openai_chat.error,
    ("cache_write_1h", "cache_write", "cached", "audio"),
)
ANTHROPIC = Api(
    "msg_", anthropic_messages.whole, anthropic_messages.events, anthropic_messages.error, ("audio",)
)
GEMINI = Api("", gemini.whole, gemini.events, gemini.error, ("cache_write", "cache_write_1h"))
_PLAIN = ("cached", "cache_write", "cache_write_1h", "audio")
COHERE = Api("", cohere.whole, cohere.events, cohere.error, _PLAIN)
OLLAMA = Api("", ollama.whole, ollama.events, ollama.error, (*_PLAIN, "size"), ollama.LINES)
BEDROCK = Api("", bedrock.whole, bedrock.events, bedrock.error, ("audio", "size"), bedrock.MESSAGES)


class App:
    """The mock provider. One instance has one set of books."""

    def __init__(self) -> None:
        self.books = Books()
        self._ids = count(1)
        self._open = 0

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Serve one request (ASGI)."""
        number = next(self._ids)
        exchange = Exchange(scope, receive, send, f"req_mock_{number:08d}")
        try:
            body = await exchange.body()
            if exchange.path.startswith("/mock/"):
                await self._desk(exchange)
                return
            self.books.note(exchange.method, exchange.target, exchange.headers, body)
            self._open += 1
            try:
                await self._serve(exchange, body, number)
            finally:
                self._open -= 1
        except Gone:
            return

    async def _serve(self, exchange: Exchange, body: bytes, number: int) -> None:
        api, path = _api(exchange.path), exchange.path
        try:
            control = read(exchange.headers)
            if foreign := [f for f in api.foreign if getattr(control, f)]:
                raise BadControl(f"x-mock-{foreign[0].replace('_', '-')}: this API has no such tokens")
            if control.delay_ms:
                await asyncio.sleep(control.delay_ms / 1000)
            if await self._broken(exchange, api, control):
                return
            order = _order(path, body) if exchange.method == "POST" else None
            if order is None:
                await self._other(exchange, api, body, number)
                return
        except (BadControl, BadRequest) as e:
            await self._error(exchange, api, 400, str(e))
            return
        await self._answer(exchange, api, order, control, number)

    async def _broken(self, exchange: Exchange, api: Api, control: Control) -> bool:
        """Do what was asked instead of an answer."""
        if control.fail_times and not self.books.fails(control.fail_key, control.fail_times):
            return False
        if control.reset == "before":
            self.books.resets += 1
            await exchange.reset()
        status = control.status or (503 if control.fail_times else 0)
        if status:
            await self._error(exchange, api, status, f"the mock provider was asked to fail with {status}")
        return bool(status)

    async def _answer(
        self, exchange: Exchange, api: Api, order: Order, control: Control, number: int
    ) -> None:
        answer = plan(order, control, f"{api.prefix}mock{number:08d}", int(time.time()))
        if order.stream:
            await self._stream(exchange, api, answer, control)
            return
        raw = _padded(orjson.dumps(api.whole(answer)), control.size)
        if control.body:
            raw = {"not-json": b"<html>oops</html>", "truncated": raw[: len(raw) // 2], "empty": b""}[
                control.body
            ]
        self.books.bill(answer.model, answer.tokens(), aborted=exchange.gone or control.reset == "mid")
        if control.reset == "mid":
            self.books.resets += 1
            await exchange.start("")
            await exchange.piece(raw[: len(raw) // 2])
            await exchange.reset()
        await exchange.whole(200, raw, encoding=control.encoding)

    async def _stream(self, exchange: Exchange, api: Api, answer: Answer, control: Control) -> None:
        """Send the events; bill what was sent, before the last event where all was."""
        events = list(api.events(answer))
        total = answer.choices * answer.visible
        stop = total // 2 if control.reset == "mid" or control.body == "truncated" else total + 1
        sent = length = 0
        billed = False
        await exchange.start(control.encoding, api.stream_type)
        try:
            if control.body == "not-json":
                await exchange.piece(b"data: {oops\n\n")
            for i, event in enumerate(events if control.body in ("", "truncated") else []):
                if event.tokens and sent >= stop:
                    break
                if i + 1 == len(events):
                    if control.size > length:
                        await exchange.piece(comment(control.size - length - len(event.raw)))
                    self.books.bill(answer.model, answer.tokens(sent))
                    billed = True
                await exchange.piece(event.raw)
                sent += event.tokens
                length += len(event.raw)
                if control.chunk_ms and event.tokens:
                    await asyncio.sleep(control.chunk_ms / 1000)
            if control.reset == "mid":
                self.books.resets += 1
                await exchange.reset()
            await exchange.end()
        finally:
            if not billed:
                self.books.bill(answer.model, answer.tokens(sent), aborted=True)

    async def _other(self, exchange: Exchange, api: Api, body: bytes, number: int) -> None:
        """The paths that cost nothing."""
        match exchange.method, exchange.path:
            case "GET", "/v1/models":
                models = [
                    {"id": m, "object": "model", "created": 0, "owned_by": "mock"} for m in table().names()
                ]
                await exchange.whole(200, orjson.dumps({"object": "list", "data": models}))
            case "POST", "/v1/messages/count_tokens":
                tokens = anthropic_messages.prompt_tokens(_document(body))
                await exchange.whole(200, orjson.dumps({"input_tokens": tokens}))
            case "POST", "/v1/files":
                file = {"id": f"file-mock{number:08d}", "object": "file", "bytes": len(body)}
                file |= {"created_at": int(time.time()), "filename": "upload", "purpose": "user_data"}
                await exchange.whole(200, orjson.dumps(file | {"status": "processed"}))
            case method, path:
                await self._error(exchange, api, 404, f"Invalid URL ({method} {path})")

    async def _desk(self, exchange: Exchange) -> None:
        """The mock's own pages: its books."""
        match exchange.method, exchange.path:
            case "GET", "/mock/invoice":
                await exchange.whole(200, orjson.dumps(self.books.invoice()))
            case "GET", "/mock/open":  # answers under way: what they cost is not on the invoice yet
                await exchange.whole(200, orjson.dumps({"open": self._open}))
            case "GET", "/mock/requests":
                last = parse_qs(exchange.query).get("last", ["100"])[0]
                known = self.books.requests(int(last) if last.isascii() and last.isdigit() else 100)
                await exchange.whole(200, orjson.dumps(known))
            case "POST", "/mock/reset":
                self.books = Books()
                await exchange.whole(200, b"{}")
            case method, path:
                await exchange.whole(404, orjson.dumps({"error": f"the mock has no {method} {path}"}))

    async def _error(self, exchange: Exchange, api: Api, status: int, message: str) -> None:
        self.books.errors += 1
        await exchange.whole(status, api.error(status, message, exchange.request_id))


_BY_PATH = {"/v1/responses": RESPONSES, "/v1/embeddings": EMBEDDINGS, "/v2/chat": COHERE, "/api/chat": OLLAMA}


def _api(path: str) -> Api:
    if path.startswith("/v1/messages"):
        return ANTHROPIC
    if GEMINI_CALL.match(path):
        return GEMINI
    if path.startswith("/model/"):
        return BEDROCK
    return _BY_PATH.get(path, OPENAI)


def _order(path: str, body: bytes) -> Order | None:
    """What a POST asks for; None for paths that cost nothing. Raises BadRequest."""
    if deployment := DEPLOYMENT.match(path):
        return openai_chat.read(_document(body), deployment[1])
    if call := GEMINI_CALL.match(path):
        return gemini.read(_document(body), call[1], call[2])
    if call := CONVERSE.match(path):
        return bedrock.read(_document(body), unquote(call[1]), call[2] is not None)
    reader = _READERS.get(path)
    return None if reader is None else reader(_document(body))


_READERS: dict[str, Callable[[dict[str, Any]], Order]] = {
    "/v1/chat/completions": openai_chat.read,
    "/v1/messages": anthropic_messages.read,
    "/v1/responses": openai_responses.read,
    "/v1/embeddings": openai_embeddings.read,
    "/v2/chat": cohere.read,
    "/api/chat": ollama.read,
}


def _document(body: bytes) -> dict[str, Any]:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as e:
        raise BadRequest(f"the body is not JSON: {e}") from e
    if not isinstance(document, dict):
        raise BadRequest("the body is JSON but no object")
    return document


def _padded(raw: bytes, size: int) -> bytes:
    """Lengthen a JSON object to `size` bytes by a member `padding`."""
    frame = b',"padding":""}'
    missing = size - (len(raw) - 1 + len(frame))
    return raw if missing < 0 else raw[:-1] + frame[:-2] + b"p" * missing + b'"}'
