"""The mock provider as a subprocess."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any

import httpx

from support.invoice import difference
from support.ports import free_port
from support.processes import Command, until


class Provider:
    """`spendgate mock-provider`; a context manager. `with provider.billed() as bill:` sees one test's share."""

    def __init__(self, folder: Path, port: int = 0) -> None:
        self.address = f"127.0.0.1:{port or free_port()}"
        self.command = Command(folder, ["mock-provider", "--listen", self.address, "--quiet"])
        self.url = self.command.ready()
        self._http = httpx.Client(base_url=self.url, trust_env=False, timeout=60)

    def __enter__(self) -> Provider:
        return self

    def __exit__(self, kind: type[BaseException] | None, _: object, __: TracebackType | None) -> None:
        self._http.close()
        status = self.command.stop()
        assert kind is not None or status == 0, self.command.stderr

    def invoice(self) -> dict[str, Any]:
        """What it would bill since its start."""
        answer: dict[str, Any] = self._http.get("/mock/invoice").json()
        return answer

    def requests(self, last: int) -> list[dict[str, Any]]:
        """The last requests that arrived, oldest first."""
        answer: list[dict[str, Any]] = self._http.get("/mock/requests", params={"last": last}).json()
        return answer

    def last(self) -> dict[str, Any]:
        """The last request that arrived."""
        return self.requests(1)[0]

    def billed(self) -> Bill:
        """Begin to watch the invoice, once all that was asked before is on it."""
        until(self._open, lambda n: n == 0, "the end of the answers under way")
        return Bill(self)

    def _open(self) -> int:
        answer: dict[str, int] = self._http.get("/mock/open").json()
        return answer["open"]


class Bill:
    """What came onto the invoice since it was made."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self._before = provider.invoice()

    def now(self) -> dict[str, Any]:
        """The models' lines that changed, as differences."""
        return difference(self._provider.invoice(), self._before)

    def requests(self) -> int:
        """How many answers were billed."""
        return sum(line["requests"] for line in self.now()["models"].values())

    def tokens(self, model: str) -> dict[str, int]:
        """Tokens by kind of one model."""
        line = self.now()["models"].get(model)
        return dict(line["tokens"]) if line else {}
