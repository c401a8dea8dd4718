"""A gateway without ext_proc: `spendgate serve`, and Envoys that ask it by ext_authz, as we render them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml

from spendgate.supervisor.front import envoy_binary
from support.ports import free_port
from support.processes import SPENDGATE, Command, until


class AuthzGateway:
    """The workers, and the configuration of Envoys before them."""

    def __init__(self, folder: Path, policy: str, config: Mapping[str, object]) -> None:
        self.data = folder / "data"
        self.admin = f"http://127.0.0.1:{free_port()}"
        self._grpc = f"unix:{folder}/w"
        (folder / "policy.yaml").write_text(policy)
        (folder / "config.yaml").write_text(json.dumps(config))
        self._config = ["--config", str(folder / "config.yaml")]
        self._serve = Command(
            folder / "serve",
            ["serve", "--grpc", self._grpc, "--workers", "2", "--admin", self.admin.removeprefix("http://"),
             "--data-dir", str(self.data), "--policy", str(folder / "policy.yaml"), *self._config],
        )  # fmt: skip
        self._serve.ready()

    def __enter__(self) -> AuthzGateway:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._serve.stop() == 0, self._serve.stderr

    def bootstrap(self, listen: str, upstream: str) -> dict[str, Any]:
        """An Envoy that asks these workers."""
        return rendered(listen, upstream, "--grpc", self._grpc, "--workers", "2", *self._config)


def rendered(listen: str, upstream: str, *arguments: str) -> dict[str, Any]:
    """What `spendgate render bootstrap` prints for ext_authz."""
    done = subprocess.run(
        [SPENDGATE, "render", "bootstrap", "--entry", "ext_authz", "--listen", listen, "--upstream", upstream,
         *arguments],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    out: dict[str, Any] = yaml.safe_load(done.stdout)
    return out


@contextmanager
def serving(folder: Path, listen: str, config: Mapping[str, object]) -> Iterator[str]:
    """A running Envoy with this configuration, once it answers; its URL."""
    folder.mkdir()
    (folder / "envoy.yaml").write_text(yaml.safe_dump(config))
    with (folder / "envoy.log").open("wb") as log:
        process = subprocess.Popen(
            [envoy_binary(), "-c", str(folder / "envoy.yaml"), "--use-dynamic-base-id", "--concurrency", "2"],
            stdout=log, stderr=log,
        )  # fmt: skip

    def answers() -> bool:
        try:
            return httpx.get(f"http://{listen}/", trust_env=False, timeout=10).status_code > 0
        except httpx.TransportError:
            assert process.poll() is None, (folder / "envoy.log").read_text()[-2000:]
            return False

    try:
        until(answers, bool, "Envoy", 60)
        yield f"http://{listen}"
    finally:
        process.terminate()
        process.wait(60)
