"""CRDs of other people's resources, derived from the types in npm's @kubernetes-models (see scripts/setup_tests.sh).

The packages hold TypeScript declarations with every field, and compiled validators that also know patterns and
bounds. The first become a structural schema, so that a real API server refuses an unknown field; the second
run in node (`faults`).
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

Json = dict[str, Any]
SCHEMAS = Path(__file__).resolve().parents[1] / "schemas"
MODULES = SCHEMAS / "node_modules"
PACKAGES = {
    "cert-manager.io": "cert-manager",
    "gateway.envoyproxy.io": "envoy-gateway",
    "gateway.networking.k8s.io": "gateway-api",
    "monitoring.coreos.com": "prometheus-operator",
    "networking.istio.io": "istio",
    "security.istio.io": "istio",
}
"""API group → package of @kubernetes-models."""
ANYTHING: Json = {"x-kubernetes-preserve-unknown-fields": True}
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[A-Za-z_$][\w$.]*|-?\d+|[{}\[\]()<>:;,|&?=]')


def modules() -> Path:
    """Where npm's packages are; a test without them fails."""
    assert (MODULES / "@kubernetes-models").is_dir(), (
        f"no {MODULES}; run scripts/setup_tests.sh (it needs npm)"
    )
    return MODULES


def _resolve(name: str, here: Path) -> Path:
    path = here.parent / name if name.startswith(".") else modules() / name
    return path.with_name(path.name.removesuffix(".js") + ".d.ts")


class _Declarations:
    """One .d.ts file: its imports, and the tokens of what it exports."""

    def __init__(self, path: Path) -> None:
        text = re.sub(r"/\*.*?\*/", "", path.read_text(encoding="utf-8"), flags=re.S)
        self.path = path
        self.imports: dict[str, str] = {}
        for names, source in re.findall(r'import \{([^}]*)\} from "([^"]*)"', text):
            self.imports |= dict.fromkeys((n.strip() for n in names.split(",")), source)
        self.bodies = {
            m[1]: text[m.end() :]
            for m in re.finditer(r"export (?:interface|type) (\w+)\b(?=[ <=])", text)
            if m[1].startswith("I")
        }

    def schema(self, name: str) -> Json:
        """The schema of an exported type. Raises KeyError where there is none."""
        return _Reader(self, self.bodies[name]).exported()


@cache
def _file(path: Path) -> _Declarations:
    return _Declarations(path)


class _Reader:
    """A recursive descent over the few forms that the generated declarations use."""

    def __init__(self, file: _Declarations, text: str) -> None:
        self.file = file
        self.tokens: Iterator[str] = (m[0] for m in _TOKEN.finditer(text))
        self.now = next(self.tokens, "")

    def take(self, expected: str = "") -> str:
        token = self.now
        assert not expected or token == expected, f"{self.file.path}: {token!r} where {expected!r} should be"
        self.now = next(self.tokens, "")
        return token

    def exported(self) -> Json:
        if self.now == "=":
            self.take()
            return self.union()
        bases: list[Json] = []
        if self.now == "extends":
            self.take()
            while True:
                bases.append(self.named(self.take()))
                if self.now != ",":
                    break
                self.take()
        out = self.record()
        for base in bases:
            out["properties"] = {**base.get("properties", {}), **out.get("properties", {})}
            out["required"] = sorted({*base.get("required", ()), *out.get("required", ())})
        return {k: v for k, v in out.items() if v != []}

    def named(self, name: str) -> Json:
        if name in ("TypeMeta",):
            return {}
        return reference(self.file, name)

    def union(self) -> Json:
        if self.now == "|":
            self.take()
        options = [self.refined()]
        while self.now == "|":
            self.take()
            options.append(self.refined())
        options = [o for o in options if o is not None]
        kinds = {o.get("type") for o in options}
        if all("enum" in o for o in options) and len(kinds) == 1:
            return {"type": kinds.pop(), "enum": [v for o in options for v in o["enum"]]}
        if kinds == {"string", "number"}:
            return {"x-kubernetes-int-or-string": True}
        return options[0] if len(options) == 1 else dict(ANYTHING)

    def refined(self) -> Any:
        """`A & (…)`: the fields are all in A; what follows only says which exclude each other."""
        out = self.primary()
        while self.now == "&":
            depth = 0
            while depth or self.now not in (";", "|", ">", ")"):
                depth += {"(": 1, "{": 1, "<": 1, ")": -1, "}": -1, ">": -1}.get(self.take(), 0)
        return out

    def primary(self) -> Any:
        token = self.now
        if token == "{":
            return self.record()
        if token == "(":
            self.take()
            inner = self.union()
            self.take(")")
            return inner
        self.take()
        if token.startswith('"'):
            return {"type": "string", "enum": [json.loads(token)]}
        if token.lstrip("-").isdigit():
            return {"type": "integer", "enum": [int(token)]}
        if token in ("string", "number", "boolean"):
            return {"type": token}
        if token in ("null", "undefined"):
            return None
        if token == "Array":
            self.take("<")
            items = self.union()
            self.take(">")
            return {"type": "array", "items": items}
        if token in ("any", "unknown", "object", "Date"):
            return dict(ANYTHING)
        return self.named(token)

    def record(self) -> Json:
        self.take("{")
        properties: Json = {}
        required: list[str] = []
        rest: Json | None = None
        while self.now != "}":
            if self.now == "[":
                for expected in ("[", "", ":", "string", "]", ":"):
                    self.take(expected)
                rest = self.union()
            else:
                name = json.loads(self.take())
                if self.now == "?":
                    self.take()
                else:
                    required.append(name)
                self.take(":")
                properties[name] = self.union()
            self.take(";")
        self.take("}")
        if rest is not None:
            return {"type": "object", **({"additionalProperties": rest} if rest else ANYTHING)}
        if not properties:
            return {"type": "object", **ANYTHING}
        return {"type": "object", "properties": properties, **({"required": required} if required else {})}


def reference(file: _Declarations, name: str) -> Json:
    """The schema of a type that `file` imports."""
    source = _resolve(file.imports[name], file.path)
    other = _file(source)
    return other.schema("I" + source.name.removesuffix(".d.ts"))


def schema(api_version: str, kind: str) -> Json:
    """The structural schema of a kind, without the metadata that the API server knows itself."""
    group, _, version = api_version.partition("/")
    path = modules() / "@kubernetes-models" / PACKAGES[group] / group / version / f"{kind}.d.ts"
    out = _file(path).schema(f"I{kind}")
    properties = {k: v for k, v in out["properties"].items() if k not in ("apiVersion", "kind", "metadata")}
    required = [k for k in out.get("required", ()) if k in properties]
    return {"type": "object", "properties": properties, **({"required": required} if required else {})}


PLURALS = {"ServiceEntry": "serviceentries", "PeerAuthentication": "peerauthentications"}


def plural(kind: str) -> str:
    """As the API calls a list of it."""
    if kind in PLURALS:
        return PLURALS[kind]
    return kind.lower() + "s" if not kind.endswith("y") else kind.lower()[:-1] + "ies"


def crd(api_version: str, kind: str) -> Json:
    """A CustomResourceDefinition of one version of a kind."""
    group, _, version = api_version.partition("/")
    names = {"plural": plural(kind), "singular": kind.lower(), "kind": kind, "listKind": f"{kind}List"}
    metadata: Json = {"name": f"{names['plural']}.{group}"}
    if group.endswith(".k8s.io"):
        metadata["annotations"] = {"api-approved.kubernetes.io": "unapproved, a copy for tests"}
    served = {
        "name": version,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema(api_version, kind)},
        "subresources": {"status": {}},
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": metadata,
        "spec": {"group": group, "names": names, "scope": "Namespaced", "versions": [served]},
    }


def foreign(documents: Sequence[Json]) -> list[tuple[str, str]]:
    """The kinds among the documents that npm's packages know, without repetition."""
    found = {(d["apiVersion"], d["kind"]) for d in documents}
    return sorted(k for k in found if k[0].partition("/")[0] in PACKAGES)


def faults(documents: Sequence[Json]) -> list[str]:
    """What the packages' own validators say of the documents, Kubernetes' core kinds included."""
    node = shutil.which("node")
    assert node, "no node on PATH; install nodejs"
    modules()
    done = subprocess.run(
        [node, str(SCHEMAS / "validate.mjs")],
        input=json.dumps({"packages": PACKAGES, "documents": list(documents)}),
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: list[str] = json.loads(done.stdout)
    return found
