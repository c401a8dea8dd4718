"""What README and its neighbours count is what is there."""

from __future__ import annotations

import json
import re
from pathlib import Path

from spendgate.dialects.registry import DIALECTS

ROOT = Path(__file__).parents[3]


def counted(page: str, words: str) -> list[int]:
    """The numbers that stand in the place of N in `words`, wherever the page breaks its lines."""
    pattern = r"\s+".join(re.escape(w) for w in words.split()).replace("N", r"([\d,]+)")
    (found,) = re.findall(pattern, (ROOT / page).read_text(encoding="utf-8"))
    return [int(n.replace(",", "")) for n in ([found] if isinstance(found, str) else found)]


def test_the_apis_counted_are_the_dialects() -> None:
    assert counted("README.md", "The N APIs of") == [len(DIALECTS)]


def test_the_recorded_exchanges_counted_are_those_of_the_golden_file() -> None:
    golden = (ROOT / "tests/corpus/golden.txt").read_text(encoding="utf-8")
    dialects = re.findall(r"^ \d+ (\S+)", golden, re.MULTILINE)
    assert counted("README.md", "N of them are proven on N recorded exchanges") == [
        len(set(dialects)),
        len(dialects),
    ]


def test_the_providers_counted_are_those_of_the_catalogue() -> None:
    catalogue = json.loads((ROOT / "src/spendgate/pricing/catalogue.json").read_text(encoding="utf-8"))
    named = [name for name in catalogue["providers"] if name]
    assert counted("README.md", "list prices of N providers") == [len(named)]
    assert counted("docs/how-to/change-a-price.md", "list prices of N providers") == [len(named)]
