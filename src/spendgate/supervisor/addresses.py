"""Listen addresses: reading, free ports, one endpoint a worker."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import tempfile
from pathlib import Path

from spendgate.errors import ConfigurationError

SOCKET_NAME_ROOM = 80
"""Longest folder in which our socket names still fit a Unix address (104 to 108 bytes)."""


def host_port(text: str, what: str) -> tuple[str, int]:
    """Read `HOST:PORT`; port 0 becomes a free one. Raises ConfigurationError naming the option."""
    host, _, port = text.rpartition(":")
    host = host.strip("[]")
    if not host or not port.isdigit() or int(port) > 65535:
        raise ConfigurationError(
            f"{what}: not an address: {text!r}; write HOST:PORT, for example 127.0.0.1:10000"
        )
    number = int(port)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind((host, number))
        except OSError as e:
            raise ConfigurationError(
                f"{what}: cannot listen on {text}: {e.strerror or e}; stop what uses it, or choose another"
            ) from e
        if number == 0:
            number = int(s.getsockname()[1])
    return host, number


def joined(host: str, port: int) -> str:
    """Write an address back."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def endpoints(grpc: str, workers: int) -> list[str]:
    """One endpoint a worker: the address itself, then the following ports, or the path with `.1`, `.2`, …

    Raises ConfigurationError.
    """
    if grpc.startswith("unix:"):
        return [grpc, *(f"{grpc}.{i}" for i in range(1, workers))]
    host, _, port = grpc.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) <= 65536 - workers:
        raise ConfigurationError(f"--grpc: not an address: {grpc!r}; write HOST:PORT or unix:PATH")
    return [f"{host}:{int(port) + i}" for i in range(workers)]


def run_dir(data_dir: Path) -> Path:
    """A folder for sockets, in the data dir or, where its path is too long for a Unix address, in a private
    one of the system's temporary folder."""
    folder = data_dir / "run"
    if len(os.fsencode(folder)) > SOCKET_NAME_ROOM:
        name = hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:16]
        folder = Path(tempfile.gettempdir()) / f"spendgate-run-{os.getuid()}-{name}"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = folder.lstat()
    if status.st_uid != os.getuid() or folder.is_symlink():
        raise ConfigurationError(f"{folder} is not ours; remove it, or give a --data-dir with a shorter path")
    folder.chmod(0o700)
    return folder


def to_connect(address: str) -> str:
    """An address to connect to: a wildcard is where one listens."""
    return address.replace("0.0.0.0:", "127.0.0.1:", 1).replace("[::]:", "[::1]:", 1)


async def accepts(address: str) -> bool:
    """Does anybody take connections at HOST:PORT or unix:PATH?"""
    try:
        if address.startswith("unix:"):
            _, writer = await asyncio.open_unix_connection(address.removeprefix("unix:"))
        else:
            host, _, port = to_connect(address).rpartition(":")
            _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    except OSError:
        return False
    writer.close()
    return True
