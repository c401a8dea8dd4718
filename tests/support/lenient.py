"""An upstream that reads requests as leniently as any real parser does, bills what it read, and keeps a book.

It shares no code with the product but the price table: what it makes of a body is a second opinion.

    with Lenient() as upstream:
        ... send requests with `x-case: NAME` through a gateway ...
        assert upstream.usd("NAME") == Decimal(0)

It answers in the API's own shape, with usage, as JSON or as a stream (usage only where it was asked for, as OpenAI
does). What an answer is like is set for all (`output`, `duplicates`, …) or for one tag (`rules[tag] = Rule(…)`).
"""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import gzip
import json
import re
import threading
import zlib
from dataclasses import dataclass, field
from decimal import Decimal
from types import TracebackType
from typing import Any, Literal
from urllib.parse import parse_qsl, unquote

import brotli
import zstandard

from spendgate.pricing.load import table
from support.raw_upstream import JSON, SSE, RawUpstream, Request, fixed, pieces

INPUT, OUTPUT = 9, 4
"""Tokens of a call where nothing else says so."""
ONE_MODEL = "gpt-4o"
"""What answers where a request names no model."""
_ENCODINGS = ((codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"), (codecs.BOM_UTF8, "utf-8-sig"),
              (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))  # fmt: skip
_CAPS = ("maxtokens", "maxcompletiontokens", "maxoutputtokens", "numpredict", "maxgenlen", "maxnewtokens")
_COUNTS = ("n", "bestof", "candidatecount", "numgenerations")
_SHAPES = (
    ("generatecontent", "gemini"),
    ("embedcontent", "gemini"),
    ("/messages", "anthropic"),
    ("rawpredict", "anthropic"),
    ("/responses", "responses"),
    ("/converse", "bedrock"),
    ("/api/", "ollama"),
    ("/v2/chat", "cohere"),
)
_MODEL_IN_PATH = re.compile(
    r"/(?:models|model|deployments)/([^/]+?)(?::[a-z]+|/(?:chat|converse|invoke|completions).*)$", re.I
)


@dataclass(frozen=True)
class Rule:
    """How the calls of one tag are read and answered."""

    input: int = INPUT
    output: int | Literal["cap"] = OUTPUT
    """Output tokens billed; `cap`: all that the request allows, its choices included."""
    duplicates: Literal["first", "last"] = "last"
    """Which of doubled keys counts."""
    with_usage: bool = True
    """Does the answer tell its usage?"""
    seconds: float = 0
    """How long it works before it answers; it bills whether anybody waits or not."""
    model: str = ""
    """Answers as this model, whatever was asked for."""
    body: bytes = b""
    """Answers these bytes as JSON instead."""


@dataclass(frozen=True)
class Entry:
    """A call in the book."""

    tag: str
    team: str
    method: str
    target: str
    model: str
    input: int
    output: int
    usd: Decimal
    body: bytes
    headers: tuple[tuple[str, str], ...]
    document: Any
    """What the body was read as; None: as nothing."""


@dataclass
class Lenient:
    """Runs in a thread of its own; a context manager."""

    rule: Rule = field(default_factory=Rule)
    rules: dict[str, Rule] = field(default_factory=dict)
    book: list[Entry] = field(default_factory=list)
    url: str = ""

    def __post_init__(self) -> None:
        self._raw = RawUpstream(reply=self._reply)
        self._prices = table()
        self._lock = threading.Lock()

    def __enter__(self) -> Lenient:
        self._raw.__enter__()
        self.url = self._raw.url
        return self

    def __exit__(self, kind: type[BaseException] | None, value: object, trace: TracebackType | None) -> None:
        self._raw.__exit__(kind, value, trace)

    def calls(self, tag: str) -> list[Entry]:
        """The calls of a tag that arrived, in their order."""
        with self._lock:
            return [entry for entry in self.book if entry.tag == tag]

    def usd(self, tag: str) -> Decimal:
        """What the calls of a tag cost."""
        return sum((entry.usd for entry in self.calls(tag)), Decimal(0))

    @property
    def total_usd(self) -> Decimal:
        """What all calls cost."""
        with self._lock:
            return sum((entry.usd for entry in self.book), Decimal(0))

    async def _reply(self, request: Request, writer: asyncio.StreamWriter) -> None:
        tag = request.header("x-case") or ""
        rule = self.rules.get(tag, self.rule)
        asked = read(request, rule.duplicates)
        made = rule.output if isinstance(rule.output, int) else asked.cap * asked.choices
        model = rule.model or asked.model
        cost = self._usd(model, rule.input, made)
        entry = Entry(
            tag, request.header("x-llm-team") or "", request.method, request.target, model, rule.input, made,
            cost, request.body, tuple(request.headers), asked.document,
        )  # fmt: skip
        with self._lock:
            self.book.append(entry)
        await asyncio.sleep(rule.seconds)
        answer = fixed(rule.body, JSON) if rule.body else _answer(asked, model, rule, made)
        with contextlib.suppress(ConnectionError):
            await answer(request, writer)

    def _usd(self, model: str, input_tokens: int, output_tokens: int) -> Decimal:
        price = self._prices.find(model) or self._prices.find(ONE_MODEL)
        assert price is not None
        rates = dict(price.rates)
        pico = rates.get("input", 0) * input_tokens + rates.get("output", 0) * output_tokens
        return Decimal(pico) / 10**12


# -- reading ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Asked:
    """What a request asks for."""

    shape: str
    model: str
    cap: int
    choices: int
    stream: bool
    wants_usage: bool
    document: Any


def read(request: Request, duplicates: Literal["first", "last"] = "last") -> Asked:
    """Read a request, whatever its coding, charset, grammar and label."""
    path = unquote(unquote(request.target.partition("?")[0]))
    query = dict(parse_qsl(request.target.partition("?")[2], keep_blank_values=True))
    body = decoded(request.body, request.header("content-encoding") or "")
    document = read_body(body, request.header("content-type") or "", duplicates)
    flat = _flat(document) if isinstance(document, dict) else {}
    in_path = _MODEL_IN_PATH.search(path)
    model = flat.get("model")
    name = model.strip() if isinstance(model, str) and model.strip() else ""
    caps = [n for key in _CAPS if (n := number(flat.get(key)))]
    counts = [n for key in _COUNTS if (n := number(flat.get(key)))]
    shape = shape_of(path)
    streams = flat.get("stream") in (True, "true", 1) or "stream" in path.lower().rpartition("/")[2]
    if shape == "ollama":
        streams = flat.get("stream") is not False
    options = flat.get("streamoptions")
    included = isinstance(options, dict) and options.get("includeusage") is True
    masked = {"fields", "$fields"} & query.keys() or request.header("x-goog-fieldmask")
    return Asked(
        shape,
        (in_path[1] if in_path else name) or ONE_MODEL,
        max(caps, default=4096),
        max(counts, default=1),
        streams,
        not masked and (shape != "openai" or included or not streams),
        document,
    )


def decoded(body: bytes, content_encoding: str) -> bytes:
    """Take the content codings off; the body as it is where that does not work."""
    for name in reversed([x.strip().lower() for x in content_encoding.split(",")]):
        with contextlib.suppress(Exception):
            if name in ("gzip", "x-gzip"):
                body = gzip.decompress(body)
            elif name == "deflate":
                try:
                    body = zlib.decompress(body)
                except zlib.error:
                    body = zlib.decompress(body, -zlib.MAX_WBITS)
            elif name == "br":
                body = brotli.decompress(body)
            elif name == "zstd":
                body = zstandard.ZstdDecompressor().decompressobj().decompress(body)
    return body


def read_body(body: bytes, content_type: str, duplicates: Literal["first", "last"]) -> Any:
    """A JSON document, or a form's fields; None where it is neither."""
    if body.lstrip().startswith(b"--"):
        return _form(body)
    text = _text(body, content_type)
    try:
        return _first_document(text, duplicates)
    except (ValueError, RecursionError):
        pass
    with contextlib.suppress(ValueError, RecursionError):
        return _first_document(_strict(text), duplicates)
    return dict(parse_qsl(text)) or None if "=" in text else None


def number(value: Any) -> int:
    """A positive number, also in a string; 0 where it is none."""
    try:
        return max(0, int(float(value)))
    except (TypeError, ValueError, OverflowError):
        return 0


def _text(body: bytes, content_type: str) -> str:
    for mark, name in _ENCODINGS:
        if body.startswith(mark):
            return body.decode(name, "surrogatepass")
    zeros = "".join("0" if byte == 0 else "x" for byte in body[:4])
    name = {"000x": "utf-32-be", "x000": "utf-32-le", "0x0x": "utf-16-be", "x0x0": "utf-16-le"}.get(zeros, "")
    charset = re.search(r"charset\s*=\s*\"?([^\s;\"]+)", content_type, re.I)
    for trial in (name, "utf-8", charset[1] if charset else "latin-1"):
        with contextlib.suppress(UnicodeDecodeError, LookupError):
            if trial:
                return body.decode(trial)
    return body.decode("utf-8", "replace")


def _first_document(text: str, duplicates: Literal["first", "last"]) -> Any:
    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        return dict(items if duplicates == "last" else reversed(items))

    decoder = json.JSONDecoder(strict=False, object_pairs_hook=pairs)
    return decoder.raw_decode(text.lstrip(" \t\r\n\ufeff"))[0]


_LOOSE = re.compile(
    r"(?P<text>\"(?:[^\"\\]|\\.)*\")|(?P<single>'(?:[^'\\]|\\.)*')|(?P<note>//[^\n]*|/\*.*?\*/|#[^\n]*)"
    r"|(?P<key>[A-Za-z_$][\w$]*)(?=\s*:)|(?P<comma>,)(?=\s*[}\]])",
    re.DOTALL,
)


def _strict(text: str) -> str:
    """Loose grammar as JSON: bare keys, single quotes, comments, a comma before a bracket."""

    def one(found: re.Match[str]) -> str:
        match found.lastgroup:
            case "text":
                return found[0]
            case "single":
                return json.dumps(found[0][1:-1].replace("\\'", "'"))
            case "key":
                return json.dumps(found[0])
        return " "

    return _LOOSE.sub(one, text)


def _form(body: bytes) -> dict[str, Any]:
    mark = body.lstrip().splitlines()[0].strip()
    fields: dict[str, Any] = {}
    for part in body.split(mark)[1:]:
        head, _, content = part.replace(b"\r\n", b"\n").lstrip(b"\n").partition(b"\n\n")
        name = re.search(rb"[;\s]name\*?=(?:UTF-8'')?\"?([^\";\r\n]*)", head, re.I)
        if name and b"filename" not in head.lower():
            fields[name[1].decode().strip()] = content.removesuffix(b"\n").decode("utf-8", "replace")
    return fields


def _flat(document: dict[str, Any]) -> dict[str, Any]:
    """The members that matter, of the top level and of the objects in it, by their names in small letters."""
    out: dict[str, Any] = {}
    for key, value in document.items():
        name = key.replace("_", "").casefold()
        if isinstance(value, dict):
            inner = {k.replace("_", "").casefold(): v for k, v in value.items()}
            out.update({k: v for k, v in inner.items() if k in (*_CAPS, *_COUNTS)})
            out[name] = inner
        else:
            out[name] = value
    return out


# -- answers ------------------------------------------------------------------------------------------------


def shape_of(path: str) -> str:
    """Whose API a path is of, whatever its spelling."""
    place = path.lower()
    for mark, shape in _SHAPES:
        if mark in place:
            return shape
    return "openai"


def _usage(shape: str, asked: int, made: int) -> dict[str, Any]:
    match shape:
        case "gemini":
            counts = {
                "promptTokenCount": asked,
                "candidatesTokenCount": made,
                "totalTokenCount": asked + made,
            }
            return {"usageMetadata": counts}
        case "anthropic" | "responses":
            return {"usage": {"input_tokens": asked, "output_tokens": made, "total_tokens": asked + made}}
        case "bedrock":
            return {"usage": {"inputTokens": asked, "outputTokens": made, "totalTokens": asked + made}}
        case "ollama":
            return {"prompt_eval_count": asked, "eval_count": made}
        case "cohere":
            return {"usage": {"billed_units": {"input_tokens": asked, "output_tokens": made}}}
    return {"usage": {"prompt_tokens": asked, "completion_tokens": made, "total_tokens": asked + made}}


def _content(shape: str, model: str) -> dict[str, Any]:
    match shape:
        case "gemini":
            candidate = {"content": {"role": "model", "parts": [{"text": "hi"}]}, "finishReason": "STOP"}
            return {"candidates": [candidate], "modelVersion": model}
        case "anthropic":
            return {"type": "message", "id": "m", "role": "assistant", "model": model, "stop_reason": "end_turn",
                    "content": [{"type": "text", "text": "hi"}]}  # fmt: skip
        case "responses":
            text = {"type": "output_text", "text": "hi"}
            return {"id": "r", "object": "response", "model": model, "status": "completed",
                    "output": [{"type": "message", "role": "assistant", "content": [text]}]}  # fmt: skip
        case "bedrock":
            message = {"role": "assistant", "content": [{"text": "hi"}]}
            return {"output": {"message": message}, "stopReason": "end_turn"}
        case "ollama":
            return {"model": model, "message": {"role": "assistant", "content": "hi"}, "done": True}
        case "cohere":
            return {"id": "c", "message": {"content": [{"type": "text", "text": "hi"}]}}
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hi"}}
    return {"id": "c", "object": "chat.completion", "model": model, "choices": [choice]}


def _answer(asked: Asked, model: str, rule: Rule, made: int) -> Any:
    told = rule.with_usage and asked.wants_usage
    usage = _usage(asked.shape, rule.input, made) if told else {}
    if asked.stream:
        return _stream(asked.shape, model, usage)
    return fixed(json.dumps({**_content(asked.shape, model), **usage}).encode(), JSON)


def _event(data: Any, name: str = "") -> bytes:
    text = data if isinstance(data, str) else json.dumps(data)
    return (f"event: {name}\n" if name else "").encode() + b"data: " + text.encode() + b"\n\n"


def _stream(shape: str, model: str, usage: dict[str, Any]) -> Any:
    whole = _content(shape, model)
    match shape:
        case "gemini":
            begun: dict[str, Any] = {
                "candidates": [{"content": {"role": "model", "parts": [{"text": "h"}]}}],
                "modelVersion": model,
            }
            return pieces([_event(begun), _event({**whole, **usage})], SSE)
        case "anthropic":
            counts = usage.get("usage", {})
            begin = {"type": "message_start", "message": {**whole, "content": [], "usage": counts}}
            text = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hi"}}
            end = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": counts}
            events: list[dict[str, Any]] = [begin, text, end, {"type": "message_stop"}]
            return pieces([_event(x, str(x["type"])) for x in events], SSE)
        case "responses":
            done = {"type": "response.completed", "response": {**whole, **usage}}
            return pieces([_event(done, "response.completed")], SSE)
        case "ollama":
            begun = {"model": model, "message": {"role": "assistant", "content": "h"}, "done": False}
            lines = [json.dumps(x).encode() + b"\n" for x in (begun, {**whole, **usage})]
            return pieces(lines, "content-type: application/x-ndjson")
    delta = {"index": 0, "delta": {"content": "hi"}, "finish_reason": None}
    chunk = {"id": "c", "object": "chat.completion.chunk", "model": model, "choices": [delta]}
    last = {**chunk, "choices": [{**delta, "delta": {}, "finish_reason": "stop"}]}
    told = [_event({**chunk, "choices": [], **usage})] if usage else []
    return pieces([_event(chunk), _event(last), *told, _event("[DONE]")], SSE)
