"""Running the mock provider on a socket until a signal."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from spendgate.errors import ConfigurationError
from spendgate.mock.app import App

STOP_S = 2
BACKLOG = 2048


class Protocol(H11Protocol):
    """uvicorn's protocol, which also hands the application its transport (for resets)."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.app_state: dict[str, Any] = {}

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Note the transport."""
        self.app_state["transport"] = transport
        super().connection_made(transport)


class Server(uvicorn.Server):
    """Leaves signals to `serve`: uvicorn would raise them again after its end, and exit by signal."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then say so."""
        await super().startup(sockets)
        if self.started:
            self._ready()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


def listen(host: str, port: int) -> socket.socket:
    """Open the listening socket; port 0 takes a free one. Raises ConfigurationError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    s = socket.socket(family)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        s.bind((host, port))
    except OSError as e:
        s.close()
        problem = f"--listen: cannot listen on {host}:{port}: {e.strerror or e}"
        raise ConfigurationError(f"{problem}; stop what uses it, or choose another port") from e
    s.listen(BACKLOG)
    return s


async def serve(s: socket.socket, ready: Callable[[], None]) -> None:
    """Serve on an open socket until SIGTERM or SIGINT. `ready` is called when it answers."""
    config = uvicorn.Config(
        App(),
        http=Protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        date_header=True,
        timeout_keep_alive=3600,
        timeout_graceful_shutdown=STOP_S,
    )
    server = Server(config, ready)

    def stop() -> None:
        server.should_exit = True

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    await server.serve(sockets=[s])
