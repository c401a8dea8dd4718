"""`spendgate doctor` on running parts: a healthy gateway, and ones with faults planted into them."""

from __future__ import annotations

import json
import ssl
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
import yaml
from support.gateway import Gateway
from support.keyed_provider import KeyedProvider
from support.pki import Authority
from support.policy import budget, policy
from support.ports import free_port
from support.processes import SPENDGATE, until

from spendgate.ledger.redis.embedded import find_redis_server
from spendgate.supervisor.front import envoy_binary

POLICY = policy(budget("ml", 10, outputTokenCap=100), budget("unattributed", 1, outputTokenCap=100))


def doctor(*argv: str, env: dict[str, str] | None = None) -> tuple[int, dict[str, dict[str, str]]]:
    """Exit status and findings by code."""
    done = subprocess.run(
        [SPENDGATE, "doctor", "-o", "json", *argv],
        capture_output=True, text=True, timeout=240, check=False, env=env,
    )  # fmt: skip
    assert done.returncode in (0, 1), done.stderr
    found = json.loads(done.stdout)
    assert (done.returncode == 1) == (found["errors"] > 0)
    return done.returncode, {f["code"]: f for f in found["findings"]}


@pytest.fixture(scope="module")
def provider() -> Iterator[KeyedProvider]:
    with KeyedProvider() as running:
        yield running


@pytest.fixture(scope="module")
def gateway(provider: KeyedProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with Gateway(tmp_path_factory.mktemp("g"), provider.url, POLICY, workers=1) as running:
        yield running


def test_a_healthy_gateway_refuses_for_real_and_nobody_pays(
    gateway: Gateway, provider: KeyedProvider
) -> None:
    before = len(provider.seen)
    status, found = doctor("--data-dir", str(gateway.data_dir))
    assert status == 0, found
    assert {f["severity"] for f in found.values()} <= {"info", "warning"}
    assert set(found) == {"identity-headers", "fails-open"}, found
    assert len(provider.seen) == before, "no request reached the provider"
    refused = [x for x in gateway.usage("spendgate-doctor") if x["outcome"] == "refused"]
    assert len(refused) >= 4
    assert all(row["team"] != "spendgate-doctor" or row["requests"] == 0 for row in gateway.rows())


def test_a_way_around_the_gateway_is_found(gateway: Gateway, provider: KeyedProvider) -> None:
    status, found = doctor("--data-dir", str(gateway.data_dir), "--url", provider.url)
    assert status == 1
    assert "render bootstrap" in found["not-enforced"]["fix"]


def test_another_policy_than_the_gateways_is_found(gateway: Gateway, tmp_path: Path) -> None:
    other = tmp_path / "p.yaml"
    other.write_text(policy(budget("ml", 11), budget("unattributed", 1), budget("new", 1)))
    status, found = doctor("--data-dir", str(gateway.data_dir), "--policy", str(other))
    assert status == 1
    assert "--policy" in found["policy-unenforced"]["fix"]
    assert "spendgate_policy_reload_errors_total" in found["policy-stale"]["fix"]


def test_a_dead_everything_is_named_part_by_part(tmp_path: Path) -> None:
    port = free_port()
    bad = tmp_path / "bad.yaml"
    bad.write_text("reservation_tll: 5s\n")
    status, found = doctor(
        "--url", f"http://127.0.0.1:{port}", "--envoy-admin", f"127.0.0.1:{port}", "--admin", f"127.0.0.1:{port}",
        "--redis", f"redis://127.0.0.1:{port}", "--policy", str(tmp_path / "none.yaml"), "--config", str(bad),
        "--data-dir", str(tmp_path),
    )  # fmt: skip
    assert status == 1
    assert {
        "gateway-unreachable", "envoy-unreachable", "admin-unreachable", "redis-unreachable", "policy-invalid",
        "settings-invalid",
    } <= set(found)  # fmt: skip


@contextmanager
def redis_server(folder: Path, *lines: str) -> Iterator[int]:
    """A Redis with these lines of configuration."""
    folder.mkdir()
    port = free_port()
    config = [f"port {port}", f"dir {folder}", "bind 127.0.0.1", *lines]
    (folder / "redis.conf").write_text("\n".join(config) + "\n")
    process = subprocess.Popen(
        [find_redis_server(), str(folder / "redis.conf")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def answers() -> bool:
        try:
            with redis.Redis(port=port, socket_timeout=5) as client:
                client.ping()
        except redis.exceptions.AuthenticationError:
            return True
        except redis.exceptions.ConnectionError:
            return False
        return True

    try:
        until(answers, bool, "Redis", 60)
        yield port
    finally:
        process.terminate()
        process.wait(60)


def test_a_redis_that_forgets_and_evicts_is_found(tmp_path: Path) -> None:
    bad = ('save ""', "appendonly no", "maxmemory 100mb", "maxmemory-policy allkeys-lru")
    with redis_server(tmp_path / "r", *bad) as port:
        status, found = doctor("--redis", f"redis://127.0.0.1:{port}", "--data-dir", str(tmp_path))
    assert status == 1
    assert "noeviction" in found["redis-eviction"]["fix"]
    assert "appendonly yes" in found["redis-persistence"]["fix"]


def test_a_user_who_may_not_run_scripts_is_found(tmp_path: Path) -> None:
    acl = "user limited on >pw ~* &* +@all -@scripting -@admin"
    with redis_server(tmp_path / "r", "appendonly yes", acl) as port:
        status, found = doctor("--redis", f"redis://limited:pw@127.0.0.1:{port}", "--data-dir", str(tmp_path))
    assert status == 1
    assert "ACL SETUSER" in found["redis-scripts"]["fix"]
    assert "limited:pw" not in json.dumps(found)
    assert "redis-config" in found, "CONFIG was not allowed, and that is said"


def test_a_replica_is_found(tmp_path: Path) -> None:
    with (
        redis_server(tmp_path / "m", "appendonly yes") as master,
        redis_server(tmp_path / "r", "appendonly yes", f"replicaof 127.0.0.1 {master}") as port,
    ):
        _, found = doctor("--redis", f"redis://127.0.0.1:{port}", "--data-dir", str(tmp_path))
    assert "master" in found["redis-replica"]["fix"]


Plant = Callable[[dict[str, Any]], object]


def manager(config: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = config["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]
    out: dict[str, Any] = found["typed_config"]
    return out


def plant(config: dict[str, Any]) -> None:
    """Faults that a running Envoy takes without a word."""
    http = manager(config)
    [filter_config] = [f["typed_config"] for f in http["http_filters"] if f["name"].endswith("ext_proc")]
    filter_config["processing_mode"]["request_body_mode"] = "NONE"
    filter_config["allow_mode_override"] = False
    filter_config["response_attributes"] = []
    del filter_config["message_timeout"]
    for route in http["route_config"]["virtual_hosts"][0]["routes"]:
        route.get("route", {}).pop("timeout", None)  # one is answered by Envoy itself
        route.pop("request_body_buffer_limit", None)
    [cluster] = [c for c in config["static_resources"]["clusters"] if c["name"] == "spendgate"]
    del cluster["circuit_breakers"], cluster["common_lb_config"], cluster["health_checks"]


def test_faults_in_a_running_envoy_are_found_through_its_admin(
    gateway: Gateway, provider: KeyedProvider, tmp_path: Path
) -> None:
    config = yaml.safe_load((gateway.data_dir / "envoy.yaml").read_text())
    [door] = yaml.safe_load((gateway.data_dir / "envoy-listeners.yaml").read_text())["resources"]
    config["static_resources"]["listeners"] = [{k: v for k, v in door.items() if k != "@type"}]
    del config["dynamic_resources"]
    listen, admin = free_port(), free_port()
    socket_address = config["static_resources"]["listeners"][0]["address"]["socket_address"]
    socket_address["port_value"] = listen
    config["admin"] = {"address": {"socket_address": {"address": "127.0.0.1", "port_value": admin}}}
    plant(config)
    (tmp_path / "envoy.yaml").write_text(yaml.safe_dump(config))
    with (tmp_path / "log").open("wb") as log:
        envoy = subprocess.Popen(
            [envoy_binary(), "-c", str(tmp_path / "envoy.yaml"), "--use-dynamic-base-id", "--concurrency", "1"],
            stdout=log, stderr=log,
        )  # fmt: skip
    try:
        url = f"http://127.0.0.1:{listen}"

        def serves() -> bool:
            try:
                return httpx.get(url, trust_env=False, timeout=10).status_code > 0
            except httpx.TransportError:
                return False

        until(serves, bool, "Envoy", 60)
        _, found = doctor("--url", url, "--envoy-admin", f"127.0.0.1:{admin}", "--data-dir", str(tmp_path))
    finally:
        envoy.terminate()
        envoy.wait(60)
    for code, fix in {
        "not-enforced": "insert the filter",
        "request-body-mode": "BUFFERED",
        "mode-override": "allow_mode_override: true",
        "response-attributes": "response.code_details",
        "message-timeout": "ledger_timeout",
        "route-timeout": "timeout: 0s",
        "body-limit": "request_body_buffer_limit",
        "circuit-breaker": "max_requests: 100000",
        "health-checks": "grpc_health_check",
    }.items():
        assert fix in found[code]["fix"], code
    assert provider.seen[-1].path == "/v1/chat/completions", "the probe went through, at no price"


def test_the_doctor_is_known_by_its_own_credential_and_by_no_name(
    provider: KeyedProvider, tmp_path: Path
) -> None:
    ca = Authority(tmp_path)
    certificate, key = ca.issue("server", ip="127.0.0.1")
    keys = tmp_path / "keys.yaml"
    issued = subprocess.run(
        [SPENDGATE, "keys", "issue", "--file", str(keys), "--team", "spendgate-doctor"],
        capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    strict = subprocess.run(
        [SPENDGATE, "keys", "issue", "--file", str(keys), "--team", "strict"],
        capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    config = {
        "tls": {"certificate": certificate, "key": key, "client_ca": str(ca.file),
                "client_certificate": "optional"},
        "identity": [{"kind": "spiffe"}, {"kind": "api-key", "file": str(keys)}, {"kind": "headers"}],
    }  # fmt: skip
    budgets = policy(budget("strict", 10, unknownApis="reject"), budget("ml", 10))
    with Gateway(tmp_path / "g", provider.url, budgets, config=config, workers=1) as gateway:
        common = ("--data-dir", str(gateway.data_dir), "--ca", str(ca.file))
        mine = ca.issue("doctor", uri="spiffe://cluster.local/ns/llm-gateway/sa/spendgate-doctor")
        status, found = doctor(*common, "--cert", mine[0], "--cert-key", mine[1])
        assert status == 0, found
        by_key = subprocess.run(
            [SPENDGATE, "doctor", *common, "--key", issued], capture_output=True, text=True, check=False
        )
        assert by_key.returncode == 0, by_key.stdout
        assert "fix: " in by_key.stdout
        assert by_key.stdout.splitlines()[-1].endswith("over-budget requests were refused with 429")
        away = ("--url", gateway.url, "--ca", str(ca.file), "--data-dir", str(tmp_path))
        status, found = doctor(*away, "--cert", mine[0], "--cert-key", mine[1])
        assert status == 1, "without Redis a service account's name is a name like any other"
        assert "--redis" in found["doctor-passed"]["fix"]
        status, found = doctor(*away)
        assert status == 0, "the team that has nothing may be named by anybody"
        asked = len(provider.seen)
        for named in (
            {"x-llm-app": "spendgate-doctor"}, {"x-llm-team": "spendgate-doctor"}, {"x-spendgate-doctor": "v1.e30.e30"},
        ):  # fmt: skip
            for headers in ({"authorization": f"Bearer {strict}"}, {"x-llm-team": "spendgate-doctor"}):
                answer = httpx.post(
                    f"{gateway.url}/v1/batches", json={"a": 1}, headers={**headers, **named},
                    verify=ssl.create_default_context(cafile=str(ca.file)), trust_env=False, timeout=60,
                )  # fmt: skip
                assert (answer.status_code, answer.json()["error"]["code"]) == (403, "unknown_api"), named
        assert len(provider.seen) == asked
