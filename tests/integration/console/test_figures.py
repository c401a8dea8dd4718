"""Numbers of pages over a real ledger: what several ask for at once is made once."""

from __future__ import annotations

import asyncio
from datetime import date
from typing import Any

import pytest

from spendgate.console.figures import Figures
from spendgate.console.mirror import Mirror
from spendgate.console.period import parse_period

from .conftest import T0, USD, House


async def test_what_many_ask_for_at_once_is_made_once(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    await house.spend("red", USD)
    figures = Figures(Mirror(house.ledger, lambda: house.snapshot.prices), None, lambda: T0)
    period = parse_period({"month": "2026-11"}, date(2026, 11, 18))
    await figures.mirror.bring(["202610", "202611"], T0)
    by, asked = figures.mirror.cube.by, list[str]()

    def counted(dimension: str, *more: Any) -> Any:
        asked.append(dimension)
        return by(dimension, *more)

    monkeypatch.setattr(figures.mirror.cube, "by", counted)
    views = await asyncio.gather(*(figures.view(period, {}, ("team",)) for _ in range(5)))
    assert asked == ["day", "day", "team"]
    assert [v.now.cost_nanousd for v in views] == [USD] * 5
