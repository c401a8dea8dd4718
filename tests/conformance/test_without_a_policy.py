"""`up` without a policy meters and refuses nobody: whatever is asked, the provider answers it. Only what is longer than
`max_body_bytes`, decoded, is 413."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
from collections.abc import Iterator

import pytest
from support.gateway import Gateway
from support.raw_upstream import JSON, RawUpstream, Request, fixed

ASK = {"model": "gpt-4o", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
PLAIN = json.dumps(ASK).encode()
BODIES: dict[str, tuple[bytes, dict[str, str]]] = {
    "plain": (PLAIN, {}),
    "empty": (b"", {}),
    "no JSON": (b"\x00\xff\xfenothing", {}),
    "half": (PLAIN[:20], {}),
    "a list": (b"[1,2]", {}),
    "a text": (b'"x"', {}),
    "deep": (b'{"messages":' + b"[" * 5000 + b"]" * 5000 + b"}", {}),
    "names twice": (b'{"model":"a","model":"b","max_tokens":1,"max_tokens":9}', {}),
    "single quotes": (b"{'model': 'gpt-4o', max_tokens: 9}", {}),
    "text behind": (PLAIN + b"{}", {}),
    "numbers": (b'{"model":1,"max_tokens":"9e999","n":-4}', {}),
    "no model": (b'{"messages":[]}', {}),
    "utf-16": (PLAIN.decode().encode("utf-16"), {"content-type": "application/json; charset=utf-16"}),
    "unknown charset": (PLAIN, {"content-type": "application/json; charset=nonsense"}),
    "two charsets": (PLAIN, {"content-type": "application/json; charset=utf-8; charset=utf-7"}),
    "gzip": (gzip.compress(PLAIN), {"content-encoding": "gzip"}),
    "no gzip": (PLAIN, {"content-encoding": "gzip"}),
    "bomb": (gzip.compress(b" " * 60_000_000), {"content-encoding": "gzip"}),
    "unknown coding": (PLAIN, {"content-encoding": "rot13"}),
    "form without a boundary": (b"--b\r\n\r\nx\r\n", {"content-type": "multipart/form-data"}),
    "form": (b'--b\r\ncontent-disposition: form-data; name="model"\r\n\r\nm\r\n',
             {"content-type": "multipart/form-data; boundary=b"}),
    "another type": (PLAIN, {"content-type": "text/plain"}),
    "no usage wanted": (json.dumps({**ASK, "stream": True, "stream_options": {"include_usage": False}}).encode(), {}),
    "dear": (json.dumps({**ASK, "model": "o3-pro", "max_tokens": 10**9, "n": 10**6}).encode(), {}),
}  # fmt: skip
PATHS = (
    "/v1/chat/completions", "/v1/responses", "/v1/messages", "/v1/embeddings", "/v1/audio/transcriptions",
    "/v1/images/generations", "/v1beta/models/gemini-2.5-pro:generateContent", "/model/m/converse",
    "/v1/videos", "/v1/batches", "/v1/files", "/v1/realtime/client_secrets", "/v1/fine_tuning/jobs", "/mcp", "/",
    "/v1/Chat/Completions", "/v1/x/../chat/completions", "/v1/x/%2e%2e/chat/completions", "/v1//chat\\completions",
    "/v1/chat%252Fcompletions", "/v1/chat/completions%00", "/v1/chat/completions%3Fx", "/v1/chat/completions%23",
    "/v1/chat/completions;a=b", "/v1/chat/completions?alt=sse&$fields=x", "/%ff%fe",
    "/v1beta/models/m:generateContent?$fields=candidates", "/projects/p/locations/l/publishers/x/models/m:rawPredict",
)  # fmt: skip


async def answers(request: Request, writer: asyncio.StreamWriter) -> None:
    """A provider that takes everything, sockets too."""
    if request.header("upgrade"):
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n\x81\x02hi"
        )
    else:
        await fixed(b'{"ok":true}', JSON)(request, writer)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("open")
    with RawUpstream(reply=answers) as upstream, Gateway(folder, upstream.url, workers=1) as running:
        yield running


def status(gateway: Gateway, method: str, path: str, body: bytes, **headers: str) -> int:
    """The answer's status, of bytes sent as they are."""
    head = {
        "host": "h",
        "content-type": "application/json",
        "content-length": str(len(body)),
        "connection": "close",
    }
    lines = "".join(f"{k}: {v}\r\n" for k, v in {**head, **headers}.items())
    with socket.create_connection(("127.0.0.1", gateway.port), 60) as client:
        client.sendall(f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode("latin-1") + body)
        seen = b""
        while b"\r\n" not in seen and (piece := client.recv(65536)):
            seen += piece
    return int(seen.split(b" ", 2)[1])


@pytest.mark.parametrize("name", sorted(BODIES))
def test_whatever_the_body_is_it_passes(gateway: Gateway, name: str) -> None:
    body, headers = BODIES[name]
    for team in ("payments", ""):
        named = {"x-llm-team": team} if team else {}
        for path in ("/v1/chat/completions", "/v1/responses", "/v1/messages", "/v1/embeddings",
                     "/v1/audio/transcriptions", "/v1beta/models/gemini-2.5-pro:generateContent"):  # fmt: skip
            expected = 413 if name == "bomb" else 200
            assert status(gateway, "POST", path, body, **{**headers, **named}) == expected, (path, team)


@pytest.mark.parametrize("path", sorted(set(PATHS)))
def test_whatever_the_path_and_method_are_it_passes(gateway: Gateway, path: str) -> None:
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD"):
        body = PLAIN if method in ("POST", "PUT", "PATCH") else b""
        assert status(gateway, method, path, body, **{"x-llm-team": "payments"}) == 200, method


@pytest.mark.parametrize(
    "path",
    ["/v1/responses", "/v1/chat/completions", "/v1/realtime?model=gpt-realtime", "/ws", "/v1/messages"],
)
@pytest.mark.parametrize("team", ["payments", ""])
def test_a_websocket_passes_and_is_counted(gateway: Gateway, path: str, team: str) -> None:
    before = gateway.metric("spendgate_websockets_total", action="pass")
    more = {"connection": "Upgrade", "upgrade": "websocket", "sec-websocket-version": "13",
            "sec-websocket-key": "YWFhYWFhYWFhYWFhYWFhYQ=="}  # fmt: skip
    named = {"x-llm-team": team} if team else {}
    assert status(gateway, "GET", path, b"", **{**more, **named}) == 101
    assert gateway.metric("spendgate_websockets_total", action="pass") == before + 1


def test_nothing_of_it_was_refused_in_the_books(gateway: Gateway) -> None:
    refused = gateway.metrics().get("llm_requests_rejected_budget_total", {})
    assert {reason for labels in refused for name, reason in labels if name == "reason"} <= {
        "request_too_large"
    }
