"""Write tests/corpus/golden.txt: the usage, by kind, that each recorded exchange is metered with.

    .venv/bin/python scripts/build_golden_usage.py

Our own expectations, so that no change of a dialect passes unseen: no text of a recording is in it. A line is
the exchange's number in its file, its dialect, and its kinds.
"""

from __future__ import annotations

import sys
from itertools import groupby
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "tests" / "corpus" / "golden.txt"


def page() -> str:
    """The file's text."""
    sys.path.insert(0, str(ROOT / "tests"))
    from support.recorded import exchanges

    lines = ["# Written by scripts/build_golden_usage.py; do not edit."]
    rows = [(*e.recording.source.rsplit("#", 1), e) for e in exchanges()]
    rows.sort(key=lambda row: (row[0], int(row[1])))
    for file, group in groupby(rows, key=lambda row: row[0]):
        lines.append(file)
        for _, number, exchange in group:
            reading = exchange.reading()
            kinds = " ".join(f"{kind}={n}" for kind, n in reading.usage.items() if kind != "requests")
            lines.append(f" {number} {exchange.dialect.name} {kinds or reading.problem or 'nothing'}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"written: {PAGE}")
