"""The provider of the bench: a fixed JSON answer with usage, or an event stream of N chunks every D ms."""

from __future__ import annotations

import asyncio
import sys

import uvloop

ANSWER = (
    b'{"id":"b","object":"chat.completion","model":"gpt-4o","choices":[{"index":0,"message":{"role":"assistant",'
    b'"content":"ok"},"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":100,"completion_tokens":10,"total_tokens":110}}'
)
JSON = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (
    len(ANSWER),
    ANSWER,
)
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def event(data: bytes) -> bytes:
    """One chunk of an event stream."""
    line = b"data: " + data + b"\n\n"
    return b"%x\r\n%s\r\n" % (len(line), line)


DELTA = event(
    b'{"id":"b","model":"gpt-4o","choices":[{"index":0,"delta":{"content":" token"}}],"usage":null}'
)
USAGE = event(
    b'{"id":"b","model":"gpt-4o","choices":[],"usage":{"prompt_tokens":9,"completion_tokens":300,"total_tokens":309}}'
)
END = event(b"[DONE]") + b"0\r\n\r\n"


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer requests on one connection."""
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            at = head.find(b"content-length:")
            body = b""
            if at >= 0:
                body = await reader.readexactly(int(head[at + 15 :].split(b"\r\n", 1)[0]))
            if b'"stream":true' not in body[-200:] and b'"stream":true' not in body[:200]:
                writer.write(JSON)
                continue
            at = head.find(b"x-bench-chunks:")
            chunks, delay_ms = 300, 5.0
            if at >= 0:
                first, _, second = head[at + 15 :].split(b"\r\n", 1)[0].partition(b"/")
                chunks, delay_ms = int(first), float(second or 0)
            writer.write(HEAD)
            for _ in range(chunks):
                if writer.is_closing():
                    return
                writer.write(DELTA)
                await writer.drain()
                if delay_ms:
                    await asyncio.sleep(delay_ms / 1000)
            writer.write(USAGE + END)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def main(port: int) -> None:
    server = await asyncio.start_server(serve, "127.0.0.1", port, limit=64 * 1024 * 1024, backlog=4096)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
