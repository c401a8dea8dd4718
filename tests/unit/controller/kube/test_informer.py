"""The informer against an API server made of a transport: what a watch may do to it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx

from spendgate.controller.kube.access import Access
from spendgate.controller.kube.client import Kube
from spendgate.controller.kube.informer import Delta, Informer, differences, slim
from spendgate.controller.kube.interning import Interner

Answer = Callable[[httpx.Request], httpx.Response]


def obj(name: str, version: int, uid: str = "u") -> dict[str, Any]:
    return {
        "metadata": {"name": name, "namespace": "ns", "uid": uid, "resourceVersion": str(version)},
        "spec": {},
    }


def listing(*items: dict[str, Any], version: int, more: str = "") -> httpx.Response:
    return httpx.Response(
        200, json={"metadata": {"resourceVersion": str(version), "continue": more}, "items": items}
    )


def events(*rows: tuple[str, dict[str, Any]]) -> httpx.Response:
    text = "".join(json.dumps({"type": t, "object": o}, ensure_ascii=False) + "\n" for t, o in rows)
    return httpx.Response(200, content=text.encode())


class Script(httpx.AsyncBaseTransport):
    """Answers one request after the other, then hangs."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []

    async def until(self, n: int) -> None:
        """Wait for the n-th request."""
        async with asyncio.timeout(30):
            while len(self.requests) < n:  # noqa: ASYNC110  a test's fake may look again and again
                await asyncio.sleep(0.01)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if not self.answers:
            await asyncio.Event().wait()
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


async def follow(*answers: httpx.Response | Exception) -> tuple[Informer, list[Delta], Script]:
    """Run until every answer is used."""
    script, deltas = Script(*answers), list[Delta]()
    kube = Kube(Access("http://api", None), transport=script)
    informer = Informer(kube, "/things", deltas.extend, rng=lambda: 0.0)
    task = asyncio.create_task(informer.run())
    await script.until(len(answers) + 1)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await kube.close()
    return informer, deltas, script


def told(deltas: list[Delta]) -> list[tuple[str, str]]:
    return [
        (d.key[1], "added" if d.old is None else "deleted" if d.new is None else "changed") for d in deltas
    ]


async def test_a_list_of_several_pages_is_followed_by_a_watch_from_its_version() -> None:
    informer, deltas, script = await follow(
        listing(obj("a", 1), version=9, more="next"), listing(obj("b", 2), version=9), events()
    )
    assert told(deltas) == [("a", "added"), ("b", "added")]
    assert script.requests[1].url.params["continue"] == "next"
    assert script.requests[2].url.params["resourceVersion"] == "9"
    assert informer.synced.is_set()


async def test_changes_arrive_in_order_and_bookmarks_move_the_version() -> None:
    _, deltas, script = await follow(
        listing(obj("a", 1), version=1),
        events(("MODIFIED", obj("a", 2)), ("ADDED", obj("b", 3)), ("DELETED", obj("a", 4)), ("BOOKMARK", obj("", 50))),
        events(),
    )  # fmt: skip
    assert told(deltas) == [("a", "added"), ("a", "changed"), ("b", "added"), ("a", "deleted")]
    assert script.requests[2].url.params["resourceVersion"] == "50"


async def test_a_gone_version_is_listed_anew_and_the_deletion_in_the_gap_is_told() -> None:
    gone = {"code": 410, "reason": "Expired", "message": "too old"}
    informer, deltas, _ = await follow(
        listing(obj("a", 1), obj("b", 1), version=1),
        events(("ERROR", gone)),
        listing(obj("b", 1), version=70),
    )
    assert told(deltas) == [("a", "added"), ("b", "added"), ("a", "deleted")]
    assert informer.lists == 2


async def test_a_broken_connection_resumes_where_it_was_without_a_list() -> None:
    informer, _, script = await follow(
        listing(version=5), httpx.ReadError("cut"), httpx.ConnectError("refused"), events()
    )
    assert informer.lists == 1
    assert [r.url.params["resourceVersion"] for r in script.requests[1:4]] == ["5", "5", "5"]


async def test_a_list_that_fails_empties_nothing() -> None:
    informer, deltas, _ = await follow(
        listing(obj("a", 1), version=1),
        events(("ERROR", {"code": 410})),
        httpx.Response(503, json={"reason": "ServiceUnavailable"}),
        httpx.Response(404, json={"reason": "NotFound"}),
    )
    assert list(informer.objects) == [("ns", "a")]
    assert told(deltas) == [("a", "added")]


async def test_an_object_made_anew_under_its_name_is_a_deletion_and_an_addition() -> None:
    _, deltas, _ = await follow(
        listing(obj("a", 1, "old"), version=1), events(("MODIFIED", obj("a", 2, "new")))
    )
    assert told(deltas) == [("a", "added"), ("a", "deleted"), ("a", "added")]


async def test_a_line_separator_inside_a_text_splits_nothing() -> None:
    odd = obj("a", 2) | {"spec": {"team": "x\u2028y"}}
    informer, _, _ = await follow(listing(version=1), events(("ADDED", odd)))
    assert informer.objects["ns", "a"]["spec"]["team"] == "x\u2028y"


class Trickle(httpx.AsyncByteStream):
    """A body that starts and never ends."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b'{"type": "ADDED", "object"'
        await asyncio.Event().wait()


async def test_a_server_that_goes_silent_is_left_after_our_own_deadline() -> None:
    script = Script(listing(version=1), httpx.Response(200, stream=Trickle()))
    kube = Kube(Access("http://api", None), transport=script)
    informer = Informer(kube, "/things", lambda _: None, rng=lambda: 0.0, watch_s=(-5, -5))
    task = asyncio.create_task(informer.run())
    await script.until(3)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert informer.faults >= 1
    await kube.close()


async def test_an_answer_to_our_own_write_never_hides_what_the_watch_told_since() -> None:
    informer, _, _ = await follow(listing(obj("a", 1), version=1), events(("MODIFIED", obj("a", 3))))
    newest = informer.objects["ns", "a"]
    informer.patched(slim(obj("a", 1), Interner()), obj("a", 2))
    assert informer.objects["ns", "a"] is newest
    informer.patched(newest, obj("a", 4))
    assert informer.objects["ns", "a"]["metadata"]["resourceVersion"] == "4"


def test_the_same_list_again_changes_nothing() -> None:
    old = {("ns", "a"): slim(obj("a", 1), Interner())}
    assert differences(old, {("ns", "a"): slim(obj("a", 1), Interner())}) == []


def test_what_nobody_reads_is_not_kept() -> None:
    full = obj("a", 1)
    full["metadata"] |= {"managedFields": [1], "annotations": {"k": "v"}}
    assert set(slim(full, Interner())["metadata"]) == {"name", "namespace", "uid", "resourceVersion"}
