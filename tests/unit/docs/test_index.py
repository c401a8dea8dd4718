"""No page of the documentation is lost, and no link leads nowhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
OUTSIDE = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "tests" / "support" / "README.md"]
_LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)#\s]+)(?:#[^)\s]*)?\)")


def links(page: Path) -> set[Path]:
    """The files that a page links to."""
    text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.S)
    return {(page.parent / found).resolve() for found in _LINK.findall(text)}


def test_every_page_is_found_from_the_index() -> None:
    listed = links(DOCS / "README.md")
    pages = {p for p in PAGES if p.parent.name != "runbooks" and p != DOCS / "README.md"}
    assert pages - listed == set(), "name them in docs/README.md"


@pytest.mark.parametrize("page", [*OUTSIDE, *PAGES], ids=lambda p: str(p.relative_to(ROOT)))
def test_every_link_leads_to_a_file(page: Path) -> None:
    assert {str(p) for p in links(page) if not p.exists()} == set()
