"""The hook before an Envoy's pod ends: calls in flight end as if nothing were, new ones are no longer taken."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.manifests import documents, pod_templates
from support.ports import free_port
from support.processes import until

from spendgate.envoy.bootstrap import bootstrap, one_upstream
from spendgate.settings.config import Settings
from spendgate.supervisor.front import envoy_binary


class Slow(BaseHTTPRequestHandler):
    """Answers when the test lets it."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        gate: Any = self.server
        if self.path == "/v1/slow":
            gate.begun.set()
            gate.go.wait(60)
        self.send_response(200)
        self.send_header("content-length", "4")
        self.end_headers()
        self.wfile.write(b"done")

    def log_message(self, *_: object) -> None:
        pass


@dataclass
class Pod:
    """A running Envoy, its addresses, and the provider behind it."""

    url: str
    admin: str
    provider: Any
    process: subprocess.Popen[bytes]

    def hook(self, limit_s: str, leave_s: str) -> subprocess.Popen[bytes]:
        """The preStop hook as the manifest has it, with this test's times."""
        pod = dict(pod_templates(documents("overlays/envoy")))["Deployment llm-envoy"]
        command = pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
        assert command[0] == "python"
        return subprocess.Popen([sys.executable, *command[1:3], self.admin, limit_s, leave_s])


@pytest.fixture
def pod(tmp_path: Path) -> Iterator[Pod]:
    provider: Any = ThreadingHTTPServer(("127.0.0.1", 0), Slow)
    provider.begun, provider.go = threading.Event(), threading.Event()
    threading.Thread(target=provider.serve_forever, daemon=True).start()
    listen, admin = (f"127.0.0.1:{free_port()}" for _ in range(2))
    upstream = one_upstream(f"http://127.0.0.1:{provider.server_port}")
    config = bootstrap(listen, (upstream,), ["127.0.0.1:9"], Settings(), admin)
    (tmp_path / "envoy.yaml").write_text(json.dumps(config))
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [envoy_binary(), "-c", str(tmp_path / "envoy.yaml"), "--use-dynamic-base-id", "--concurrency", "1"],
            stdout=log, stderr=log,
        )  # fmt: skip
    made = Pod(f"http://{listen}", f"http://{admin}", provider, process)
    try:
        until(lambda: reach(made, "/v1/models"), lambda status: status == 200, "Envoy", 60)
        yield made
    finally:
        provider.go.set()
        process.terminate()
        process.wait(60)
        provider.shutdown()


def reach(pod: Pod, path: str) -> int:
    """The status of a new connection's request; 0 where none is taken."""
    try:
        return httpx.get(pod.url + path, trust_env=False, timeout=60).status_code
    except httpx.TransportError:
        return 0


def test_calls_in_flight_end_and_then_the_hook_does(pod: Pod) -> None:
    seen: list[int] = []
    call = threading.Thread(target=lambda: seen.append(reach(pod, "/v1/slow")))
    call.start()
    assert pod.provider.begun.wait(60)
    hook = pod.hook("120", "0")
    until(lambda: reach(pod, "/v1/models"), lambda status: status == 0, "a closed listener", 60)
    assert hook.poll() is None  # the call is still there
    pod.provider.go.set()
    assert hook.wait(60) == 0
    call.join(60)
    assert seen == [200]


def test_while_others_still_send_to_the_pod_it_takes_their_calls(pod: Pod) -> None:
    hook = pod.hook("120", "60")
    until(lambda: b"connection: close" in raw(pod), bool, "answers that end connections", 60)
    assert reach(pod, "/v1/models") == 200
    hook.kill()
    hook.wait()


def raw(pod: Pod) -> bytes:
    return b"".join(
        k.lower() + b": " + v.lower()
        for k, v in httpx.get(pod.url + "/v1/models", trust_env=False, timeout=60).headers.raw
    )


def test_a_call_that_does_not_end_is_not_waited_for_for_ever(pod: Pod) -> None:
    call = threading.Thread(target=reach, args=(pod, "/v1/slow"), daemon=True)
    call.start()
    assert pod.provider.begun.wait(60)
    assert pod.hook("0.5", "0").wait(60) == 1
