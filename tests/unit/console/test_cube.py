"""Sums of cells in SQLite are those of Python, whatever the cells."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spendgate.console.cube import Cube, Sums, Where, key_of, row_of, sums_of
from spendgate.ledger.accounts import DayCell

NAMES = st.sampled_from(["", "a", "b", "é'\"; DROP TABLE cell"])
CELLS = st.lists(
    st.builds(
        DayCell,
        team=NAMES, day=st.sampled_from(["20261031", "20261101", "20261118"]), app=NAMES, model=NAMES,
        requests=st.integers(-5, 10**9), cost_nanousd=st.integers(-(10**15), 10**15),
        tokens=st.dictionaries(st.sampled_from(["input", "cached_input", "output", "searches"]), st.integers(1, 10**9)),
        saved_nanousd=st.integers(-(10**12), 10**12), refused=st.integers(0, 10**6),
        adjusted_nanousd=st.integers(-(10**12), 10**12), user=NAMES,
    ),
    max_size=30,
    unique_by=lambda c: (c.team, c.day, c.app, c.model, c.user),
)  # fmt: skip
ALL = Where("20260101", "20261231")


def filled(cells: list[DayCell]) -> Cube:
    cube = Cube()
    for team in {c.team for c in cells}:
        days = sorted({c.day for c in cells if c.team == team})
        cube.replace(team, days, [row_of(c, "seller", 1) for c in cells if c.team == team])
    return cube


def added(cells: list[DayCell]) -> Sums:
    columns = list(zip(*(sums_of(c, 1) for c in cells), strict=True)) or [()] * 9
    return Sums(*(sum(column) for column in columns))


@given(CELLS, NAMES, NAMES)
def test_sums_breakdowns_and_cells_are_what_the_cells_add_up_to(
    cells: list[DayCell], team: str, app: str
) -> None:
    cube = filled(cells)
    assert cube.sums(ALL) == added(cells)
    where = Where("20261101", "20261130", team=team, app=app)
    wanted = [c for c in cells if c.team == team and c.app == app and c.day.startswith("202611")]
    assert cube.sums(where) == added(wanted)
    for dimension in ("team", "app", "user", "model", "day"):
        rows = cube.by(dimension, ALL)
        names = {getattr(c, dimension) for c in cells}
        assert {name for name, _ in rows} == names and cube.count(dimension, ALL) == len(names)
        assert sum(s.cost_nanousd for _, s in rows) == added(cells).cost_nanousd
        assert [s.cost_nanousd for _, s in rows] == sorted((s.cost_nanousd for _, s in rows), reverse=True)
        assert cube.costs(dimension, ALL) == {name: s.cost_nanousd for name, s in rows}
    back = [c for some in cube.cells(ALL) for c in some]
    assert {
        (c.team, c.day, c.app, c.model, c.user, c.cost_nanousd, str(sorted(c.tokens.items()))) for c in back
    } == {
        (c.team, c.day, c.app, c.model, c.user, c.cost_nanousd, str(sorted(c.tokens.items()))) for c in cells
    }


@given(CELLS, CELLS)
def test_adding_in_parts_is_adding_at_once(first: list[DayCell], then: list[DayCell]) -> None:
    cube = Cube()
    for part in (first, then):
        cube.add({key_of(c, "s", c.user): (sums_of(c, 1), c.tokens) for c in part})
    assert cube.sums(ALL) == added([*first, *then])
    tokens: dict[str, int] = {}
    for some in cube.cells(ALL):
        for c in some:
            for kind, n in c.tokens.items():
                tokens[kind] = tokens.get(kind, 0) + n
    assert tokens.get("searches", 0) == sum(c.tokens.get("searches", 0) for c in [*first, *then])


def test_a_team_s_days_are_replaced_and_its_entries_beside_them_stay() -> None:
    cube = Cube()
    cell = DayCell("red", "20261118", "chat", "m", 1, 5, {})
    cube.replace("red", ["20261118"], [row_of(cell, "s", 0)])
    cube.replace("red", ["20261118"], [row_of(cell, "s", 0, beside=True)], beside=True)
    cube.replace("red", ["20261118"], [])
    assert cube.sums(ALL).cost_nanousd == 5
    cube.forget("20261119")
    assert cube.sums(ALL).cost_nanousd == 0


def test_only_dimensions_are_asked_for() -> None:
    with pytest.raises(ValueError, match="not in tuple"):
        Cube().by("cost); DROP TABLE cell; --", ALL)


def test_a_file_is_there_again_after_a_restart(tmp_path: Path) -> None:
    cube = Cube(tmp_path / "c.sqlite")
    cube.add(
        {
            key_of(DayCell("red", "20261118", "a", "m", 1, 7, {}), "s", "kim"): (
                [1, 7, 0, 0, 0, 0, 0, 0, 0],
                {},
            )
        }
    )
    cube.close()
    assert Cube(tmp_path / "c.sqlite").by("user", ALL)[0][0] == "kim"


def test_unit_costs_leave_adjustments_out_and_nothing_is_divided_by_nothing() -> None:
    sums = Sums(requests=4, cost_nanousd=10, adjusted_nanousd=2, tokens_in=6, tokens_cached=3, tokens_out=2)
    assert (sums.a_thousand_requests_nanousd, sums.a_million_tokens_nanousd, sums.cached_share) == (
        2000,
        10**6,
        0.5,
    )
    empty = Sums()
    assert (empty.a_thousand_requests_nanousd, empty.a_million_tokens_nanousd, empty.cached_share) == (
        None,
        None,
        None,
    )
