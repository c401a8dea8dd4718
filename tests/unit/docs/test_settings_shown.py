"""Settings that the pages show are settings, and prices are prices."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from spendgate.pricing.load import load_overrides
from spendgate.settings.config import Settings

ROOT = Path(__file__).parents[3]
PRICES = {"models", "deployments", "discounts"}
PAGES = sorted((ROOT / "docs").rglob("*.md"))


def shown() -> list[tuple[str, str, Any]]:
    """(page, text, data) of every YAML block without a kind."""
    out = []
    for page in PAGES:
        for text in re.findall(r"```yaml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
            for document in yaml.safe_load_all(text):
                if isinstance(document, dict) and not {"kind", "apiVersion"} & set(document):
                    out.append((page.name, text, document))
    return out


SETTINGS = [(page, d) for page, _, d in shown() if set(d) & set(Settings.model_fields) and "models" not in d]


def test_pages_show_settings() -> None:
    assert {"identity.md", "upstreams.md"} <= {page for page, _ in SETTINGS}


@pytest.mark.parametrize(("page", "document"), SETTINGS)
def test_settings_that_are_shown_are_valid(page: str, document: dict[str, Any]) -> None:
    assert Settings.model_validate(document), page


@pytest.mark.parametrize(("page", "text"), [(p, t) for p, t, d in shown() if set(d) <= PRICES])
def test_prices_that_are_shown_are_valid(page: str, text: str, tmp_path: Path) -> None:
    path = tmp_path / "prices.yaml"
    path.write_text(text)
    assert load_overrides(path), page
