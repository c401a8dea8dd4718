"""Ready means enforcing: from its first answer to its last a gateway decides, whatever starts, dies or hangs."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import subprocess
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

import grpc
import httpx
import psutil
import pytest
import redis.asyncio as aioredis
from envoy.service.ext_proc.v3 import external_processor_pb2, external_processor_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support.calls import who
from support.gateway import Gateway
from support.policy import budget, policy
from support.ports import free_port
from support.processes import WORKER, Command, until
from support.raw_http import JSON as SENT
from support.raw_upstream import JSON, SSE, RawUpstream, fixed, pieces
from support.redis import server_of, versions
from support.snapshots import snapshot
from support.topologies import Node

from spendgate.envoy.bootstrap import bootstrap, one_upstream
from spendgate.policy.store import PolicyStore
from spendgate.protos.policy_pb2 import PolicySnapshot
from spendgate.settings.config import Settings
from spendgate.supervisor.front import envoy_binary

BODY = {"model": "gpt-4o", "max_tokens": 1000, "messages": [{"role": "user", "content": "hi there"}]}
BROKE = policy(budget("broke", 0), budget("rich", 1000))


class Knocking:
    """A request of a team every 10 ms, each on a connection of its own; a context manager."""

    def __init__(self, port: int, team: str = "broke") -> None:
        self.url, self.team = f"http://127.0.0.1:{port}/v1/chat/completions", team
        self.seen: Counter[int] = Counter()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._knock) for _ in range(2)]

    def __enter__(self) -> Knocking:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _knock(self) -> None:
        while not self._stop.wait(0.01):
            try:
                answer = httpx.post(
                    self.url, json=BODY, headers={**SENT, **who(self.team)}, trust_env=False, timeout=60
                )
                self.seen[answer.status_code] += 1
            except httpx.TransportError:
                self.seen[0] += 1


def test_no_request_passes_undecided_from_the_first_moment_to_the_last(tmp_path: Path) -> None:
    """While `up` starts, while its Envoy dies and comes again, and while it ends."""
    port, admin = free_port(), free_port()
    with RawUpstream(fixed(b"{}", JSON)) as upstream, Knocking(port) as knocking:
        with Gateway(tmp_path, upstream.url, BROKE, ports=(port, admin)) as gateway:
            until(lambda: knocking.seen[429], lambda n: n > 20, "refusals")
            [envoy] = [
                p for p in psutil.Process(gateway.command.process.pid).children() if "envoy" in p.name()
            ]
            envoy.kill()
            before = knocking.seen[429]
            until(lambda: knocking.seen[429], lambda n: n > before + 20, "refusals by another Envoy")
            until(lambda: gateway.admin.get("/readyz").status_code, lambda s: s == 200, "readiness")
        gone = knocking.seen[0]
        until(lambda: knocking.seen[0], lambda n: n > gone, "a closed door")
        assert upstream.requests == []
    assert set(knocking.seen) <= {0, 429, 503}


def test_a_worker_that_stands_still_is_replaced_and_no_stream_waits_longer_than_a_message_timeout(
    tmp_path: Path,
) -> None:
    timeout_s, streams = 1.0, 8
    config = {"message_timeout": f"{timeout_s}s", "reservation_ttl": "3s"}
    with (
        RawUpstream(pieces(counting(30), SSE, pause_s=0.15)) as upstream,
        Gateway(tmp_path, upstream.url, BROKE, config=config, clean=False) as gateway,
    ):
        gaps: list[float] = []

        def read() -> None:
            body = {**BODY, "stream": True, "stream_options": {"include_usage": True}}
            url, headers = f"{gateway.url}/v1/chat/completions", {**SENT, **who("rich")}
            with httpx.stream("POST", url, json=body, headers=headers, trust_env=False, timeout=60) as answer:
                last, text = time.monotonic(), b""
                for piece in answer.iter_raw():
                    gaps.append(time.monotonic() - last)
                    last, text = time.monotonic(), text + piece
                assert text.endswith(b"data: [DONE]\n\n"), text[-200:]

        with ThreadPoolExecutor(streams) as pool:
            reading = [pool.submit(read) for _ in range(streams)]
            until(lambda: len(gaps), lambda n: n > streams, "streams under way")
            hung = gateway.command.child(WORKER)
            hung.send_signal(signal.SIGSTOP)
            for done in reading:
                done.result(60)
        assert max(gaps) < timeout_s + 0.8
        with contextlib.suppress(psutil.NoSuchProcess):
            hung.wait(30)
        until(lambda: gateway.metric("spendgate_hung_workers_total"), lambda n: n == 1, "its end")
        until(lambda: gateway.admin.get("/readyz").status_code, lambda s: s == 200, "readiness")
        assert len(gateway.command.children(WORKER)) == 2
        # what the other one saw is exact; what this one left behind is charged what was held
        assert gateway.spent("rich", streams) >= streams * Decimal("0.0000625")


def counting(pieces: int) -> list[bytes]:
    """A stream of chat chunks, 9 tokens in and 4 out."""
    head = {"id": "a", "object": "chat.completion.chunk", "model": "gpt-4o"}
    delta = [{"index": 0, "delta": {"content": "x"}, "finish_reason": None}]
    usage = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}
    chunks = [{**head, "choices": delta} for _ in range(pieces)] + [{**head, "choices": [], "usage": usage}]
    return [*(b"data: " + json.dumps(x).encode() + b"\n\n" for x in chunks), b"data: [DONE]\n\n"]


NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def health_of(endpoint: str) -> int:
    """Its gRPC health; -1 where nobody answers."""
    with grpc.insecure_channel(endpoint, options=[("grpc.enable_http_proxy", 0)]) as channel:
        request = health_pb2.HealthCheckRequest(service="")
        try:
            return int(health_pb2_grpc.HealthStub(channel).Check(request, timeout=60).status)
        except grpc.RpcError:
            return -1


async def written(url: str, document: PolicySnapshot) -> None:
    """What the controller does."""
    client = aioredis.Redis.from_url(url)
    assert (await PolicyStore(client).write(document, after=0, fence=1)).outcome == "written"
    await client.aclose()


@dataclass
class Serving:
    """`spendgate serve` without policy files, and an Envoy of the bootstrap that is rendered for it."""

    folder: Path
    redis_url: str
    grpc: str = field(default_factory=lambda: f"127.0.0.1:{free_port()}")
    admin: str = field(default_factory=lambda: f"127.0.0.1:{free_port()}")

    def start(self) -> Command:
        return Command(
            self.folder / "serve",
            ["serve", "--grpc", self.grpc, "--admin", self.admin, "--redis", self.redis_url,
             "--data-dir", str(self.folder / "data")],
        )  # fmt: skip

    def readiness(self) -> tuple[int, str]:
        try:
            answer = httpx.get(f"http://{self.admin}/readyz", trust_env=False, timeout=60)
        except httpx.TransportError:
            return 0, ""
        return answer.status_code, answer.text


def test_a_new_gateway_without_redis_is_not_ready_before_it_knew_a_policy_once(tmp_path: Path) -> None:
    node = Node(server_of(versions()[-1]), tmp_path / "redis", {})
    serving = Serving(tmp_path, f"redis://127.0.0.1:{node.port}")
    port = free_port()
    with RawUpstream(fixed(b"{}", JSON)) as upstream, contextlib.ExitStack() as stack:
        config = bootstrap(
            f"127.0.0.1:{port}", (one_upstream(upstream.url),), [serving.grpc],
            Settings.model_validate({"failure_mode": "closed"}),
        )  # fmt: skip
        (tmp_path / "envoy.yaml").write_text(json.dumps(config))
        argv = [envoy_binary(), "-c", str(tmp_path / "envoy.yaml"), "--use-dynamic-base-id", "-l", "off"]
        envoy = subprocess.Popen([*argv, "--concurrency", "1"])
        stack.callback(envoy.wait)
        stack.callback(envoy.terminate)
        stack.callback(node.stop)
        gateway = serving.start()
        stack.callback(gateway.stop)
        until(lambda: health_of(serving.grpc), lambda h: h == NOT_SERVING, "a worker that says no", 60)
        with Knocking(port) as knocking:
            until(lambda: knocking.seen[503], lambda n: n > 20, "answers")
            seen = serving.readiness()
            assert seen[0] == 503 and "policy" in seen[1]
            assert "ready:" not in gateway.stdout
            with pytest.raises(
                grpc.RpcError, match="no policy is known yet"
            ):  # an Envoy that asks all the same
                asked(serving.grpc)
            node.start()
            asyncio.run(written(serving.redis_url, snapshot(1, broke=0)))
            gateway.ready()
            assert health_of(serving.grpc) == health_pb2.HealthCheckResponse.SERVING
            assert serving.readiness()[0] == 200
            until(lambda: knocking.seen[429], lambda n: n > 5, "refusals")
        gateway.stop()
        node.stop()
        again = serving.start()  # the last policy is on its disk
        stack.callback(again.stop)
        again.ready()
        until(serving.readiness, lambda seen: seen[0] == 200, "readiness by the last policy", 60)
        assert upstream.requests == []
    assert set(knocking.seen) <= {0, 429, 503}


def asked(endpoint: str) -> None:
    """One call of ext_proc, by hand."""
    with grpc.insecure_channel(endpoint, options=[("grpc.enable_http_proxy", 0)]) as channel:
        stub = external_processor_pb2_grpc.ExternalProcessorStub(channel)
        next(stub.Process(iter([external_processor_pb2.ProcessingRequest()]), timeout=60))
