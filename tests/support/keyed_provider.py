"""A provider that wants its own key, at its own paths, and remembers what it was sent."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self


@dataclass(frozen=True)
class Seen:
    """One request as it arrived; header names in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class KeyedProvider:
    """Answers OpenAI chat and Anthropic messages; 401 without its key, 404 outside its paths.

    A chat answer has 3 input and 2 output tokens; `statuses` are answered first, one a request. `files` need no
    key."""

    def __init__(self, key: str = "", header: str = "authorization", paths: tuple[str, ...] = ()) -> None:
        self.key, self.header, self.paths = key, header, paths
        self.seen: list[Seen] = []
        self.statuses: list[int] = []
        self.files: dict[str, dict[str, Any]] = {}
        provider = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                seen = Seen(self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, body)
                provider.seen.append(seen)
                status, answer = provider.answer(seen)
                out = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(out)))
                self.end_headers()
                self.wfile.write(out)

            do_GET = do_POST = _answer  # noqa: N815  the base class's names

            def log_message(self, *_: Any) -> None:
                """Quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def answer(self, seen: Seen) -> tuple[int, dict[str, Any]]:
        """Status and JSON for a request."""
        if seen.path in self.files:
            return 200, self.files[seen.path]
        if self.key and seen.headers.get(self.header) != self.key:
            return 401, {"error": {"message": "wrong key", "type": "invalid_request_error"}}
        path = seen.path.partition("?")[0]
        if self.paths and path not in self.paths:
            return 404, {"error": {"message": f"no path {path}", "type": "invalid_request_error"}}
        if self.statuses:
            return self.statuses.pop(0), {"error": {"message": "as asked", "type": "server_error"}}
        if seen.method == "GET":
            return 200, {"object": "list", "data": []}
        model = json.loads(seen.body).get("model", "")
        if path.endswith("/messages"):
            usage = {"input_tokens": 3, "output_tokens": 2}
            return 200, {"id": "m", "type": "message", "role": "assistant", "model": model,
                         "content": [{"type": "text", "text": "hi"}], "stop_reason": "end_turn",
                         "usage": usage}  # fmt: skip
        usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
        return 200, {"id": "c", "object": "chat.completion", "model": model, "usage": usage,
                     "choices": [{"index": 0, "finish_reason": "stop",
                                  "message": {"role": "assistant", "content": "hi"}}]}  # fmt: skip

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
