"""The overview, and the way down from it: team, app, user, model, provider, day; and what they show as files."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, zip_longest
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from spendgate.budget.forecast import Forecast, forecast, history_days
from spendgate.console import downloads
from spendgate.console.access import Visitor
from spendgate.console.books import Books
from spendgate.console.cube import Where
from spendgate.console.figures import CHAIN, ROWS_PER_PAGE, SHOWN, Figures, View, Waiting
from spendgate.console.period import Period, key_of
from spendgate.console.site import Site
from spendgate.console.totals import totals
from spendgate.console.web import Wrong, number_of
from spendgate.errors import ConfigurationError
from spendgate.finops.chargeback.focus import focus_rows
from spendgate.finops.chargeback.focus_columns import Version
from spendgate.finops.chargeback.focus_files import focus_csv_pieces, parquet_of
from spendgate.months import month_last_ms

TEAMS_PER_PAGE = 50
MIX_SHOWN = 8
MOVERS_SHOWN = 8
CSV = "text/csv; charset=utf-8"
PARQUET = "application/vnd.apache.parquet"
FOCUS: dict[str, Version] = {"focus": "1.4", "focus-1.2": "1.2"}
FILES = ("csv", "parquet", "focus.csv", "focus-1.2.csv", "focus.parquet")
TABLES = {"days": "day", "teams": "team", "models": "model", "providers": "provider", "users": "user"}
"""What the overview offers, by the name of its file."""


class Spending:
    """The handlers over one set of figures."""

    def __init__(self, site: Site, books: Books, figures: Figures) -> None:
        self._site = site
        self._books = books
        self._figures = figures

    # -- the overview ---------------------------------------------------------------------------------------

    async def overview(self, request: Request, visitor: Visitor) -> Response:
        """GET /."""
        period = self._site.period(request)
        running = period.month == self._books.this_month
        query = request.query_params.get("q", "").strip()
        alone = request.query_params.get("budget") == "none"
        rows = await self._books.rows_of(period)
        found = [
            r for r in rows if query.lower() in r.team.lower() and (not alone or r.limit_nanousd is None)
        ]
        pages = max(1, -(-len(found) // TEAMS_PER_PAGE))
        number = min(number_of(request.query_params.get("page", "1")), pages)
        shown = found[(number - 1) * TEAMS_PER_PAGE : number * TEAMS_PER_PAGE]
        forecasts = self._books.forecasts_known([*shown, *found]) if running else {}
        glance = None if query or alone else await self._glance(period)
        narrowed = {"q": query, **({"budget": "none"} if alone else {})}
        return self._site.render(
            request,
            visitor,
            "overview.html",
            period=period,
            periods=self._site.periods,
            running=running,
            query=query,
            alone=alone,
            rows=shown,
            forecasts=forecasts,
            dailies={r.team: self._books.daily(r.team) for r in shown} if running else {},
            live=5
            if all(r.team in forecasts for r in shown) and (_is_whole(glance) or query or alone)
            else 1,
            found=len(found),
            totals=totals(found, forecasts),
            expected=_together([forecasts[r.team] for r in found if r.team in forecasts]),
            glance=glance,
            movers=await self._figures.movers(period, MOVERS_SHOWN) if glance else [],
            page=number,
            pages=pages,
            link=lambda n: "?" + urlencode([*period.query, *narrowed.items(), ("page", n)]),
        )

    async def _glance(self, period: Period) -> View | None:
        """None while it is being read."""
        dimensions = ("provider", "model", "user", *(() if period.is_whole_months else ("team",)))
        try:
            return await self._figures.view(period, {}, dimensions, shown=MIX_SHOWN)
        except Waiting:
            return None

    async def table(self, request: Request, _: Visitor) -> Response:
        """GET /overview/{what}.csv."""
        period, what = self._site.period(request), request.path_params["what"]
        if what not in TABLES or (what == "users" and self._figures.index is None):
            raise Wrong(404, f"There is no table {what!r}; there are {', '.join(TABLES)}.")
        if what == "users":
            await self._figures.logs_ready()
        view = await self._figures.view(period, {}, (TABLES[what],), shown=-1)
        return _file(downloads.table_csv(view, view.tables[0]), CSV, f"{what}-{_slug(period)}.csv")

    # -- the way down ---------------------------------------------------------------------------------------

    async def spend(self, request: Request, visitor: Visitor) -> Response:
        """GET /spend."""
        period, named = self._site.period(request), self._named(request)
        by = request.query_params.get("by", "")
        dimensions = _dimensions(named, period)
        if by and by not in CHAIN:
            raise Wrong(404, f"There is no table by {by!r}; there are {', '.join(CHAIN)}.")
        pages, number = 1, 1
        if by:
            number = number_of(request.query_params.get("page", "1"))
            view = await self._figures.view(period, named, (by,), (number - 1) * ROWS_PER_PAGE, ROWS_PER_PAGE)
            total = view.tables[0].total if view.tables else 0
            pages = max(1, -(-total // ROWS_PER_PAGE))
        else:
            view = await self._figures.view(period, named, dimensions)
        ahead = await self._ahead(period, named) if period.month == self._books.this_month else []
        query = [*period.query, *named.items()]
        return self._site.render(
            request,
            visitor,
            "spend.html",
            period=period,
            periods=self._site.periods,
            named=named,
            view=view,
            by=by,
            expected=_together(ahead),
            forecast=sum(f.month_end_nanousd for f in ahead) if ahead else None,
            limit=await self._limit(period, named),
            page=number,
            pages=pages,
            shown=SHOWN,
            query=urlencode(query),
            link=lambda n: "?" + urlencode([*query, ("by", by), ("page", n)]),
            trail=_trail(named),
        )

    async def _ahead(self, period: Period, named: Mapping[str, str]) -> list[Forecast]:
        """Where these cells' month leads: teams by their own forecasts, as everywhere, anything else by the same
        method. Empty while teams are being read."""
        rows = await self._books.rows(period.month)
        if not named:
            known = self._books.forecasts_known(rows)
            return list(known.values()) if len(known) == len(rows) else []
        if set(named) == {"team"}:
            own = [r for r in rows if r.team == named["team"]]
            return list((await self._books.forecasts(own)).values())
        now = self._books.now_ms()
        days = history_days(now)
        where, cube = Where(days[0], days[-1], **named), self._figures.cube_of(named)
        spent = await asyncio.to_thread(cube.costs, "day", where)
        month = await asyncio.to_thread(cube.sums, where.within(key_of(period.first), days[-1]))
        return [forecast([spent.get(d, 0) for d in days], now, month.cost_nanousd)]

    async def _limit(self, period: Period, named: Mapping[str, str]) -> int:
        """The month's budget of what is shown (nano-USD), 0 for none: a team's, or its app's."""
        team = named.get("team")
        budget = await self._books.budget(team, period.month) if team is not None and period.month else None
        if budget is None:
            return 0
        if set(named) == {"team"}:
            return budget.limit_nanousd(min(self._books.now_ms(), month_last_ms(period.month)))
        rule = budget.apps.get(named.get("app", ""))
        return (rule.limit_nanousd or 0) if rule is not None and set(named) == {"team", "app"} else 0

    def _named(self, request: Request) -> dict[str, str]:
        named = {d: request.query_params[d] for d in CHAIN if d != "day" and d in request.query_params}
        if "user" in named and self._figures.index is None:
            raise Wrong(
                404, "Users are not known here: no usage log is read. Set SPENDGATE_CONSOLE_USAGE_LOG."
            )
        return named

    # -- files ----------------------------------------------------------------------------------------------

    async def file(self, request: Request, _: Visitor) -> Response:
        """GET /spend.{kind}: what the page shows."""
        kind = request.path_params["kind"]
        period, named = self._site.period(request), self._named(request)
        if kind not in FILES:
            raise Wrong(404, f"There is no file as {kind!r}; there are {', '.join(FILES)}.")
        by = request.query_params.get("by", "")
        name = f"spend-{_slug(period)}"
        if "user" in (by, *named):
            await self._figures.logs_ready()
        if by and kind == "csv":
            if by not in CHAIN:
                raise Wrong(404, f"There is no table by {by!r}; there are {', '.join(CHAIN)}.")
            view = await self._figures.view(period, named, (by,), shown=-1)
            return _file(downloads.table_csv(view, view.tables[0]), CSV, f"{name}-by-{by}.csv")
        return await self.cells(period, named, kind, name)

    async def cells(self, period: Period, named: Mapping[str, str], kind: str, name: str) -> Response:
        """Cells as one of `FILES`."""
        await self._figures.ready(period)
        where = Where(key_of(period.first), key_of(period.until), **named)
        cube, prices = self._figures.cube_of(named), self._books.snapshot().prices
        is_focus = kind.startswith("focus")
        groups = {m: await self._books.groups(m) for m in period.months if is_focus}
        parts = downloads.focus_parts(cube, where, period.months, prices, self._figures.mirror.audit, groups)
        try:
            if kind == "csv":
                return _stream(downloads.cells_csv(cube, where), f"{name}.csv")
            if kind == "parquet":
                return _file(
                    await asyncio.to_thread(downloads.cells_parquet, cube, where), PARQUET, f"{name}.parquet"
                )
            if kind == "focus.parquet":
                return _file(
                    await asyncio.to_thread(parquet_of, chain.from_iterable(map(focus_rows, parts))),
                    PARQUET,
                    f"focus-{name}.parquet",
                )
        except ConfigurationError as problem:
            raise Wrong(501, f"{problem}.") from problem
        version = kind.removesuffix(".csv")
        return _stream(focus_csv_pieces(parts, FOCUS[version]), f"{version}-{name}.csv")


def _dimensions(named: Mapping[str, str], period: Period) -> Sequence[str]:
    """The tables of a page: what is not fixed yet, in the order of the chain. Apps are named by their teams."""
    out = {*named, *(() if "team" in named else ("app",)), *(("day",) if period.length == 1 else ())}
    return [d for d in CHAIN if d not in out]


def _trail(named: Mapping[str, str]) -> list[tuple[str, str, dict[str, str], dict[str, str]]]:
    """(dimension, name, what is fixed up to it, what is fixed without it) of each step down."""
    steps, so_far = [], dict[str, str]()
    for dimension in CHAIN:
        if dimension in named:
            so_far[dimension] = named[dimension]
            without = {k: v for k, v in named.items() if k != dimension}
            steps.append((dimension, named[dimension], dict(so_far), without))
    return steps


def _together(of: Sequence[Forecast]) -> list[int]:
    """What several forecasts expect: the rest of today, and each day after it."""
    spans = zip_longest(*([nano for _, nano in f.spans] for f in of), fillvalue=0)
    return [sum(day) for day in spans]


def _is_whole(glance: View | None) -> bool:
    """Is everything that it shows read?"""
    return glance is not None and (glance.coverage is None or glance.coverage.progress.is_whole)


def _slug(period: Period) -> str:
    return "-to-".join(dict(period.query).values())


def _file(content: str | bytes, media: str, name: str) -> Response:
    return Response(content, media_type=media, headers=_attachment(name))


def _stream(pieces: Iterator[str], name: str) -> Response:
    return StreamingResponse(pieces, media_type=CSV, headers=_attachment(name))


def _attachment(name: str) -> dict[str, Any]:
    return {"content-disposition": f'attachment; filename="{name}"'}
