"""The folder envoy/: a real Envoy reads each file, and its page has a word on every setting."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.pki import Authority
from support.scripts import load_script

from spendgate.envoy.mtls import Files
from spendgate.supervisor.front import envoy_binary

FOLDER = Path(__file__).parents[3] / "envoy"
BOOTSTRAPS = sorted(p for p in FOLDER.glob("*.yaml") if "static_resources:" in p.read_text(encoding="utf-8"))


def names(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"\S+", text))


STRUCTURE = names(
    """@type name type address socket_address port_value pipe path cluster clusters cluster_name listeners filter
    filters filter_chains http_filters typed_config typed_extension_protocol_options load_assignment endpoints endpoint
    lb_endpoints node id key value header headers match matcher route routes route_config virtual_hosts domains
    static_resources transport_socket common_tls_context explicit_http_config http2_protocol_options
    http_protocol_options filename common_config secrets
    envoy.extensions.upstreams.http.v3.HttpProtocolOptions spendgate.ext_proc spendgate.ext_authz"""
)
"""Names that say where something stands, not how it is set."""
AUTHZ = names(
    """with_request_body max_request_bytes pack_as_bytes clear_route_cache metadata_context_namespaces check_settings
    disable_request_body_buffering rules rule selectors on_present metadata_namespace response_rules content_parser
    max_event_size"""
)
"""Of ext_authz, told in docs/how-to/ext-authz.md."""


def keys(node: Any) -> set[str]:
    """Every name of a setting."""
    if isinstance(node, dict):
        return set(node) | {k for value in node.values() for k in keys(value)}
    return {k for value in node for k in keys(value)} if isinstance(node, list) else set()


def test_the_files_are_what_the_code_renders() -> None:
    rendered = {k: v for k, v in load_script("build_k8s").files().items() if k.startswith("envoy/")}
    assert {f"envoy/{p.name}" for p in FOLDER.glob("*.yaml")} == set(rendered)
    for name, text in rendered.items():
        assert (FOLDER.parent / name).read_text(encoding="utf-8") == text, (
            "run scripts/build_k8s.py and commit"
        )


@pytest.mark.parametrize("path", BOOTSTRAPS, ids=lambda p: str(p.stem))
def test_a_real_envoy_reads_each_bootstrap(path: Path, tmp_path: Path) -> None:
    certificate, key = Authority(tmp_path).issue("s", ip="127.0.0.1")
    (tmp_path / "tls.crt").write_bytes(Path(certificate).read_bytes())
    (tmp_path / "tls.key").write_bytes(Path(key).read_bytes())
    (tmp_path / "ca.crt").write_bytes(Path(certificate).read_bytes())
    for name, secret in Files(str(tmp_path), str(tmp_path)).secrets().items():
        (tmp_path / name).write_text(json.dumps(secret))
    text = re.sub(r"/etc/(certificate|mtls|envoy)(?=/\w+\.(json|crt|key))", str(tmp_path), path.read_text())
    config = tmp_path / path.name
    config.write_text(text)
    done = subprocess.run(
        [envoy_binary(), "--mode", "validate", "-c", str(config)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("path", BOOTSTRAPS, ids=lambda p: str(p.stem))
def test_the_page_says_what_every_setting_is_for(path: Path) -> None:
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    said = (
        set(re.findall(r"`(\w+)`", page)) | STRUCTURE | (AUTHZ if path.stem == "ext-authz" else frozenset())
    )
    assert keys(yaml.safe_load(path.read_text(encoding="utf-8"))) - said == set()


def test_the_page_names_every_file() -> None:
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\]\((\S+\.yaml)\)", page)) == {p.name for p in FOLDER.glob("*.yaml")}
