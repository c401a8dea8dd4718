"""What the attacker sends: calls of every API, bent in every way that some server still takes. Pure and seeded, so that
an attack can be made again from its label."""

from __future__ import annotations

import gzip
import json
import random
import zlib
from dataclasses import dataclass, field
from typing import Any

import brotli
import zstandard

TALK = [{"role": "user", "content": "hi there"}]
CALLS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("/v1/chat/completions", {"model": "gpt-4o", "max_tokens": 1000, "messages": TALK}),
    ("/v1/chat/completions", {"model": "gpt-4o", "max_tokens": 1000, "stream": True, "messages": TALK}),
    ("/v1/responses", {"model": "gpt-4o", "max_output_tokens": 1000, "input": "hi there"}),
    ("/v1/completions", {"model": "gpt-3.5-turbo-instruct", "max_tokens": 1000, "prompt": "hi there"}),
    ("/v1/embeddings", {"model": "text-embedding-3-small", "input": "hi there"}),
    ("/v1/images/generations", {"model": "gpt-image-1", "prompt": "a cat"}),
    ("/v1/audio/speech", {"model": "gpt-4o-mini-tts", "voice": "alloy", "input": "hi there"}),
    ("/v1/messages", {"model": "claude-opus-4-1", "max_tokens": 1000, "messages": TALK}),
    ("/v1/messages", {"model": "claude-opus-4-1", "max_tokens": 1000, "stream": True, "messages": TALK}),
    (
        "/v1beta/models/gemini-2.5-pro:generateContent",
        {"contents": [{"parts": [{"text": "hi"}]}], "generationConfig": {"maxOutputTokens": 1000}},
    ),
    (
        "/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse",
        {"contents": [{"parts": [{"text": "hi"}]}], "generationConfig": {"maxOutputTokens": 1000}},
    ),
    ("/v2/chat", {"model": "command-a-03-2025", "max_tokens": 1000, "messages": TALK}),
    ("/api/chat", {"model": "llama3.3:70b", "messages": TALK}),
    (
        "/model/anthropic.claude-3-5-sonnet-20241022-v2:0/converse",
        {"messages": [{"role": "user", "content": [{"text": "hi"}]}], "inferenceConfig": {"maxTokens": 1000}},
    ),
)
FORMS = ("/v1/audio/transcriptions", "/v1/audio/translations", "/v1/images/edits")
ENCODERS = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": zstandard.ZstdCompressor().compress,
}
CHARSETS = ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be", "utf-8-sig")
METHODS = ("PUT", "PATCH", "GET", "DELETE", "OPTIONS", "HEAD", "QUERY")
PREFIXES = ("/openai", "/api", "/proxy/v1", "/anthropic", "/x/y/z/1/2/3")


@dataclass(frozen=True, slots=True)
class Attack:
    """One request on the wire. `pieces`: the body as it is written; `chunked`, `http2`, `trailers`: its framing;
    `leave`: the client goes away after this share of the body (1: right after it; None: it waits)."""

    label: str
    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    pieces: tuple[bytes, ...]
    http2: bool = False
    chunked: bool = False
    trailers: tuple[tuple[str, str], ...] = ()
    leave: float | None = None
    pause_s: float = 0.0
    extra: tuple[str, ...] = field(default=())
    """What was bent, for a person who reads a failure."""


def attack(seed: int) -> Attack:
    """The attack of this number."""
    rng = random.Random(seed)
    bends: list[str] = []
    target, document = rng.choice(CALLS)
    headers = {"content-type": "application/json"}
    if _one_in(rng, 10):
        target, text = rng.choice(FORMS), _form(rng, headers, bends)
    else:
        text = _document(rng, dict(document), bends)
    body = _bytes(rng, text, headers, bends)
    method = "POST"
    if _one_in(rng, 3):
        target = _path(rng, target, bends)
    if _one_in(rng, 6):
        method, target = _method(rng, target, headers, bends)
    if _one_in(rng, 4):
        _headers(rng, headers, bends)
    pieces = _pieces(rng, body)
    leave = None
    if _one_in(rng, 6):
        leave = rng.choice((0.0, 0.5, 0.99, 1.0))
        bends.append(f"leaves at {leave}")
    http2 = _one_in(rng, 3)
    trailers = (("x-a", "1"),) if _one_in(rng, 3) else ()
    return Attack(
        label=str(seed),
        method=method,
        target=target,
        headers=tuple(headers.items()),
        pieces=pieces,
        http2=http2,
        chunked=bool(trailers) or _one_in(rng, 3),
        trailers=trailers,
        leave=leave,
        pause_s=rng.choice((0, 0, 0, 0.002, 0.05)),
        extra=tuple(bends),
    )


def _one_in(rng: random.Random, n: int) -> bool:
    return rng.randrange(n) == 0


def _document(rng: random.Random, document: dict[str, Any], bends: list[str]) -> str:  # noqa: C901  # a table: a case for each bend
    """The body's text, more or less JSON."""
    if _one_in(rng, 4):
        text = rng.choice(("x ", "word ", "漢字", "{}", "\n")) * rng.choice((10, 1000, 20_000, 200_000))
        key = next((k for k in ("messages", "input", "prompt") if k in document), "")
        if key:
            document[key] = [{"role": "user", "content": text}] if key == "messages" else text
            bends.append(f"{len(text)} characters")
    bend = rng.choice(
        (
            "",
            "",
            "",
            "case",
            "twice",
            "text numbers",
            "no model",
            "odd model",
            "cap",
            "free words",
            "nested",
            "upper",
        )
    )
    bends.append(bend)
    match bend:
        case "case":
            document = {rng.choice((k.upper(), k.title(), k.swapcase())): v for k, v in document.items()}
        case "text numbers":
            document = {k: str(v) if type(v) is int else v for k, v in document.items()} | {"n": "8"}
        case "no model":
            document.pop("model", None)
        case "odd model":
            document["model"] = rng.choice(
                (
                    None,
                    "",
                    7,
                    ["gpt-4o"],
                    {"id": "gpt-4o"},
                    "gpt-4o\n",
                    " gpt-4o ",
                    "no-such",
                    "x" * 5000,
                    "\0",
                    "openai/gpt-4o",
                )
            )
        case "cap":
            document |= {
                "max_tokens": 10 ** rng.choice((3, 12, 30, 400)),
                "max_completion_tokens": rng.choice((1, -1, 1e3, "1")),
            }
        case "free words":
            document |= rng.choice(
                (
                    {"background": True},
                    {"service_tier": "batch"},
                    {"store": True},
                    {"stream_options": {"include_usage": False}},
                    {"models": ["no-such", "claude-opus-4-1"]},
                    {"dry_run": True},
                )
            )
        case "nested":
            document["extra"] = json.loads("[" * 400 + "]" * 400)
        case "upper":
            document = {k: v.upper() if isinstance(v, str) else v for k, v in document.items()}
    text = json.dumps(document, ensure_ascii=rng.random() < 0.5)
    if bend == "twice":
        text = '{"model":"gpt-4o-mini","max_tokens":1,' + text[1:]
    loose = rng.choice(
        ("", "", "", "", "tail", "lead", "comma", "comment", "single", "cut", "two", "nan", "control")
    )
    bends.append(loose)
    match loose:
        case "tail":
            text += rng.choice((" xyz", "\n\n", "\0", "}", "]]", "﻿", "\n{}"))
        case "lead":
            text = rng.choice((" \n", "﻿", "\0", "data: ", "json=", ")]}'\n")) + text
        case "comma":
            text = text[:-1] + ",}"
        case "comment":
            text = "/* x */" + text[:1] + "// y\n" + text[1:]
        case "single":
            text = text.replace('"', "'")
        case "cut":
            text = text[: -rng.randrange(1, 4)]
        case "two":
            text = text + "\n" + text
        case "nan":
            text = text[:-1] + ', "temperature": NaN}'
        case "control":
            text = text.replace("hi there", "hi\tthe\x01re")
    return text


def _form(rng: random.Random, headers: dict[str, str], bends: list[str]) -> str:
    """A file with its fields, more or less as forms are written."""
    mark = rng.choice(("b", "----WebKitFormBoundary7MA4YWxk", "'x'"))
    end = rng.choice(("\r\n", "\r\n", "\n"))
    name = rng.choice(('"{}"', "{}", "'{}'", '"{}"; x=y'))
    label = rng.choice(("Content-Disposition", "content-disposition", "CONTENT-DISPOSITION"))
    headers["content-type"] = rng.choice(
        (
            f"multipart/form-data; boundary={mark}",
            f'multipart/form-data; boundary="{mark}"',
            "application/json",
            "text/plain",
        )
    )
    bends.append(f"form {name} {label} {end!r}")
    fields = [
        ("model", rng.choice(("whisper-1", "gpt-4o-transcribe", "no-such")), ""),
        ("response_format", "json", ""),
    ]
    fields.append(
        ("file", "x" * rng.choice((10, 100_000)), f'; filename="a.mp3"{end}Content-Type: audio/mpeg')
    )
    if _one_in(rng, 3):
        fields.insert(0, ("model", "whisper-1", ""))
    parts = (
        f"--{mark}{end}{label}: form-data; name={name.format(n)}{more}{end}{end}{v}{end}"
        for n, v, more in fields
    )
    return "".join(parts) + f"--{mark}--{end}"


def _bytes(rng: random.Random, text: str, headers: dict[str, str], bends: list[str]) -> bytes:
    body = text.encode("utf-8", "surrogatepass")
    if _one_in(rng, 6):
        charset = rng.choice(CHARSETS)
        body = text.encode(charset, "surrogatepass")
        if _one_in(rng, 2):
            headers["content-type"] = f"application/json; charset={charset}"
        bends.append(charset)
    if _one_in(rng, 4):
        names = rng.choices(list(ENCODERS), k=rng.choice((1, 1, 1, 2, 3)))
        for name in names:
            body = ENCODERS[name](body)
        label = ", ".join(names)
        if not _one_in(rng, 5):
            headers["content-encoding"] = rng.choice((label, label.upper(), label.replace("gzip", "x-gzip")))
        bends.append(label)
    elif _one_in(rng, 12):
        headers["content-encoding"] = rng.choice(("gzip", "identity", "aws-chunked", "none", "br"))
        bends.append("a false encoding")
    return body


def _path(rng: random.Random, target: str, bends: list[str]) -> str:  # noqa: C901  # a table: a case for each bend
    path, mark, query = target.partition("?")
    bend = rng.choice(
        (
            "case",
            "slashes",
            "dot",
            "dots",
            "param",
            "percent",
            "twice percent",
            "blank",
            "prefix",
            "tail",
            "back",
            "query",
            "nul",
        )
    )
    bends.append(f"path {bend}")
    segments = path.split("/")
    at = rng.randrange(1, len(segments))
    match bend:
        case "case":
            path = path.swapcase() if _one_in(rng, 2) else path.title()
        case "slashes":
            segments.insert(at, "")
            path = "/".join(segments)
        case "dot":
            segments.insert(at, rng.choice((".", "%2e", "%2E")))
            path = "/".join(segments)
        case "dots":
            segments[at:at] = ["x", rng.choice(("..", "%2e%2e", ".%2e"))]
            path = "/".join(segments)
        case "param":
            segments[at] += rng.choice((";a", ";a=b", ";", ";jsessionid=1"))
            path = "/".join(segments)
        case "percent" | "twice percent":
            i = rng.choice([i for i, c in enumerate(path) if c.isalpha()])
            sign = "%" if bend == "percent" else "%25"
            path = f"{path[:i]}{sign}{ord(path[i]):02x}{path[i + 1 :]}"
        case "blank":
            path += rng.choice(("%20", "%09", "%0a", "."))
        case "prefix":
            path = rng.choice(PREFIXES) + path
        case "tail":
            path += rng.choice(("/", "//", "/.", "/x/.."))
        case "back":
            path = path.replace("/", "%5c", 2).replace("%5c", "/", 1)
        case "query":
            query = rng.choice(
                ("fields=candidates", "alt=proto", "$fields=x", "model=x", "", "_method=POST", "key=1")
            )
            mark = "?"
        case "nul":
            path += "%00"
    return path + mark + query


def _method(rng: random.Random, target: str, headers: dict[str, str], bends: list[str]) -> tuple[str, str]:
    method = rng.choice((*METHODS, "post", "Post"))
    bends.append(method)
    if _one_in(rng, 2) and method in ("GET", "DELETE", "OPTIONS", "QUERY"):
        headers[rng.choice(("x-http-method-override", "x-http-method", "x-method-override"))] = "POST"
        bends.append("override")
    return method, target


def _headers(rng: random.Random, headers: dict[str, str], bends: list[str]) -> None:
    name, value = rng.choice(
        (
            ("content-type", "multipart/form-data; boundary=x"),
            ("content-type", "text/plain"),
            ("content-type", "application/x-www-form-urlencoded"),
            ("content-type", "application/grpc"),
            ("content-type", ""),
            ("authorization", "AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/bedrock/aws4_request, "
             "SignedHeaders=host;x-llm-team, Signature=0"),
            ("x-llm-app", "spendgate-doctor"),
            ("x-llm-app", "\u00e9" * 300),
            ("x-envoy-retry-on", "5xx,reset"),
            ("x-envoy-upstream-rq-timeout-ms", "1"),
            ("x-envoy-upstream-rq-per-try-timeout-ms", "1"),
            ("x-envoy-original-path", "/health"),
            ("x-spendgate-cluster", "upstream"),
            ("x-spendgate-reason", "free"),
            ("upgrade", "websocket"),
            ("upgrade", "h2c, WebSocket"),
            ("expect", "100-continue"),
            ("range", "bytes=0-0"),
            ("x-goog-fieldmask", "candidates"),
            ("x-require-model", "gpt-4o"),
            ("accept-encoding", "zstd"),
            ("x-request-id", "same"),
            ("x-stainless-retry-count", "1"),
            ("traceparent", "00-00000000000000000000000000000000-0000000000000000-00"),
        )
    )  # fmt: skip
    headers[name] = value
    if name == "upgrade":
        headers["connection"] = "upgrade"
        headers["sec-websocket-version"], headers["sec-websocket-key"] = "13", "YWFhYWFhYWFhYWFhYWFhYQ=="
    bends.append(f"{name}: {value[:30]}")


def _pieces(rng: random.Random, body: bytes) -> tuple[bytes, ...]:
    count = rng.choice((1, 1, 1, 2, 5))
    cuts = sorted(rng.randrange(len(body) + 1) for _ in range(count - 1))
    return tuple(body[a:b] for a, b in zip([0, *cuts], [*cuts, len(body)], strict=True))
