"""The usage of every recorded exchange, kind by kind, is the one we expect."""

from __future__ import annotations

from support.scripts import load_script

GOLDEN = load_script("build_golden_usage")


def test_every_recorded_exchange_is_metered_as_expected() -> None:
    ours, expected = GOLDEN.page().splitlines(), GOLDEN.PAGE.read_text(encoding="utf-8").splitlines()
    changed = set(ours) ^ set(expected)
    shown = "\n".join([f"+{line}" for line in ours if line in changed][:20])
    assert ours == expected, (
        f"run .venv/bin/python scripts/build_golden_usage.py and look at the diff:\n{shown}"
    )
