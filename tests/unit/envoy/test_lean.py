"""Lean routes: which they are, that a real Envoy takes them, and that nothing else changes."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from spendgate.dialects.registry import DIALECTS
from spendgate.envoy import bootstrap as b
from spendgate.errors import ConfigurationError
from spendgate.identity import headers as h
from spendgate.settings.config import Settings, Upstream
from spendgate.supervisor.front import envoy_binary

UPSTREAMS = (
    Upstream(name="openai", url="https://api.openai.com"),
    Upstream(name="vllm", url="http://10.0.0.7:8000", models=("llama-*",)),
)
READERS = ["envoy.filters.http.json_to_metadata", "envoy.filters.http.sse_to_metadata"]


def rendered(**settings: object) -> dict[str, Any]:
    made = Settings.model_validate(settings)
    return b.bootstrap("127.0.0.1:0", UPSTREAMS, ["127.0.0.1:9002"], made)


def manager(config: dict[str, Any]) -> dict[str, Any]:
    [chain] = config["static_resources"]["listeners"][0]["filter_chains"]
    return dict(chain["filters"][0]["typed_config"])


def lean_routes(config: dict[str, Any]) -> list[dict[str, Any]]:
    [host] = manager(config)["route_config"]["virtual_hosts"]
    return [r for r in host["routes"] if "x-spendgate-lean" in str(r)]


def test_a_real_envoy_accepts_it(tmp_path: Path) -> None:
    path = tmp_path / "envoy.yaml"
    path.write_text(b.as_yaml(rendered(lean=True)))
    done = subprocess.run(
        [envoy_binary(), "--mode", "validate", "-c", str(path)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_the_routes_of_apis_that_envoy_can_read_are_lean_and_no_others() -> None:
    found = [r["match"]["safe_regex"]["regex"] for r in lean_routes(rendered(lean=True))]
    assert found == [f"(?i).*{d.path_regex}/*" for d in DIALECTS if d.owns_path and d.logged]
    assert any(re.fullmatch(regex, "/v1/chat/completions") for regex in found)


def test_usage_is_read_on_lean_routes_alone() -> None:
    config = rendered(lean=True)
    readers = {f["name"]: f for f in manager(config)["http_filters"] if f["name"] in READERS}
    assert list(readers) == READERS
    assert all(f["disabled"] for f in readers.values())
    for route in lean_routes(config):
        own = route["typed_per_filter_config"]
        assert [own[name]["config"] for name in READERS] == [{}, {}], "on, as it is configured"


def test_the_answer_gets_the_headers_that_were_noted_beside_the_request() -> None:
    added = manager(rendered(lean=True))["route_config"]["response_headers_to_add"]
    assert [each["header"]["key"] for each in added] == list(h.DECISION)
    assert h.COST not in h.DECISION


def test_without_it_nothing_is_lean() -> None:
    config = rendered()
    assert lean_routes(config) == []
    assert not {f["name"] for f in manager(config)["http_filters"]} & set(READERS)
    assert "response_headers_to_add" not in manager(config)["route_config"]


def test_ext_authz_cannot_be_lean() -> None:
    with pytest.raises(ConfigurationError, match="ext_authz"):
        b.bootstrap("127.0.0.1:0", UPSTREAMS, ["127.0.0.1:2"], Settings(lean=True), "", "ext_authz")
