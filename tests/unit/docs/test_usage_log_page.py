"""The page on the usage log has every field that a line can have, and no other."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import orjson

from spendgate.records.outcome import ChargedBy, Outcome
from spendgate.records.record import LINE, PricedBy, UsagePart, UsageRecord

PAGE = (Path(__file__).parents[3] / "docs" / "reference" / "usage-log.md").read_text()


def test_every_field_of_a_line_is_documented() -> None:
    full = UsageRecord(
        *("e", "r", 1_500, "t", "a", "u", "run", "d", "mr", "m", "up"),
        {"input": 1}, 5, 6, "v", "allow", "why", Outcome.COMPLETE, "x", parts=(UsagePart("m", {}, 1),),
        saved_nanousd=7, priced_by=PricedBy(*("p", "t", "r", "s"), ("k",)),
        model_answered="ma", attempts=2, end_user="ann", tags=(("project", "beta"),),
        off_list_nanousd=-1, markup_nanousd=2,
    )  # fmt: skip
    assert {f.name for f in fields(UsageRecord)} >= {"saved_nanousd", "priced_by"}
    line = orjson.loads(full.line())
    table = PAGE[PAGE.index("## Fields") : PAGE.index("## Writing")]
    named = {
        n for row in re.findall(r"^\| (`[^|]*) \|", table, re.MULTILINE) for n in re.findall(r"`(\w+)`", row)
    }
    assert named == set(line) == set(LINE.names)
    for name in (*line["parts"][0], *line["priced_by"]):
        assert f"`{name}`" in table or f"{name}," in table or f"{name}}}" in table, name
    assert all(f"`{o.value}`" in table for o in Outcome)
    assert all(f"`{c.value}`" in table for c in ChargedBy if c.value)
