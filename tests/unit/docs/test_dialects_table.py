"""The table of dialects is what the code says, with a test behind each tick."""

from __future__ import annotations

import ast
from pathlib import Path

from support.scripts import load_script

from spendgate.dialects.registry import DIALECTS

TABLE = load_script("build_dialects_table")
TESTS = Path(__file__).parents[1]


def test_the_committed_page_is_what_the_code_says() -> None:
    committed = TABLE.PAGE.read_text(encoding="utf-8")
    assert committed == TABLE.page(), "run .venv/bin/python scripts/build_dialects_table.py and commit"


def test_every_dialect_has_a_row_with_every_column() -> None:
    assert set(TABLE.ROWS) == {dialect.name for dialect in DIALECTS}
    assert {len(row.cells) for row in TABLE.ROWS.values()} == {len(TABLE.COLUMNS)}


def test_behind_each_tick_there_is_a_test() -> None:
    named = {TABLE.located(row, cell) for row in TABLE.ROWS.values() for cell in row.cells}
    for file, test in sorted(named):
        if file:
            functions = [
                n.name for n in ast.parse((TESTS / file).read_text()).body if isinstance(n, ast.FunctionDef)
            ]
            assert test in functions, f"{file}: {test}"
