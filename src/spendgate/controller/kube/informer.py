"""A cache of objects that follows the API server: list, then watch, and list again where events were lost.

An object is kept without what nobody here reads (managed fields, annotations), so that ten thousand of them
stay small. Two promises: after `synced` the cache never goes empty by a fault, and every change between two
moments is told as a delta, also one that happened while the watch was down.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections.abc import Callable, Collection, Mapping

import structlog

from spendgate.controller.kube.client import Kube, KubeError, KubeUnavailable, Object
from spendgate.controller.kube.interning import Interner
from spendgate.errors import SpendgateError
from spendgate.values import dataclass

log = structlog.get_logger()

Key = tuple[str, str]
"""Namespace and name."""

WATCH_S = (30, 60)
"""A watch is renewed after a random time in between: that is also how long a frozen server stays unnoticed."""
BACKOFF_S = (0.1, 2.0)
HEALTHY_S = 5.0
"""A watch that lasted so long starts the backoff anew."""
_META = ("name", "namespace", "uid", "generation", "creationTimestamp", "resourceVersion")


@dataclass(frozen=True, slots=True)
class Delta:
    """One change: `old` None: added; `new` None: deleted. An object made anew under its old name (another
    uid) is a deletion and an addition."""

    key: Key
    old: Object | None
    new: Object | None


def slim(obj: Object, sharer: Interner, annotations: Collection[str] = ()) -> Object:
    """What is kept of an object, its parts shared with others; nobody may change it. Of who has `annotations` that
    are wanted, they alone are kept."""
    meta = obj.get("metadata") or {}
    if annotations:
        wanted = {k: v for k, v in (meta.get("annotations") or {}).items() if k in annotations}
        return {"metadata": {**{k: meta[k] for k in _META if k in meta}, "annotations": wanted}}
    kept: Object = {k: sharer.fields(v) for k, v in obj.items() if k in ("spec", "status")}
    kept |= {k: sys.intern(v) for k, v in obj.items() if k in ("apiVersion", "kind") and isinstance(v, str)}
    kept["metadata"] = {k: meta[k] for k in _META if k in meta}
    return kept


def key_of(obj: Object) -> Key:
    """Namespace and name of an object."""
    meta = obj.get("metadata") or {}
    return str(meta.get("namespace", "")), str(meta.get("name", ""))


def differences(old: Mapping[Key, Object], new: Mapping[Key, Object]) -> list[Delta]:
    """What a fresh list changes; an object of the same resourceVersion is the same."""
    out = [Delta(key, gone, None) for key, gone in old.items() if key not in new]
    for key, obj in new.items():
        out += change(key, old.get(key), obj)
    return out


def change(key: Key, old: Object | None, new: Object) -> list[Delta]:
    """The deltas of one object that is there now."""
    if old is None:
        return [Delta(key, None, new)]
    before, now = old["metadata"], new["metadata"]
    if before.get("uid") != now.get("uid"):
        return [Delta(key, old, None), Delta(key, None, new)]
    return [] if before.get("resourceVersion") == now.get("resourceVersion") else [Delta(key, old, new)]


class Informer:
    """Follows one resource. `on_deltas` is called with every batch of changes, in order."""

    def __init__(
        self,
        kube: Kube,
        path: str,
        on_deltas: Callable[[list[Delta]], None],
        *,
        rng: Callable[[], float] = random.random,
        watch_s: tuple[int, int] = WATCH_S,
        annotations: Collection[str] = (),
    ) -> None:
        self._kube = kube
        self._path = path
        self._on_deltas = on_deltas
        self._rng = rng
        self._watch_s = watch_s
        self._annotations = annotations
        self._version = ""
        self._sharer = Interner()
        self.objects: dict[Key, Object] = {}
        self.synced = asyncio.Event()
        self.lists = 0
        self.faults = 0
        self.contact_at = float("-inf")
        """Monotonic time of the last sign of life of the server."""

    async def run(self) -> None:
        """Follow for ever."""
        failures = 0
        while True:
            started = self._now()
            try:
                if not self._version:
                    await self._list()
                await self._watch()
                failures = 0
                if self._now() - started < 1.0:  # a server that ends watches at once must not be hammered
                    failures = 1
            except KubeError as problem:
                if problem.gone:
                    self._version = ""
                failures = self._failed(problem, failures, started)
            except KubeUnavailable as problem:
                failures = self._failed(problem, failures, started)
            except SpendgateError as problem:  # the token cannot be read: it may come back
                failures = self._failed(problem, failures, started)
            if failures:
                low, high = BACKOFF_S
                await asyncio.sleep(min(high, low * 2 ** min(failures, 10)) * (0.5 + self._rng()))

    def _failed(self, problem: SpendgateError, failures: int, started: float) -> int:
        self.faults += 1
        log.warning("watch_failed", path=self._path, error=str(problem))
        return 1 if self._now() - started > HEALTHY_S else failures + 1

    async def _list(self) -> None:
        self.lists += 1
        fresh: dict[Key, Object] = {}
        version = ""
        async for items, listed in self._kube.pages(self._path):
            version, self.contact_at = listed, self._now()
            for item in items:
                obj = slim(item, self._sharer, self._annotations)
                fresh[key_of(obj)] = obj
        deltas = differences(self.objects, fresh)
        self.objects = fresh
        self._version = version
        self.synced.set()
        if deltas:
            self._on_deltas(deltas)

    async def _watch(self) -> None:
        low, high = self._watch_s
        timeout_s = low + int(self._rng() * (high - low))
        async for event in self._kube.watch(self._path, self._version, timeout_s):
            self.contact_at = self._now()
            obj = slim(event.object, self._sharer, self._annotations)
            self._version = str(obj["metadata"].get("resourceVersion") or self._version)
            if event.type == "BOOKMARK":
                continue
            key = key_of(obj)
            if event.type == "DELETED":
                old = self.objects.pop(key, None)
                deltas = [Delta(key, old, None)] if old is not None else []
            else:
                deltas = change(key, self.objects.get(key), obj)
                self.objects[key] = obj
            if deltas:
                self._on_deltas(deltas)
        self.contact_at = self._now()

    def patched(self, before: Object, obj: Object) -> None:
        """Our own write on `before` was answered with `obj`: known at once, not only when the watch tells it.
        Where the watch has told something else meanwhile, that is newer and stays."""
        key = key_of(before)
        if self.objects.get(key) is before:
            self.objects[key] = slim(obj, self._sharer)

    @staticmethod
    def _now() -> float:
        return time.monotonic()


def resource_path(group: str, version: str, plural: str, namespace: str = "") -> str:
    """The API's path of a resource, of one namespace or of all."""
    base = f"/apis/{group}/{version}"
    return f"{base}/namespaces/{namespace}/{plural}" if namespace else f"{base}/{plural}"


def object_path(group: str, version: str, plural: str, key: Key) -> str:
    """The API's path of one object."""
    return f"{resource_path(group, version, plural, key[0])}/{key[1]}"
