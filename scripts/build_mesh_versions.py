"""Which of the fields that our manifests use each version of Istio and Envoy Gateway knows, from their own sources.

    .venv/bin/python scripts/build_mesh_versions.py --istio DIR --go-control-plane DIR --gateway DIR

The folders are git clones of github.com/istio/istio, envoyproxy/go-control-plane and envoyproxy/gateway, with tags.
istiod drops what its go-control-plane does not know of a patch, and says nothing; a CRD's unknown fields are pruned or
refused. Writes tests/unit/envoy/versions.json; a test compares it with what is rendered today.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from envoy.config.cluster.v3 import cluster_pb2  # noqa: F401  messages by name
from envoy.config.listener.v3 import listener_components_pb2  # noqa: F401
from envoy.config.route.v3 import route_components_pb2  # noqa: F401
from envoy.extensions.filters.http.credential_injector.v3 import credential_injector_pb2  # noqa: F401
from envoy.extensions.filters.http.ext_proc.v3 import ext_proc_pb2  # noqa: F401
from envoy.extensions.filters.http.upstream_codec.v3 import upstream_codec_pb2  # noqa: F401
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2  # noqa: F401
from envoy.extensions.http.early_header_mutation.header_mutation.v3 import header_mutation_pb2  # noqa: F401
from envoy.extensions.http.injected_credentials.generic.v3 import generic_pb2  # noqa: F401
from envoy.extensions.retry.host.previous_hosts.v3 import previous_hosts_pb2  # noqa: F401
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2  # noqa: F401
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import Descriptor

from spendgate.envoy.envoy_gateway import Target, extension_policies
from spendgate.envoy.istio import envoy_filter
from spendgate.envoy.istio_keys import provider_keys
from spendgate.settings.config import Settings

Json = dict[str, Any]
ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "tests/unit/envoy/versions.json"
MESSAGES = {
    "CLUSTER": "envoy.config.cluster.v3.Cluster",
    "HTTP_FILTER": "envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter",
    "NETWORK_FILTER": "envoy.config.listener.v3.Filter",
    "VIRTUAL_HOST": "envoy.config.route.v3.VirtualHost",
}
OURS = ("istio.io", "gateway.envoyproxy.io", "gateway.networking.k8s.io")
FOLDERS = {
    "istio": ("overlays/istio", "components/front-door", "tenants/istio"),
    "envoy_gateway": ("overlays/envoy-gateway", "components/envoy-gateway-keys"),
}


def documents(mesh: str) -> list[Json]:
    """What is shipped and rendered for a mesh, of its own kinds."""
    paths = [p for name in FOLDERS[mesh] for p in sorted((ROOT / "k8s" / name).glob("*.yaml"))]
    found = [d for p in paths for d in yaml.safe_load_all(p.read_text(encoding="utf-8")) if d]
    settings = Settings()
    if mesh == "istio":
        host = "spendgate.llm-gateway.svc.cluster.local"
        found += [
            envoy_filter(host, 9002, "ml", attach, {"a": "b"}, settings, last=last, llm_hosts=hosts)
            for attach in ("gateway", "sidecar")
            for last in (True, False)
            for hosts in ((), ("api.openai.com",))
        ]
        one = Settings.model_validate({"upstreams": [
            {"name": "openai", "url": "https://api.openai.com", "credential": {"env": "X"}}
        ]})  # fmt: skip
        found += provider_keys(one.upstreams, "ml", {"a": "b"}, 80)
    else:
        for target in (Target("Gateway", "llm"), Target("HTTPRoute", "chat")):
            found += extension_policies(target, "apps", "spendgate", "llm-gateway", 9002, settings)
    others = {"istio": ("gateway.networking.k8s.io",), "envoy_gateway": ()}[
        mesh
    ]  # Istio ships no Gateway API
    groups = [(str(d.get("apiVersion", "")).partition("/")[0], d) for d in found]
    return [d for group, d in groups if group.endswith(OURS) and group not in others]


def fields(value: Json, message: Descriptor) -> Iterator[tuple[str, str]]:
    """(message, field) for everything that a patch's value sets, Any values included."""
    if "@type" in value:
        name = value["@type"].rpartition("/")[2]
        message = descriptor_pool.Default().FindMessageTypeByName(name)
    for name, inner in value.items():
        if name == "@type":
            continue
        yield message.full_name, name
        field = message.fields_by_name[name]
        kind = field.message_type
        if kind is None:
            continue
        if kind.GetOptions().map_entry:
            kind, inner = kind.fields_by_name["value"].message_type, list(inner.values())
        for each in inner if isinstance(inner, list) else [inner]:
            if isinstance(each, dict) and (kind.file.package.startswith("envoy") or "@type" in each):
                yield from fields(each, kind)


def patched(found: list[Json]) -> set[str]:
    """The fields of Envoy's messages that the EnvoyFilters set, as MESSAGE.FIELD."""
    out: set[str] = set()
    for document in found:
        if document["kind"] == "EnvoyFilter":
            for patch in document["spec"]["configPatches"]:
                message = descriptor_pool.Default().FindMessageTypeByName(MESSAGES[patch["applyTo"]])
                out |= {f"{m}.{f}" for m, f in fields(patch["patch"]["value"], message)}
    return out


def paths(node: Any, at: str = "") -> Iterator[str]:
    """Every path of a document; items of a list share theirs, and so do names that somebody chose (labels)."""
    for key, inner in node.items() if isinstance(node, dict) else ():
        name = "*" if "." in key or "/" in key else key
        yield f"{at}.{name}"
        yield from paths(inner, f"{at}.{name}")
    for inner in node if isinstance(node, list) else ():
        yield from paths(inner, at)


def used(found: list[Json]) -> set[str]:
    """The fields of the kinds themselves, as APIVERSION KIND PATH; what is patched into Envoy is not theirs."""
    out: set[str] = set()
    for document in found:
        start = f"{document['apiVersion']} {document['kind']} "
        for path in paths(document.get("spec", {})):
            out.add(start + path.partition(".patch.value.")[0].removesuffix(".patch.value").removeprefix("."))
    return out


def git(folder: Path, *argv: str) -> str:
    """What git says."""
    return subprocess.run(
        ["git", "-C", str(folder), *argv], capture_output=True, text=True, check=True
    ).stdout


def releases(folder: Path, prefix: str, oldest: tuple[int, int]) -> list[str]:
    """The first and the last release of each minor version."""
    by_minor: dict[tuple[int, int], list[tuple[int, str]]] = {}
    for tag in git(folder, "tag").split():
        found = re.fullmatch(rf"{prefix}(\d+)\.(\d+)\.(\d+)", tag)
        if found and (int(found[1]), int(found[2])) >= oldest:
            by_minor.setdefault((int(found[1]), int(found[2])), []).append((int(found[3]), tag))
    return [
        tag for minor in sorted(by_minor) for tag in dict.fromkeys(f(by_minor[minor])[1] for f in (min, max))
    ]


def schemas(text: str) -> dict[str, Json]:
    """APIVERSION KIND to the schema of its spec, of a text of CRDs (a chart's own lines left out)."""
    out: dict[str, Json] = {}
    plain = "\n".join(x for x in text.splitlines() if not x.lstrip().startswith("{{"))
    for document in yaml.load_all(plain, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        if document and document.get("kind") == "CustomResourceDefinition":
            spec = document["spec"]
            for version in spec["versions"]:
                schema = version["schema"]["openAPIV3Schema"]["properties"].get("spec", {})
                out[f"{spec['group']}/{version['name']} {spec['names']['kind']}"] = schema
    return out


def knows(schema: Json, path: list[str]) -> bool:
    """Has the schema this path?"""
    while "items" in schema:
        schema = schema["items"]
    if not path or schema.get("x-kubernetes-preserve-unknown-fields"):
        return True
    inner = schema.get("properties", {}).get(path[0], schema.get("additionalProperties"))
    return isinstance(inner, dict) and knows(inner, path[1:])


def unknown(wanted: set[str], known: dict[str, Json]) -> list[str]:
    """The used fields that these CRDs lack; a kind that they do not serve at all is named once."""
    out = set()
    for line in wanted:
        api, kind, path = line.split(" ", 2)
        schema = known.get(f"{api} {kind}")
        if schema is None:
            out.add(f"{api} {kind}")
        elif not knows(schema, path.split(".")):
            out.add(line)
    return sorted(out)


def messages(folder: Path, commit: str, wanted: set[str]) -> list[str]:
    """The fields that the Go messages of a go-control-plane lack, its extensions included."""

    @cache
    def go(name: str) -> str:
        path = descriptor_pool.Default().FindMessageTypeByName(name).file.name.replace(".proto", ".pb.go")
        done = subprocess.run(
            ["git", "-C", str(folder), "show", f"{commit}:{path}"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        return done.stdout

    out = []
    for line in sorted(wanted):
        name, _, field = line.rpartition(".")
        message = descriptor_pool.Default().FindMessageTypeByName(name)
        struct = message.full_name.removeprefix(f"{message.file.package}.").replace(".", "_")
        bodies = re.findall(
            rf"^type {struct}(?:_\w+)? struct {{\n(.*?)^}}", go(name), re.DOTALL | re.MULTILINE
        )
        if not any(re.search(rf"\bname={field}[,\"]", body) for body in bodies):
            out.append(line)
    return out


def istio(folder: Path, control_plane: Path) -> Json:
    """By release: the go-control-plane that istiod is built with, and what is unknown."""
    found = documents("istio")
    wanted, kinds = patched(found), used(found)
    out: Json = {}
    for tag in releases(folder, "", (1, 24)):
        module = git(folder, "show", f"{tag}:go.mod")
        pinned = re.findall(
            r"envoyproxy/go-control-plane(?:/envoy)? (v\S+)(?! // indirect)$", module, re.MULTILINE
        )
        inside = re.findall(r"envoyproxy/go-control-plane/envoy (v\S+)", module) or pinned
        commit = inside[0].rpartition("-")[2] if "-0." in inside[0] else f"envoy/{inside[0]}"
        crds = schemas(git(folder, "show", f"{tag}:manifests/charts/base/files/crd-all.gen.yaml"))
        out[tag] = {
            "envoy_messages": inside[0],
            "unknown": [*messages(control_plane, commit, wanted), *unknown(kinds, crds)],
        }
        print(tag, len(out[tag]["unknown"]), file=sys.stderr)
    return {"checked": sorted(wanted | kinds), "releases": out}


def envoy_gateway(folder: Path) -> Json:
    """By release: what its CRDs, and those of the Gateway API that it ships, lack."""
    found = [d for d in documents("envoy_gateway") if d["kind"] != "ReferenceGrant"]
    wanted, out = used(found), {}
    for tag in releases(folder, "v", (1, 3)):
        names = git(folder, "ls-tree", "-r", "--name-only", tag, "charts/gateway-helm").split()
        files = [n for n in names if re.search(r"/crds/(generated/gateway|gatewayapi-crds)\S*\.yaml$", n)]
        crds = schemas("\n---\n".join(git(folder, "show", f"{tag}:{n}") for n in files))
        out[tag] = {"unknown": unknown(wanted, crds)}
        print(tag, len(out[tag]["unknown"]), file=sys.stderr)
    return {"checked": sorted(wanted), "releases": out}


def main() -> None:
    """Read the clones, write the file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in ("istio", "go-control-plane", "gateway"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    given = parser.parse_args()
    facts = {
        "istio": istio(given.istio, given.go_control_plane),
        "envoy_gateway": envoy_gateway(given.gateway),
    }
    OUT.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
