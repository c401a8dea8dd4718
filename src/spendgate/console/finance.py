"""The pages of whoever closes the books: chargeback, adjustments, closes, drift against invoices, prices."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from spendgate.console import downloads
from spendgate.console.access import Visitor
from spendgate.console.books import Books
from spendgate.console.cube import Where
from spendgate.console.figures import ROWS_PER_PAGE, VIEW_KEPT_FOR, Figures
from spendgate.console.period import key_of
from spendgate.console.site import Site
from spendgate.console.spending import CSV, FOCUS, Spending
from spendgate.console.web import Wrong, number_of
from spendgate.finops.chargeback import html as chargeback_page
from spendgate.finops.chargeback import render as report
from spendgate.finops.chargeback.chargeback import chargeback
from spendgate.finops.chargeback.groups import Groups, with_groups
from spendgate.finops.chargeback.parties import SELLERS
from spendgate.ledger.redis.closing import look_at_month
from spendgate.ledger.redis.days import closed_months
from spendgate.ledger.redis.ledger import RedisLedger
from spendgate.months import month_text
from spendgate.pricing.price import Price
from spendgate.pricing.table import PriceTable
from spendgate.pricing.terms import Terms
from spendgate.values import dataclass
from spendgate.views.budgets import utilization

DOWNLOADS = {
    "csv": (CSV, report.to_csv),
    "json": ("application/json", report.to_json),
    "md": ("text/markdown; charset=utf-8", report.to_markdown),
    "html": ("text/html; charset=utf-8", chargeback_page.to_html),
}
PRICES_PER_PAGE = 100
SHOWN_KINDS = ("input", "cached_input", "cache_write_5m", "output")


@dataclass(frozen=True, slots=True)
class MonthState:
    """A month over all teams that spent in it."""

    month: str
    settled_nanousd: int
    teams: int
    closed: int
    last_ms: int
    by: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class GroupRow:
    """A group: what its teams spent together, beside its budget."""

    name: str
    teams: tuple[str, ...]
    cost_nanousd: int
    limit_nanousd: int | None

    @property
    def utilization(self) -> float | None:
        """The cost as a part of the budget."""
        return utilization(self.cost_nanousd, self.limit_nanousd)


@dataclass(frozen=True, slots=True)
class PriceRow:
    """A model's price, and what was spent with it in the period. `price` None: it has none."""

    model: str
    seller: str
    price: Price | None
    spent_nanousd: int
    stand_in: str = ""


class Finance:
    """The handlers over one ledger."""

    def __init__(
        self, site: Site, books: Books, figures: Figures, ledger: RedisLedger, spending: Spending
    ) -> None:
        self._site = site
        self._books = books
        self._figures = figures
        self._ledger = ledger
        self._spending = spending
        self._states: list[MonthState] = []
        self._states_until_s = 0.0

    async def chargeback(self, request: Request, visitor: Visitor) -> Response:
        """GET /chargeback."""
        month = self._site.month(request)
        period = self._site.period_of_month(month)
        kind = request.query_params.get("as", "")
        if not kind:
            view = await self._figures.view(period, {}, ("team",), shown=-1)
            spent = {r.name: r.now.cost_nanousd for r in view.tables[0].rows}
            return self._site.render(
                request,
                visitor,
                "chargeback.html",
                groups=_group_rows(spent, await self._books.groups(month)),
                month=month,
                months=self._site.months,
                view=view,
                period=period,
            )
        if kind in FOCUS:
            file, name = f"{kind}.csv", f"{kind}-{month_text(month)}.csv"
            made = await self._spending.cells(period, {}, file, name)
            made.headers["content-disposition"] = f'attachment; filename="{name}"'
            return made
        if kind not in DOWNLOADS:
            raise Wrong(
                404, f"There is no chargeback as {kind!r}; there are {', '.join([*DOWNLOADS, *FOCUS])}."
            )
        await self._figures.ready(period)
        where = Where(key_of(period.first), key_of(period.until))
        media, write = DOWNLOADS[kind]
        prices, groups = self._books.snapshot().prices, await self._books.groups(month)

        def written() -> str:
            cells = [c for some in self._figures.mirror.cube.cells(where) for c in some]
            return write(with_groups(chargeback(month, "ledger", cells, prices), groups))

        name = f"chargeback-{month_text(month)}.{kind}"
        headers = {"content-disposition": f'attachment; filename="{name}"'}
        return Response(await asyncio.to_thread(written), media_type=media, headers=headers)

    async def adjustments(self, request: Request, visitor: Visitor) -> Response:
        """GET /adjustments and /adjustments.csv."""
        period, team = self._site.period(request), request.query_params.get("team")
        await self._figures.ready(period)
        first, last = key_of(period.first), key_of(period.until)
        made = [
            a
            for of, some in self._figures.mirror.audit.items()
            if team in (None, "", of)
            for a in some
            if first <= a.booked_day <= last
        ]
        made.sort(key=lambda a: (a.at_ms, a.adjustment.adjustment_id), reverse=True)
        if request.url.path.endswith(".csv"):
            name = f"adjustments-{'-to-'.join(dict(period.query).values())}.csv"
            headers = {"content-disposition": f'attachment; filename="{name}"'}
            return Response(downloads.adjustments_csv(made), media_type=CSV, headers=headers)
        pages = max(1, -(-len(made) // ROWS_PER_PAGE))
        number = min(number_of(request.query_params.get("page", "1")), pages)
        query = [*period.query, *((("team", team),) if team else ())]
        return self._site.render(
            request,
            visitor,
            "adjustments.html",
            period=period,
            periods=self._site.periods,
            team=team or "",
            made=made[(number - 1) * ROWS_PER_PAGE : number * ROWS_PER_PAGE],
            count=len(made),
            counted=sum(a.adjustment.cost_nanousd for a in made if not a.adjustment.is_beside),
            beside=sum(a.adjustment.cost_nanousd for a in made if a.adjustment.is_beside),
            page=number,
            pages=pages,
            query=urlencode(query),
            link=lambda n: "?" + urlencode([*query, ("page", n)]),
        )

    async def closes(self, request: Request, visitor: Visitor) -> Response:
        """GET /closes: the months; with a month, how it stands for each team."""
        teams = await self._ledger.teams()
        if not request.query_params.get("month"):
            now_s = time.monotonic()
            if now_s >= self._states_until_s:
                self._states = await self._month_states(teams)
                took = time.monotonic() - now_s
                self._states_until_s = time.monotonic() + VIEW_KEPT_FOR * took
            states = self._states
            return self._site.render(
                request, visitor, "closes.html", states=states, this_month=self._books.this_month
            )
        month = self._site.month(request)
        period = self._site.period_of_month(month)
        closings = [
            c for c in await look_at_month(self._ledger, teams, month) if c.settled_nanousd or c.requests
        ]
        await self._figures.ready(period)
        audit = self._figures.mirror.audit
        later = [a for some in audit.values() for a in some if a.corrects(month)]
        return self._site.render(
            request, visitor, "close.html", month=month, period=period, closings=closings, later=later,
            settled=sum(c.settled_nanousd for c in closings), lines=sum(c.cells_nanousd for c in closings),
            is_over=month < self._books.this_month,
        )  # fmt: skip

    async def _month_states(self, teams: Sequence[str]) -> list[MonthState]:
        closed = await closed_months(self._ledger, teams)
        states = []
        for month in self._site.months:
            balances = await self._ledger.balances(teams, month)
            spent = {t: s for t, (s, _) in zip(teams, balances, strict=True) if s}
            done = closed.get(month, {})
            among = {t: c for t, c in done.items() if t in spent}
            by = tuple(sorted({c.by for c in done.values()}))
            last = max((c.at_ms for c in done.values()), default=0)
            if spent or done:
                states.append(MonthState(month, sum(spent.values()), len(spent), len(among), last, by))
        return states

    async def drift(self, request: Request, visitor: Visitor) -> Response:
        """GET /drift: the last reconciliation with each provider's invoice."""
        found = await self._ledger.drifts()
        return self._site.render(
            request, visitor, "drift.html", drifts=found, names={p: name for p, (name, _) in SELLERS.items()}
        )

    async def prices(self, request: Request, visitor: Visitor) -> Response:
        """GET /prices: of the models used in a period, or of those that a name finds."""
        period, query = self._site.period(request), request.query_params.get("q", "").strip()
        table = self._books.snapshot().prices
        view = await self._figures.view(period, {}, ("model",), shown=-1)
        spent = {r.name: r.now.cost_nanousd for r in view.tables[0].rows}
        if query:
            names = [n for n in dict.fromkeys([*spent, *table.names()]) if query.lower() in n.lower()]
        else:
            names = list(spent)
        now = self._books.now_ms()
        rows = [_priced(table, n, spent.get(n, 0), now) for n in names if n not in ("(none)", "(all)")]
        return self._site.render(
            request, visitor, "prices.html", period=period, periods=self._site.periods, query=query,
            rows=rows[:PRICES_PER_PAGE], more=max(0, len(rows) - PRICES_PER_PAGE), version=table.version,
            kinds=SHOWN_KINDS, unpriced=[r for r in rows if r.price is None],
        )  # fmt: skip


def _group_rows(spent: Mapping[str, int], groups: Groups) -> list[GroupRow]:
    of = {name: {t: n for t, n in spent.items() if groups.has(name, t)} for name in groups.names}
    return [
        GroupRow(name, tuple(some), sum(some.values()), groups.limits.get(name)) for name, some in of.items()
    ]


def _priced(table: PriceTable, model: str, spent: int, now_ms: int) -> PriceRow:
    terms = Terms(at_ms=now_ms)
    price = table.find(model, terms)
    if price is None:
        return PriceRow(model, "", None, spent, table.dearest_of_family(model, terms).model)
    return PriceRow(model, SELLERS.get(price.provider, (price.provider, ""))[0], price, spent)
