"""Write what in envoy/ and k8s/ is read off the code: the filters and policies that attach spendgate, and Envoy's
bootstraps.

    .venv/bin/python scripts/build_k8s.py            # --golden: also what kustomize makes of it, for review

A test builds them anew and compares.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import yaml

from spendgate.envoy import bootstrap as b
from spendgate.envoy import mtls
from spendgate.envoy.envoy_gateway import Target, extension_policies
from spendgate.envoy.istio import envoy_filter
from spendgate.envoy.parts import Entry
from spendgate.settings.config import Settings, load_config

ROOT = Path(__file__).resolve().parent.parent
K8S = ROOT / "k8s"
NOTE = "# Written by scripts/build_k8s.py; do not edit.\n"
NAMESPACE = "llm-gateway"
HOST = f"spendgate.{NAMESPACE}.svc.cluster.local"
HEADLESS = f"spendgate-headless.{NAMESPACE}.svc.cluster.local:9002"
PORT = 9002
ADMIN, STATS = "127.0.0.1:9901", "0.0.0.0:9903"
"""Of an Envoy of ours: its admin, which only its own pod reaches, and what Prometheus scrapes."""
TRUST_DOMAIN = "cluster.local"
GATEWAY_ID = f"spiffe://{TRUST_DOMAIN}/ns/{NAMESPACE}/sa/spendgate"
ENVOY_ID = f"spiffe://{TRUST_DOMAIN}/ns/{NAMESPACE}/sa/llm-envoy"
CERTIFICATE = "/etc/certificate"
SPIRE_SOCKET = f"{CERTIFICATE}/spire-agent.sock"
AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"
"""Where the image has its certificate authorities."""


def settings(overlay: str) -> Settings:
    """The settings that an overlay's gateways run with, which Envoy's side must fit."""
    own = K8S / "overlays" / overlay / "config.yaml"
    return load_config(own if own.exists() else K8S / "base/config/config.yaml")


def llm_hosts() -> list[str]:
    """The providers that the overlay istio leads to; the filters are on for these."""
    documents = yaml.safe_load_all((K8S / "overlays/istio/egress.yaml").read_text(encoding="utf-8"))
    [hosts] = [d["spec"]["hosts"] for d in documents if d["kind"] == "ServiceEntry"]
    return list(hosts)


def _with_authorities(node: Any) -> Any:
    """The same configuration for the image, whatever machine rendered it."""
    if isinstance(node, dict):
        if set(node) == {"trusted_ca"} or "trusted_ca" in node:
            node = {**node, "trusted_ca": {"filename": AUTHORITIES}}
        return {k: _with_authorities(v) for k, v in node.items()}
    return [_with_authorities(v) for v in node] if isinstance(node, list) else node


def files() -> dict[str, str]:
    """Every generated file by its path in the repository."""
    istio, gateway, plain = settings("istio"), settings("envoy-gateway"), settings("envoy")
    hosts = llm_hosts()
    gateways, attached = {"istio": "egressgateway"}, {"spendgate": "attached"}
    egress = envoy_filter(HOST, PORT, "istio-system", "gateway", gateways, istio, llm_hosts=hosts)
    sidecars = envoy_filter(
        HOST, PORT, "istio-system", "sidecar", attached, istio, last=False, llm_hosts=hosts
    )
    front_door = load_config(K8S / "components/front-door/config.yaml")
    selector = {"gateway.networking.k8s.io/gateway-name": "llm"}
    door = envoy_filter(HOST, PORT, NAMESPACE, "gateway", selector, front_door)
    policies = extension_policies(Target("Gateway", "llm"), NAMESPACE, "spendgate", NAMESPACE, PORT, gateway)
    upstreams = plain.upstreams or (b.one_upstream("https://api.openai.com"),)
    bootstrap = _with_authorities(
        b.bootstrap("0.0.0.0:10000", upstreams, [HEADLESS], plain, ADMIN, stats=STATS)
    )
    compose = b.bootstrap(
        "0.0.0.0:10000",
        (b.one_upstream("http://mock:9900"),),
        ["gateway:9002"],
        Settings(),
        ADMIN,
        stats=STATS,
    )
    overlays = "k8s/overlays"
    spire = mtls.Spire(SPIRE_SOCKET, TRUST_DOMAIN)
    server, client = mtls.Files(CERTIFICATE, "/etc/mtls"), mtls.Files(CERTIFICATE, "/etc/envoy")
    envoys = {k: mtls.with_client(bootstrap, s, [GATEWAY_ID]) for k, s in (("tls", client), ("spire", spire))}
    sidecar = {
        k: mtls.terminator("0.0.0.0:9443", "127.0.0.1:9002", "127.0.0.1:9902", s, [ENVOY_ID])
        for k, s in (("tls", server), ("spire", spire))
    }
    secrets = {
        f"{folder}/{name}": json.dumps(secret, indent=2) + "\n"
        for folder, files in (("k8s/components/tls", server), (f"{overlays}/envoy-tls", client))
        for name, secret in files.secrets().items()
    }
    return {
        **secrets,
        **{f"{overlays}/envoy-{k}/bootstrap.yaml": NOTE + b.as_yaml(c) for k, c in envoys.items()},
        **{f"k8s/components/{k}/sidecar-envoy.yaml": NOTE + b.as_yaml(c) for k, c in sidecar.items()},
        "k8s/components/front-door/envoyfilter.yaml": NOTE + b.as_yaml(door),
        f"{overlays}/istio/envoyfilter-gateway.yaml": NOTE + b.as_yaml(egress),
        f"{overlays}/istio/envoyfilter-sidecars.yaml": NOTE + b.as_yaml(sidecars),
        f"{overlays}/envoy-gateway/policies.yaml": NOTE + "---\n".join(map(b.as_yaml, policies)),
        f"{overlays}/envoy/bootstrap.yaml": NOTE + b.as_yaml(bootstrap),
        "envoy/local.yaml": NOTE + b.as_yaml(_local("ext_proc")),
        "envoy/ext-authz.yaml": NOTE + b.as_yaml(_local("ext_authz")),
        "envoy/compose.yaml": NOTE + b.as_yaml(compose),
        "envoy/plain.yaml": NOTE + b.as_yaml(bootstrap),
        **{f"envoy/{k}.yaml": NOTE + b.as_yaml(c) for k, c in envoys.items()},
        **{f"envoy/terminator-{k}.yaml": NOTE + b.as_yaml(c) for k, c in sidecar.items()},
        "envoy/istio-gateway.yaml": NOTE + b.as_yaml(egress),
        "envoy/istio-sidecars.yaml": NOTE + b.as_yaml(sidecars),
        "envoy/envoy-gateway.yaml": NOTE + "---\n".join(map(b.as_yaml, policies)),
    }


def _local(entry: Entry) -> Any:
    """The bootstrap of one machine."""
    upstreams = (b.one_upstream("https://api.openai.com"),)
    listen, grpc = "127.0.0.1:10000", ["127.0.0.1:9002"]
    return _with_authorities(b.bootstrap(listen, upstreams, grpc, Settings(), ADMIN, entry))


def write_golden() -> None:
    """What kustomize makes of everything, for review (tests/integration/k8s/golden)."""
    sys.path.insert(0, str(ROOT / "tests"))
    from support import manifests

    for name in ("base", *manifests.OVERLAYS, *manifests.TENANTS):
        path = ROOT / "tests/integration/k8s/golden" / f"{name.replace('/', '-')}.yaml"
        path.write_text(manifests.golden(name), encoding="utf-8")
        print(path.relative_to(ROOT))


if __name__ == "__main__":
    for file_name, text in files().items():
        (ROOT / file_name).write_text(text, encoding="utf-8")
        print(file_name)
    if "--golden" in sys.argv[1:]:
        write_golden()
