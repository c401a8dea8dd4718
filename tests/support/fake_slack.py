"""A Slack with Slack's limits: webhooks at /services/…, the Web API at /api/chat.postMessage.

One message a second and channel (`second` scales that second), and with `a_minute` so many a minute and workspace
(Slack says "several hundred"), else 429 with Retry-After: 1; invalid JSON, a missing text, one of more than 40,000
characters and an unknown channel are refused with Slack's words; `faults` are answered first, in order.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web

TEXT_MAX = 40_000


@dataclass
class FakeSlack:
    """Start with `async with`. `posts` are (channel, text) in order of acceptance."""

    second: float = 0.0
    a_minute: int = 0
    posts: list[tuple[str, str]] = field(default_factory=list)
    requests: int = 0
    limited: int = 0
    faults: list[str | int] = field(default_factory=list)
    """`hang`: never answer; `lost`: accept, never answer; `cut`: close the connection; a number: that status;
    a word: Slack's error."""
    down: str | int = ""
    """A fault for every request while set."""
    missing_channels: set[str] = field(default_factory=set)
    on_post: Callable[[str], None] = lambda text: None
    _last: dict[str, float] = field(default_factory=dict)
    _accepted: list[float] = field(default_factory=list)
    _runner: web.AppRunner | None = None
    port: int = 0

    @property
    def texts(self) -> list[str]:
        return [text for _, text in self.posts]

    @property
    def webhook(self) -> str:
        return f"http://127.0.0.1:{self.port}/services/T0/B0/x"

    @property
    def api(self) -> str:
        return f"http://127.0.0.1:{self.port}/api"

    async def until(self, posts: int, timeout_s: float = 120.0) -> None:
        """Wait for so many posts."""
        try:
            async with asyncio.timeout(timeout_s):
                while len(self.posts) < posts:  # noqa: ASYNC110  a test's fake may look again and again
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"{posts} posts did not come; seen: {len(self.posts)}") from None

    async def __aenter__(self) -> FakeSlack:
        app = web.Application(client_max_size=1 << 20)
        app.router.add_post("/services/{path:.*}", self._webhook)
        app.router.add_post("/api/chat.postMessage", self._method)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    async def _fault(self, accept: Callable[[], None]) -> int | str:
        fault = self.faults.pop(0) if self.faults else self.down
        if fault == "lost":
            accept()
        if fault in ("hang", "lost"):
            await asyncio.sleep(60)
        return fault

    def _too_fast(self, channel: str) -> bool:
        now = time.monotonic()
        self._accepted = [at for at in self._accepted if now - at < 60.0]
        many = bool(self.a_minute) and len(self._accepted) >= self.a_minute
        if many or now - self._last.get(channel, float("-inf")) < self.second:
            self.limited += 1
            return True
        self._last[channel] = now
        self._accepted.append(now)
        return False

    def _accept(self, channel: str, text: str) -> None:
        self.posts.append((channel, text))
        self.on_post(text)

    async def _webhook(self, request: web.Request) -> web.Response:
        self.requests += 1
        raw = await request.read()
        try:
            body: Any = orjson.loads(raw)
        except ValueError:
            return web.Response(status=400, text="invalid_payload")
        fault = await self._fault(lambda: self._accept("", body["text"]))
        if fault == "cut":
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        if isinstance(fault, int):
            return web.Response(status=fault, text="fault", headers={"Retry-After": "1"})
        if fault:
            return web.Response(status=404 if fault == "no_service" else 400, text=fault)
        if not isinstance(body, dict) or not body.get("text"):
            return web.Response(status=400, text="no_text")
        if len(body["text"]) > TEXT_MAX:
            return web.Response(status=400, text="msg_too_long")
        if self._too_fast(""):
            return web.Response(status=429, headers={"Retry-After": "1"}, text="rate_limited")
        self._accept("", body["text"])
        return web.Response(text="ok")

    async def _method(self, request: web.Request) -> web.Response:
        self.requests += 1
        if request.headers.get("authorization") != "Bearer xoxb-test":
            return web.json_response({"ok": False, "error": "invalid_auth"})
        try:
            body = orjson.loads(await request.read())
        except ValueError:
            return web.json_response({"ok": False, "error": "invalid_json"})
        if not body.get("channel") or not body.get("text"):
            return web.json_response(
                {"ok": False, "error": "no_text" if body.get("channel") else "no_channel"}
            )
        fault = await self._fault(lambda: self._accept(body["channel"], body["text"]))
        if isinstance(fault, int):
            return web.Response(status=fault, text="fault", headers={"Retry-After": "1"})
        if fault:
            return web.json_response({"ok": False, "error": fault})
        if body["channel"] in self.missing_channels:
            return web.json_response({"ok": False, "error": "channel_not_found"})
        if len(body["text"]) > TEXT_MAX:
            return web.json_response({"ok": False, "error": "msg_too_long"})
        if self._too_fast(body["channel"]):
            return web.Response(status=429, headers={"Retry-After": "1"})
        self._accept(body["channel"], body["text"])
        return web.json_response({"ok": True, "channel": "C1", "ts": "1.1"})
