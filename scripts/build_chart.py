"""Write charts/spendgate, the Helm chart, from k8s/ and from the model of its values, and its page of values.

    .venv/bin/python scripts/build_chart.py

Templates are the manifests with their literals made values and their components made switches (scripts/helm_chart), so
that the chart and kustomize install the same. What only Helm has is written by hand: `_helpers.tpl`, and the templates
without a note at their top. Tests build it anew, compare, and hold what is rendered against every overlay.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "scripts"))

from helm_chart import copies, documents  # noqa: E402

CHART = "charts/spendgate"


def files() -> dict[str, str]:
    """Every generated file by its path in the repository."""
    made = copies.templates() | copies.files()
    return {
        **{f"{CHART}/{name}": text for name, text in made.items()},
        f"{CHART}/values.yaml": documents.values_yaml(),
        f"{CHART}/values.schema.json": documents.schema(),
        "docs/reference/chart.md": documents.page(),
    }


if __name__ == "__main__":
    for file_name, text in files().items():
        path = ROOT / file_name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        print(file_name)
