"""The usage log as tables."""

from __future__ import annotations

import csv
from pathlib import Path

from unit.records.test_record import FULL

from spendgate.finops.chargeback.export_usage import FIELDS, write_days
from spendgate.records.record import LINE


def test_every_field_of_a_line_is_a_column_and_filled(tmp_path: Path) -> None:
    assert set(FIELDS) == set(LINE.names)
    ((path, lines),) = write_days([FULL], "202611", tmp_path).values()
    (row,) = csv.DictReader(path.open())
    assert lines == 1
    assert [name for name, value in row.items() if not value] == []
