"""Serves the validating webhook: HTTPS for the API server, with a certificate that may be renewed meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from pathlib import Path
from typing import Any

import orjson
import structlog
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from spendgate.budget.model import GROUP
from spendgate.controller.admission import BadReview, Others, answer
from spendgate.controller.crd import PLURAL, VERSION
from spendgate.controller.kube.access import Access
from spendgate.controller.kube.client import Kube
from spendgate.controller.kube.informer import Delta, Informer, Key, key_of, resource_path
from spendgate.errors import ConfigurationError
from spendgate.tasks import cancel_and_wait

log = structlog.get_logger()

BODY_MAX = 8 * 2**20
"""Bytes of a review: old and new object of 1.5 MiB each, and room."""
LOOK_AT_FILES_S = 5.0
REMEDY = "mount the Secret of a certificate for the webhook's service name"


class TeamIndex:
    """Which budgets a team has, kept from the informer's changes."""

    def __init__(self) -> None:
        self._teams: dict[str, set[Key]] = {}

    def of(self, team: str) -> list[Key]:
        """The budgets of a team."""
        return sorted(self._teams.get(team, ()))

    def on_deltas(self, deltas: list[Delta]) -> None:
        """Follow changes."""
        for delta in deltas:
            for obj in (delta.old, delta.new):
                team = (obj.get("spec") or {}).get("team") if obj else None
                if not isinstance(team, str) or obj is None:
                    continue
                keys = self._teams.setdefault(team, set())
                (keys.discard if obj is delta.old else keys.add)(key_of(obj))
                if not keys:
                    del self._teams[team]


class Certificate:
    """A server's certificate and key from files; `follow` loads them again when they change."""

    def __init__(self, cert: Path, key: Path) -> None:
        self._files = (cert, key)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._seen = self._load()

    async def follow(self) -> None:
        """For ever. Files that cannot be read leave the certificate in use as it is."""
        while True:
            await asyncio.sleep(LOOK_AT_FILES_S)
            try:
                if self._stamp() != self._seen:
                    self._seen = self._load()
                    log.info("certificate_renewed", file=str(self._files[0]))
            except ConfigurationError as problem:
                log.error("certificate_unreadable", error=str(problem))

    def _load(self) -> tuple[int, ...]:
        cert, key = self._files
        stamp = self._stamp()
        try:
            self.context.load_cert_chain(cert, key)
        except (OSError, ssl.SSLError) as e:
            raise ConfigurationError(f"{cert}, {key}: cannot be read: {e}; {REMEDY}") from e
        return stamp

    def _stamp(self) -> tuple[int, ...]:
        try:
            return tuple(f.stat().st_mtime_ns for f in self._files)
        except OSError as e:
            raise ConfigurationError(f"{e.filename}: {e.strerror}; {REMEDY}") from e


def application(others: Others) -> Starlette:
    """POST /validate for the API server, GET /healthz for the kubelet."""

    async def validate(request: Request) -> Response:
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > BODY_MAX:
                return PlainTextResponse(f"a review of more than {BODY_MAX} bytes\n", status_code=413)
        try:
            reply = answer(orjson.loads(body), others)
        except (BadReview, orjson.JSONDecodeError) as e:
            return PlainTextResponse(f"{e}\n", status_code=400)
        if not reply["response"]["allowed"]:
            log.info("budget_refused", why=reply["response"]["status"]["message"])
        return Response(orjson.dumps(reply), media_type="application/json")

    async def healthz(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    return Starlette(
        routes=[Route("/validate", validate, methods=["POST"]), Route("/healthz", healthz)],
    )


async def serve(
    address: tuple[str, int], certificate: Certificate, access: Access | None, stop: asyncio.Event
) -> None:
    """Serve until told to stop. `access` None: no cluster to look for other budgets of a team in."""
    index = TeamIndex()
    config = uvicorn.Config(
        application(index.of), host=address[0], port=address[1], log_level="error", lifespan="off", ws="none",
        access_log=False,
    )  # fmt: skip
    config.load()
    config.ssl = certificate.context
    server = uvicorn.Server(config)
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign,assignment]
    kube = Kube(access) if access is not None else None
    tasks: list[asyncio.Task[Any]] = [
        asyncio.create_task(server.serve(), name="server"),
        asyncio.create_task(certificate.follow(), name="certificate"),
        asyncio.create_task(stop.wait(), name="stop"),
    ]
    if kube is not None:
        informer = Informer(kube, resource_path(GROUP, VERSION, PLURAL), index.on_deltas)
        tasks.append(asyncio.create_task(informer.run(), name="informer"))
    log.info("webhook_started", address=f"{address[0]}:{address[1]}", looks_for_others=kube is not None)
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks[:2] + tasks[3:]:
            if task.done():
                task.result()
                raise ConfigurationError(f"the {task.get_name()} ended; is port {address[1]} taken?")
    finally:
        server.should_exit = True
        await asyncio.gather(tasks[0], return_exceptions=True)
        await cancel_and_wait(*tasks[1:])
        if kube is not None:
            await kube.close()
        log.info("webhook_stopped")
