"""Object stores on loopback, each as its cloud's own library wants it: Microsoft's Azurite (npm) for Azure's, the
package gcp-storage-emulator for Google's."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import fsspec

from support.ports import free_port
from support.processes import until

AZURITE = Path(__file__).resolve().parents[1] / "stores" / "node_modules" / ".bin" / "azurite-blob"
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""Azurite's account, the same for everybody: no secret."""


@dataclass(frozen=True)
class Bucket:
    """A bucket: its URL, to which the environment leads while it is there, and the same by its library."""

    url: str
    files: Any

    def read(self) -> dict[str, bytes]:
        """Every object by its name below the bucket."""
        self.files.invalidate_cache()
        root = self.url.partition("://")[2]
        return {name.partition("/")[2]: self.files.cat_file(name) for name in self.files.find(root)}

    def remove(self, name: str) -> None:
        """Take an object away."""
        self.files.rm(f"{self.url.partition('://')[2]}/{name}")

    def put(self, name: str, data: bytes) -> None:
        """Write an object."""
        self.files.pipe_file(f"{self.url.partition('://')[2]}/{name}", data)


@contextmanager
def azure(name: str) -> Iterator[Bucket]:
    """A container in an Azure of our own."""
    from adlfs import AzureBlobFileSystem

    node = shutil.which("node")
    assert AZURITE.exists() and node, f"no {AZURITE}; run scripts/setup_tests.sh (it needs npm)"
    port = free_port()
    command = [node, str(AZURITE.resolve()), "--inMemoryPersistence", "--silent", "--skipApiVersionCheck",
               "--disableTelemetry", "--blobHost", "127.0.0.1", "--blobPort", str(port)]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        until(lambda: _listens(port), bool, "Azurite")
        said = (
            f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={KEY};"
            f"BlobEndpoint=http://127.0.0.1:{port}/{ACCOUNT};"
        )
        files = AzureBlobFileSystem(connection_string=said)
        files.mkdir(name)
        with mock.patch.dict(os.environ, {"AZURE_STORAGE_CONNECTION_STRING": said}):
            yield Bucket(f"abfs://{name}", files)
    finally:
        process.terminate()
        process.wait(20)


@contextmanager
def google(name: str) -> Iterator[Bucket]:
    """A bucket in a Google Cloud Storage of our own."""
    from gcp_storage_emulator.server import create_server

    port = free_port()
    server = create_server("127.0.0.1", port, in_memory=True, default_bucket=name)
    server.start()
    env = {
        "STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{port}",
        "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",  # the emulator has no gRPC
    }
    try:
        with mock.patch.dict(os.environ, env), mock.patch.dict(fsspec.config.conf, {"gs": {"token": "anon"}}):
            from gcsfs import GCSFileSystem

            yield Bucket(
                f"gs://{name}", GCSFileSystem(token="anon", endpoint_url=env["STORAGE_EMULATOR_HOST"])
            )
    finally:
        server.stop()


def _listens(port: int) -> bool:
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0
