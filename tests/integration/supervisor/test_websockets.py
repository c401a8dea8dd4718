"""WebSockets through a real Envoy, and which requests meet the filter at all."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from support.calls import who
from support.gateway import Gateway
from support.policy import budget, policy
from support.ports import free_port
from support.processes import Command, until
from support.raw_http import JSON as SENT
from support.raw_upstream import JSON, RawUpstream, Request, fixed

from spendgate.envoy.bootstrap import bootstrap, one_upstream
from spendgate.settings.config import Settings
from spendgate.supervisor.front import envoy_binary

POLICY = policy(budget("broke", 0), budget("rich", 1000), budget("audited", 0, mode="audit"))
UPGRADE = "connection: keep-alive, Upgrade\r\nupgrade: websocket\r\n"


async def switches(request: Request, writer: asyncio.StreamWriter) -> None:
    """A provider that takes sockets, and says so in the first frame."""
    assert request.header("upgrade")
    writer.write(
        b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n\x81\x02hi"
    )


@pytest.fixture(scope="module")
def upstream() -> Iterator[RawUpstream]:
    with RawUpstream() as running:
        yield running


@pytest.fixture(scope="module")
def gateway(upstream: RawUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with Gateway(tmp_path_factory.mktemp("sockets"), upstream.url, POLICY) as running:
        yield running


def knock(
    gateway: Gateway, team: str, path: str = "/v1/responses", lines: str = UPGRADE
) -> tuple[int, bytes]:
    """Ask for a socket: the status, and what follows the head."""
    with socket.create_connection(("127.0.0.1", gateway.port), 60) as client:
        head = f"GET {path} HTTP/1.1\r\nhost: h\r\nx-llm-team: {team}\r\nx-llm-app: a\r\n{lines}"
        key = "sec-websocket-version: 13\r\nsec-websocket-key: YWFhYWFhYWFhYWFhYWFhYQ==\r\n"
        client.sendall(f"{head}{key}\r\n".encode())
        seen = b""
        with contextlib.suppress(TimeoutError):
            while piece := client.recv(65536):
                seen += piece
                head_text, _, rest = seen.partition(b"\r\n\r\n")
                done = rest if b" 101 " in head_text[:20] else b"}" in rest
                if done:
                    break
        return int(seen.split(b" ", 2)[1]), rest


@pytest.mark.parametrize("team", ["broke", "rich"])
@pytest.mark.parametrize("upgrade", ["websocket", "WebSocket"])
def test_a_socket_to_an_api_that_is_there_over_http_is_426_where_a_budget_binds(
    gateway: Gateway, upstream: RawUpstream, team: str, upgrade: str
) -> None:
    asked = len(upstream.requests)
    status, body = knock(gateway, team, lines=f"connection: Upgrade\r\nupgrade: {upgrade}\r\n")
    assert (status, json.loads(body)["error"]["code"]) == (426, "websocket_refused")
    assert len(upstream.requests) == asked
    assert gateway.metric("spendgate_websockets_total", team=team, action="reject") >= 1
    assert gateway.metric("llm_requests_rejected_budget_total", team=team, reason="websocket_refused") >= 1


def test_a_socket_without_a_twin_is_403(gateway: Gateway, upstream: RawUpstream) -> None:
    asked = len(upstream.requests)
    status, body = knock(gateway, "rich", "/v1/realtime?model=gpt-4o-realtime")
    assert (status, json.loads(body)["error"]["code"]) == (403, "unknown_api")
    assert len(upstream.requests) == asked


@pytest.mark.parametrize("team", ["audited", "nobody"])
def test_where_no_budget_binds_a_socket_passes_and_is_counted(
    gateway: Gateway, upstream: RawUpstream, team: str
) -> None:
    upstream.reply = switches
    assert knock(gateway, team) == (101, b"\x81\x02hi")
    assert gateway.metric("spendgate_websockets_total", team=team, action="pass") == 1


def test_the_setting_lets_sockets_pass(upstream: RawUpstream, tmp_path: Path) -> None:
    upstream.reply = switches
    with Gateway(tmp_path, upstream.url, POLICY, config={"websockets": "pass"}, workers=1) as gateway:
        assert knock(gateway, "broke") == (101, b"\x81\x02hi")
        assert gateway.metric("spendgate_websockets_total", team="broke", action="pass") == 1


def test_what_envoys_patterns_do_not_know_is_asked_for_its_body_all_the_same(
    upstream: RawUpstream, tmp_path: Path
) -> None:
    """The patterns spare a decision by headers; what costs money the gateway decides. Here Envoy has none."""
    upstream.reply = fixed(b'{"ok":true}', JSON)
    port, grpc, admin = free_port(), f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
    (tmp_path / "policy.yaml").write_text(POLICY)
    config = bootstrap(f"127.0.0.1:{port}", (one_upstream(upstream.url),), [grpc], Settings())
    [chain] = config["static_resources"]["listeners"][0]["filter_chains"]
    [host] = chain["filters"][0]["typed_config"]["route_config"]["virtual_hosts"]
    host["routes"] = [r for r in host["routes"] if r["name"] != "llm"]
    (tmp_path / "envoy.yaml").write_text(json.dumps(config))
    argv = ["serve", "--grpc", grpc, "--admin", admin, "--data-dir", str(tmp_path / "data")]
    gateway = Command(tmp_path, [*argv, "--policy", str(tmp_path / "policy.yaml")])
    gateway.ready()
    envoy = subprocess.Popen(
        [envoy_binary(), "-c", str(tmp_path / "envoy.yaml"), "--use-dynamic-base-id", "-l", "off",
         "--concurrency", "1"]
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    try:

        def ask(team: str, path: str, content: bytes) -> int:
            try:
                return httpx.post(
                    url + path, content=content, headers={**SENT, **who(team)}, trust_env=False, timeout=60
                ).status_code
            except httpx.TransportError:
                return 0

        body = json.dumps({"model": "gpt-4o", "max_tokens": 9, "messages": [], "x": "y" * 2_000_000}).encode()
        until(lambda: ask("nobody", "/v1/files", b"{}"), lambda status: status == 200, "Envoy", 60)
        assert ask("broke", "/v1/chat/completions", body) == 429
        assert ask("rich", "/v1/chat/completions", body) == 200
        assert upstream.last.size == len(body)
        assert ask("broke", "/v1/files", b"x" * 40_000_000) == 200
    finally:
        envoy.terminate()
        envoy.wait(60)
        assert gateway.stop() == 0
