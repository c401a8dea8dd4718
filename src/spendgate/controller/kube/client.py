"""The few calls of the Kubernetes API that the controller makes, each with a deadline of its own.

Why not a client library: those tried against a real API server either lose events after a fault, spin, or
wait for ever on a frozen server. A frozen server answers nothing and closes nothing, so every call here, the
watch included, is bounded by our own clock as well as by the server's.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx
import orjson

from spendgate.controller.kube.access import Access
from spendgate.errors import SpendgateError
from spendgate.values import dataclass

PAGE = 500
"""Objects a page of a list: bounds memory here and work there."""
CALL_S = 5.0
LINE_MAX = 8 * 2**20
"""Bytes of one watch event; etcd takes objects up to 1.5 MiB."""
WATCH_GRACE_S = 5.0
MERGE_PATCH = "application/merge-patch+json"

Object = dict[str, Any]


class KubeError(SpendgateError):
    """The API server refused a call. `status` is HTTP's, `reason` Kubernetes' word for it."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        self.status = status
        self.reason = reason
        super().__init__(f"{status} {reason}: {message}")

    @property
    def conflict(self) -> bool:
        """The object changed, or was made, meanwhile."""
        return self.status == 409

    @property
    def gone(self) -> bool:
        """The resourceVersion is too old: list again."""
        return self.status == 410

    @property
    def not_found(self) -> bool:
        """There is no such object or resource."""
        return self.status == 404


class KubeUnavailable(SpendgateError):
    """The API server did not answer in time, or not in a way that can be read."""


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """`type` is ADDED, MODIFIED, DELETED or BOOKMARK."""

    type: str
    object: Object


class Kube:
    """A connection to one API server. `calls` counts requests, by verb, for metrics and tests."""

    def __init__(
        self, access: Access, call_s: float = CALL_S, transport: httpx.AsyncBaseTransport | None = None
    ):
        self._access = access
        self._call_s = call_s
        self.calls: dict[str, int] = {}
        self._http = httpx.AsyncClient(
            base_url=access.server,
            verify=access.tls if access.tls is not None else False,
            timeout=httpx.Timeout(call_s),
            limits=httpx.Limits(max_connections=20, max_keepalive_connections=5),
            headers={"user-agent": "spendgate-controller", "accept": "application/json"},
            transport=transport,
            trust_env=False,
        )

    async def close(self) -> None:
        """Give connections back."""
        await self._http.aclose()

    async def get(self, path: str, params: Mapping[str, str] | None = None) -> Object:
        """GET. Raises KubeError, KubeUnavailable, as all calls here."""
        return await self._call("get", "GET", path, params=params)

    async def create(self, path: str, body: Object) -> Object:
        """POST an object."""
        return await self._call("create", "POST", path, body=body)

    async def update(self, path: str, body: Object) -> Object:
        """PUT an object; its resourceVersion guards against a write of someone else."""
        return await self._call("update", "PUT", path, body=body)

    async def merge_patch(self, path: str, body: Object) -> Object:
        """PATCH by RFC 7386: the one patch that custom resources always take."""
        return await self._call("patch", "PATCH", path, body=body, content_type=MERGE_PATCH)

    async def pages(self, path: str) -> AsyncIterator[tuple[list[Object], str]]:
        """List by pages: the objects of each, and the resourceVersion to watch from.

        Raises KubeError with `gone` where the list grew too old on the way: start again.
        """
        params = {"limit": str(PAGE)}
        while True:
            page = await self._call("list", "GET", path, params=params)
            meta = page.get("metadata") or {}
            yield page.get("items") or [], str(meta.get("resourceVersion", ""))
            if not meta.get("continue"):
                return
            params = {"limit": str(PAGE), "continue": str(meta["continue"])}

    async def watch(self, path: str, resource_version: str, timeout_s: int) -> AsyncIterator[WatchEvent]:
        """Events after a version until the server ends the watch, about `timeout_s` from now.

        Raises KubeError (410: list again), KubeUnavailable where the server breaks off or goes silent for
        longer than it was asked to keep the watch.
        """
        params = {
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(timeout_s),
        }
        self._count("watch")
        deadline = asyncio.get_running_loop().time() + timeout_s + WATCH_GRACE_S
        request = self._http.build_request(
            "GET", path, params=params, headers=self._login(), timeout=httpx.Timeout(self._call_s, read=None)
        )
        try:
            async with asyncio.timeout(self._call_s):
                response = await self._http.send(request, stream=True)
        except (httpx.HTTPError, TimeoutError) as e:
            raise KubeUnavailable(f"watch {path}: {_words(e)}") from e
        try:
            if response.status_code != 200:
                async with asyncio.timeout(self._call_s):
                    raise _error(response.status_code, await response.aread())
            lines = _lines(response.aiter_bytes())
            while True:
                async with asyncio.timeout_at(deadline):
                    line = await anext(lines, None)
                if line is None:
                    return
                yield _event(line)
        except (httpx.HTTPError, TimeoutError, ValueError) as e:
            raise KubeUnavailable(f"watch {path}: {_words(e)}") from e
        finally:
            await response.aclose()

    async def _call(
        self,
        verb: str,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Object | None = None,
        content_type: str = "application/json",
    ) -> Object:
        self._count(verb)
        headers = self._login()
        content = None
        if body is not None:
            content = orjson.dumps(body)
            headers["content-type"] = content_type
        try:
            async with asyncio.timeout(self._call_s):
                response = await self._http.request(
                    method, path, params=params, content=content, headers=headers
                )
        except (httpx.HTTPError, TimeoutError) as e:
            raise KubeUnavailable(f"{verb} {path}: {_words(e)}") from e
        if response.status_code >= 300:
            raise _error(response.status_code, response.content)
        try:
            answer = orjson.loads(response.content)
        except ValueError as e:
            raise KubeUnavailable(f"{verb} {path}: the answer is not JSON") from e
        if not isinstance(answer, dict):
            raise KubeUnavailable(f"{verb} {path}: the answer is not an object")
        return answer

    def _login(self) -> dict[str, str]:
        bearer = self._access.bearer()
        return {"authorization": f"Bearer {bearer}"} if bearer else {}

    def _count(self, verb: str) -> None:
        self.calls[verb] = self.calls.get(verb, 0) + 1


async def _lines(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Split at newlines alone: JSON text may hold other line separators. A last line cut short is left out."""
    rest = bytearray()
    async for chunk in chunks:
        rest += chunk
        if b"\n" in chunk:
            *whole, tail = bytes(rest).split(b"\n")
            rest = bytearray(tail)
            for line in whole:
                if line:
                    yield line
        elif len(rest) > LINE_MAX:
            raise ValueError(f"an event of more than {LINE_MAX} bytes")


def _event(line: bytes) -> WatchEvent:
    data = orjson.loads(line)
    kind, obj = data.get("type"), data.get("object")
    if not isinstance(kind, str) or not isinstance(obj, dict):
        raise ValueError("an event without type or object")
    if kind == "ERROR":
        code = int(obj.get("code") or 500)
        raise KubeError(code, str(obj.get("reason", "")), str(obj.get("message", "")))
    return WatchEvent(kind, obj)


def _error(status: int, content: bytes) -> KubeError:
    try:
        body = orjson.loads(content)
        return KubeError(status, str(body.get("reason", "")), str(body.get("message", "")))
    except (ValueError, AttributeError):
        return KubeError(status, "", content[:200].decode(errors="replace"))


def _words(e: BaseException) -> str:
    return f"{type(e).__name__}: {e}" if str(e) else type(e).__name__
