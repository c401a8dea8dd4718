"""The providers' keys in an Istio gateway: put in by the cluster that a call goes to, whatever the client sent."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml
from support.istio import patched, proxy
from support.keyed_provider import KeyedProvider
from support.ports import free_port
from support.processes import until
from support.sidecars import envoy

from spendgate.envoy.istio_keys import provider_keys
from spendgate.settings.config import Settings

UPSTREAMS = Settings.model_validate(
    {
        "upstreams": [
            {"name": "openai", "url": "https://api.openai.com", "credential": {"env": "X"}},
            {
                "name": "anthropic", "url": "https://api.anthropic.com",
                "credential": {"file": "/x", "header": "x-api-key"},
            },
            {"name": "own", "url": "http://vllm.models.svc.cluster.local:8000"},
        ]
    }
).upstreams  # fmt: skip
KEYS = {"openai": "Bearer sk-of-the-gateway", "anthropic": "ant-of-the-gateway"}


@pytest.fixture
def providers() -> Iterator[dict[str, KeyedProvider]]:
    with KeyedProvider() as openai, KeyedProvider() as anthropic:
        yield {"api.openai.com": openai, "api.anthropic.com": anthropic}


@pytest.fixture
def url(tmp_path: Path, providers: dict[str, KeyedProvider]) -> Iterator[str]:
    """An egress gateway as Istio makes it: a virtual host and a cluster `outbound|80||HOST` for each provider."""
    mounted = tmp_path / "mounted"
    document, config_map = provider_keys(
        UPSTREAMS, "istio-system", {"istio": "egressgateway"}, 80, str(mounted)
    )
    for folder, files in (("sds", config_map["data"]), ("keys", KEYS)):
        (mounted / folder).mkdir(parents=True)
        for name, text in files.items():
            (mounted / folder / name).write_text(text)
    listen = f"127.0.0.1:{free_port()}"
    base = proxy(listen, "127.0.0.1:9", "127.0.0.1:9", "unused", tuple(providers))
    manager = base["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    for host in manager["route_config"]["virtual_hosts"]:
        if host["domains"] != ["*"]:
            name = f"outbound|80||{host['domains'][0]}"
            host["routes"][0]["route"]["cluster"] = name
            address, _, port = providers[host["domains"][0]].url.removeprefix("http://").partition(":")
            endpoint = {"address": {"socket_address": {"address": address, "port_value": int(port)}}}
            base["static_resources"]["clusters"].append({
                "name": name, "type": "STATIC",
                "load_assignment": {
                    "cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": endpoint}]}],
                },
            })  # fmt: skip
    base["node"] = {"id": "egress", "cluster": "istio-egressgateway"}  # every proxy of Istio has one
    with envoy(tmp_path / "egress", patched(base, document)):
        until(lambda: _there(f"http://{listen}"), bool, "Envoy", 30)
        yield f"http://{listen}"


def _there(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False, timeout=10).status_code > 0
    except httpx.TransportError:
        return False


def ask(url: str, host: str, **headers: str) -> httpx.Response:
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}
    sent = {"host": host, **headers}
    return httpx.post(f"{url}/v1/chat/completions", json=body, headers=sent, trust_env=False, timeout=30)


def test_each_provider_gets_its_own_key_and_none_of_the_clients(
    url: str, providers: dict[str, KeyedProvider]
) -> None:
    client = {
        "authorization": "Bearer of-the-client",
        "x-api-key": "of-the-client",
        "api-key": "of-the-client",
    }
    for host, header, value in (
        ("api.openai.com", "authorization", KEYS["openai"]),
        ("api.anthropic.com", "x-api-key", KEYS["anthropic"]),
    ):
        ask(url, host, **client)
        seen = providers[host].seen[-1].headers
        assert seen[header] == value
        assert "of-the-client" not in str(seen)


def test_a_provider_whose_key_is_missing_is_not_asked(
    tmp_path: Path, url: str, providers: dict[str, KeyedProvider]
) -> None:
    (tmp_path / "mounted/keys/openai").unlink()
    port = free_port()
    config = yaml.safe_load((tmp_path / "egress/envoy.yaml").read_text())
    config["static_resources"]["listeners"][0]["address"]["socket_address"]["port_value"] = port
    with envoy(tmp_path / "without", config):
        until(lambda: _there(f"http://127.0.0.1:{port}"), bool, "Envoy", 30)
        assert ask(f"http://127.0.0.1:{port}", "api.openai.com").status_code == 401
        assert ask(f"http://127.0.0.1:{port}", "api.anthropic.com").status_code == 200
    assert not providers["api.openai.com"].seen


def test_the_command_prints_both_documents(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(
        "upstreams:\n  - {name: openai, url: 'https://api.openai.com', credential: {env: OPENAI_API_KEY}}\n"
    )
    from support.processes import SPENDGATE

    argv = [SPENDGATE, "render", "provider-keys", "--config", str(tmp_path / "s.yaml")]
    printed = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    assert [d["kind"] for d in yaml.safe_load_all(printed)] == ["EnvoyFilter", "ConfigMap"]
