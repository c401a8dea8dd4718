"""An Envoy of its own before the workers of a running gateway: rendered by us, then changed."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from spendgate.supervisor.front import envoy_binary
from support.gateway import Gateway
from support.ports import free_port
from support.processes import SPENDGATE, until
from support.raw_http import send

Config = dict[str, Any]


def http2_upstream(config: Config) -> None:
    """Let Envoy speak HTTP/2 to the provider."""
    kind = "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    options = {"@type": kind, "explicit_http_config": {"http2_protocol_options": {}}}
    for cluster in config["static_resources"]["clusters"]:
        if cluster["name"] != "spendgate":
            cluster["typed_extension_protocol_options"] = {
                "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options
            }


@contextlib.contextmanager
def before(
    grpc: str, upstream: str, folder: Path, change: Callable[[Config], None], *more: str
) -> Iterator[str]:
    """Its URL, once it serves. `grpc`: a worker's endpoint; `more`: arguments of `render bootstrap`."""
    url = f"http://127.0.0.1:{free_port()}"
    argv = [SPENDGATE, "render", "bootstrap", "--listen", url.removeprefix("http://"), "--upstream", upstream]
    rendered = subprocess.run([*argv, "--grpc", grpc, *more], check=True, capture_output=True, text=True)
    config = yaml.safe_load(rendered.stdout)
    change(config)
    path = folder / f"envoy-{url.rpartition(':')[2]}.yaml"
    path.write_text(yaml.safe_dump(config))
    envoy = subprocess.Popen(
        [envoy_binary(), "-c", str(path), "--use-dynamic-base-id", "--log-level", "error"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until(lambda: _serves(url), bool, "Envoy")
        yield url
    finally:
        envoy.kill()
        envoy.wait()


def worker_of(gateway: Gateway) -> str:
    """The endpoint of the gateway's first worker."""
    return f"unix:{min((gateway.data_dir / 'run').glob('worker.sock*'))}"


def _serves(url: str) -> bool:
    try:
        return send(url, "GET", "/spendgate-is-there").status > 0
    except OSError:
        return False
