"""Envoy's bootstrap: what a real Envoy accepts, and what our promises need."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from support.pki import Authority, Issuer

from spendgate.envoy import bootstrap as b
from spendgate.envoy.listener import jwt_filters
from spendgate.envoy.parts import plain
from spendgate.errors import ConfigurationError
from spendgate.exchange.attempts import SHADOW
from spendgate.settings.config import Settings, Upstream
from spendgate.supervisor.front import envoy_binary

ONE = (Upstream(name="openai", url="https://api.openai.com"),)
TWO = (*ONE, Upstream(name="vllm", url="http://10.0.0.7:8000", models=("llama-*",)))


def manager(config: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = config["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0][
        "typed_config"
    ]
    return found


def cluster(config: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(c for c in config["static_resources"]["clusters"] if c["name"] == name)
    return found


@pytest.mark.parametrize("upstreams", [ONE, TWO])
def test_a_real_envoy_accepts_it(upstreams: tuple[Upstream, ...], tmp_path: Path) -> None:
    config = b.bootstrap("127.0.0.1:0", upstreams, ["127.0.0.1:9002", "127.0.0.1:9003"], Settings())
    path = tmp_path / "envoy.yaml"
    path.write_text(b.as_yaml(config))
    done = subprocess.run(
        [envoy_binary(), "--mode", "validate", "-c", str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]


def accepted(config: dict[str, Any], tmp_path: Path, **env: str) -> None:
    """A real Envoy takes it."""
    path = tmp_path / "envoy.yaml"
    path.write_text(b.as_yaml(config))
    done = subprocess.run(
        [envoy_binary(), "--mode", "validate", "-c", str(path)],
        capture_output=True, text=True, check=False, env=env,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]


def test_a_real_envoy_accepts_certificates_tokens_and_keys(tmp_path: Path) -> None:
    ca, issuer = Authority(tmp_path), Issuer("https://i")
    certificate, key = ca.issue("s", ip="127.0.0.1")
    (tmp_path / "jwks").write_text(issuer.jwks())
    settings = Settings.model_validate(
        {
            "tls": {"certificate": certificate, "key": key, "client_ca": str(ca.file)},
            "passthrough": "reject",
            "identity": [
                {"kind": "jwt", "issuer": "https://i", "jwks_file": str(tmp_path / "jwks")},
                {"kind": "jwt", "issuer": "https://j", "jwks_url": "https://127.0.0.1/jwks", "required": True},
            ],
            "upstreams": [
                {"name": "a", "url": "http://10.0.0.7:8000", "path_prefix": "/x.y", "credential": {"env": "A_KEY"}},
                {"name": "b", "url": "http://10.0.0.8:8000", "credential": {"file": "/nowhere", "header": "api-key"}},
            ],
        }
    )  # fmt: skip
    config = b.bootstrap("127.0.0.1:0", settings.upstreams, ["127.0.0.1:9002"], settings)
    config["static_resources"]["secrets"][1]["generic_secret"]["secret"]["filename"] = certificate
    accepted(config, tmp_path, A_KEY="sk-a")
    assert "sk-a" not in b.as_yaml(config)


def requires(*identity: dict[str, Any]) -> dict[str, Any]:
    """What the token filter demands."""
    [jwt] = jwt_filters(Settings.model_validate({"identity": list(identity)}))
    found: dict[str, Any] = plain(jwt)["typed_config"]["rules"][0]["requires"]
    return found


def test_a_token_is_demanded_missing_or_shares_its_header_with_keys() -> None:
    jwt = {"kind": "jwt", "issuer": "i", "jwks_file": "f"}
    name = {"provider_name": "jwt-0"}
    assert requires({**jwt, "required": True}) == name
    assert requires(jwt) == {"requires_any": {"requirements": [name, {"allow_missing": {}}]}}
    keys = {"kind": "api-key", "file": "k"}
    failed = {"requires_any": {"requirements": [name, {"allow_missing_or_failed": {}}]}}
    assert requires(jwt, keys) == failed
    assert requires(jwt, {**keys, "header": "x-api-key"}) != failed
    assert jwt_filters(Settings.model_validate({"identity": [{"kind": "jwt"}]})) == []


def test_each_worker_is_an_endpoint_of_its_own() -> None:
    config = b.bootstrap("127.0.0.1:1", ONE, ["unix:/run/a", "unix:/run/a.1"], Settings())
    endpoints = cluster(config, "spendgate")["load_assignment"]["endpoints"][0]["lb_endpoints"]
    assert [e["endpoint"]["address"]["pipe"]["path"] for e in endpoints] == ["/run/a", "/run/a.1"]


def test_the_router_tells_of_each_attempt_but_one_that_its_exchange_is_charged_for() -> None:
    """As `AccessLog._take` reads them: not answered, or a copy that went elsewhere."""
    [log] = manager(b.bootstrap("127.0.0.1:0", ONE, ["127.0.0.1:9002"], Settings()))["http_filters"][-1][
        "typed_config"
    ]["upstream_log"]
    below, above, copied = log["filter"]["or_filter"]["filters"]
    bounds = [f["status_code_filter"]["comparison"] for f in (below, above)]
    assert [(c["op"], c["value"]["default_value"]) for c in bounds] == [("LE", 199), ("GE", 300)]
    assert copied["header_filter"]["header"] == {"name": ":authority", "string_match": {"contains": SHADOW}}


def test_concurrency_is_never_a_way_around_the_budget() -> None:
    config = b.bootstrap("127.0.0.1:1", ONE, ["127.0.0.1:2"], Settings())
    for name in ("spendgate", "openai"):
        limits = cluster(config, name)["circuit_breakers"]["thresholds"][0]
        assert limits["max_requests"] >= 100_000


def test_nothing_full_duplex_is_configured() -> None:
    text = b.as_yaml(b.bootstrap("127.0.0.1:1", ONE, ["127.0.0.1:2"], Settings()))
    assert "FULL_DUPLEX" not in text


def test_a_client_can_not_choose_the_cluster() -> None:
    config = manager(b.bootstrap("127.0.0.1:1", TWO, ["127.0.0.1:2"], Settings()))
    removed = config["early_header_mutation_extensions"][0]["typed_config"]["mutations"]
    assert {"remove": "x-spendgate-cluster"} in removed


def test_the_failure_mode_is_the_operators() -> None:
    for mode, allow in (("open", True), ("closed", False)):
        settings = Settings.model_validate({"failure_mode": mode})
        filters = manager(b.bootstrap("127.0.0.1:1", ONE, ["127.0.0.1:2"], settings))["http_filters"]
        assert filters[0]["typed_config"].get("failure_mode_allow", False) is allow


@pytest.mark.parametrize(
    ("path", "metered"),
    [
        ("/v1/chat/completions", True),
        ("/v1/messages", True),
        ("/v1/messages/", True),
        ("//v1//chat//completions", True),
        ("/openai/deployments/x/chat/completions", True),
        ("/v1/chat/complet%69ons", True),
        ("/v1/files", False),
        ("/v1/models", False),
        ("/", False),
    ],
)
def test_paths_of_dialects_meet_the_meter_and_uploads_do_not(path: str, metered: bool) -> None:
    routes = manager(b.bootstrap("127.0.0.1:1", ONE, ["127.0.0.1:2"], Settings()))
    patterns = [
        r["match"]["safe_regex"]["regex"]
        for r in routes["route_config"]["virtual_hosts"][0]["routes"]
        if r["name"] == "llm"
    ]
    assert any(re.fullmatch(p, path) for p in patterns) is metered


def test_https_upstreams_are_verified_by_name() -> None:
    tls = cluster(b.bootstrap("127.0.0.1:1", ONE, ["127.0.0.1:2"], Settings()), "openai")["transport_socket"]
    assert tls["typed_config"]["sni"] == "api.openai.com"
    names = tls["typed_config"]["common_tls_context"]["validation_context"]["match_typed_subject_alt_names"]
    assert names[0]["matcher"]["exact"] == "api.openai.com"


@pytest.mark.parametrize("listen", ["nonsense", "127.0.0.1", "127.0.0.1:99999", ":80"])
def test_a_wrong_address_is_named(listen: str) -> None:
    with pytest.raises(ConfigurationError, match="address"):
        b.bootstrap(listen, ONE, ["127.0.0.1:2"], Settings())


def test_where_each_call_is_sent_once_nothing_is_logged_but_what_a_lean_answer_cost() -> None:
    def told(settings: Settings, **how: Any) -> list[bool]:
        config = manager(b.bootstrap("127.0.0.1:0", ONE, ["127.0.0.1:9002"], settings, as_it_is=True, **how))
        [asking] = [f for f in config["http_filters"] if "grpc_service" in f["typed_config"]]
        told = asking["typed_config"]["grpc_service"].get("initial_metadata", [])
        router = config["http_filters"][-1]["typed_config"]
        assert not any(route.get("route", {}).get("retry_policy") for host in config["route_config"]["virtual_hosts"]
                       for route in host["routes"])  # fmt: skip
        return ["access_log" in config, "upstream_log" in router, any("attempts" in t["key"] for t in told)]

    assert told(Settings()) == [False, False, False]
    assert told(Settings(lean=True)) == [True, True, True]
    assert told(Settings(), entry="ext_authz")[:2] == [True, True]
