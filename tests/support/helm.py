"""charts/spendgate as Helm renders and installs it: Helm's own code, as a library (helm-python-sdk), in a process
of its own, since a Go runtime with its threads and signal handlers is no guest for a process of tests."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import yaml

Json = dict[str, Any]
ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "spendgate"
EXAMPLES = CHART / "examples"
_CHILD = """
import json, sys
import helm_python as helm
asked = json.load(sys.stdin)
out = {}
with helm.Chart.load(asked["chart"]) as chart:
    try:
        chart.validate_schema(asked["values"])
        out["files"] = chart.render(asked["values"], name="spendgate", namespace=asked["namespace"])
    except helm.HelmError as error:
        out["error"] = str(error)
if asked["lint"]:
    out["lint"] = helm.lint(asked["chart"], asked["values"], strict=True, namespace=asked["namespace"])
json.dump(out, sys.stdout)
"""


def _helm(values: Json, namespace: str, chart: Path, lint: bool = False) -> Json:
    asked = {"chart": str(chart), "values": values, "namespace": namespace, "lint": lint}
    done = subprocess.run(
        [sys.executable, "-c", _CHILD],
        input=json.dumps(asked), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    out: Json = json.loads(done.stdout)
    return out


@cache
def _rendered(values: str, namespace: str, chart: Path) -> str:
    out = _helm(json.loads(values), namespace, chart)
    assert "error" not in out, out["error"]
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return json.dumps([
        d
        for name, text in sorted(out["files"].items())
        if name.endswith((".yaml", ".yml"))
        for d in yaml.load_all(text, Loader=loader)
        if d
    ])  # fmt: skip


def documents(values: Json, namespace: str = "llm-gateway", chart: Path = CHART) -> list[Json]:
    """What an installation with these values applies."""
    found: list[Json] = json.loads(_rendered(json.dumps(values, sort_keys=True), namespace, chart))
    return found


def refusal(values: Json, chart: Path = CHART) -> str:
    """What Helm says to values that it refuses."""
    out = _helm(values, "llm-gateway", chart)
    assert "error" in out, "accepted"
    said: str = out["error"]
    return said


def lint(values: Json, chart: Path = CHART) -> Json:
    """Helm's own findings."""
    found: Json = _helm(values, "llm-gateway", chart, lint=True)["lint"]
    return found


def example(name: str) -> Json:
    """The values of charts/spendgate/examples/NAME.yaml."""
    found: Json = yaml.safe_load((EXAMPLES / f"{name}.yaml").read_text(encoding="utf-8"))
    return found


_RELEASE = """
import json, sys
import helm_python as helm
asked = json.load(sys.stdin)
with helm.Config(kubeconfig_path=asked["kubeconfig"], namespace=asked["namespace"]) as config:
    try:
        if asked["verb"] == "install":
            out = config.install(asked["chart"], "spendgate", asked["values"], create_namespace=True)
        elif asked["verb"] == "upgrade":
            out = config.upgrade(asked["chart"], "spendgate", asked["values"])
        else:
            out = config.uninstall("spendgate")
    except helm.HelmError as error:
        out = {"error": str(error)}
json.dump({k: v for k, v in (out or {}).items() if k != "manifest"}, sys.stdout, default=str)
"""


def release(
    verb: str, kubeconfig: Path, namespace: str, values: Json | None = None, chart: Path = CHART
) -> Json:
    """`helm install`, `upgrade` or `uninstall` of the release `spendgate`; its complaint fails the test."""
    asked = {
        "verb": verb, "kubeconfig": str(kubeconfig), "namespace": namespace, "values": values or {}, "chart": str(chart)
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", _RELEASE],
        input=json.dumps(asked), capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    out: Json = json.loads(done.stdout)
    assert "error" not in out, out["error"]
    return out
