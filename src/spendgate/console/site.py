"""Rendering: templates, and what every page has (who looks, faults as pages, the wait for numbers)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import date
from typing import Any
from urllib.parse import quote, urlencode

import jinja2
import structlog
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from spendgate.console import charts, text
from spendgate.console.access import Access, Visitor
from spendgate.console.burnup import burnup
from spendgate.console.figures import LogsUnread, Waiting
from spendgate.console.period import Period, choices, date_of, days_of, month_of, parse_period
from spendgate.console.settings import ConsoleSettings
from spendgate.console.trend import trend
from spendgate.console.web import Wrong, inside
from spendgate.errors import LedgerError
from spendgate.money import nano_to_usd
from spendgate.months import day_text, month_text, parse_month, utc

log = structlog.get_logger()

MONTHS_BACK = 13
"""As far back as the ledger's 400 days reach."""
Page = Callable[[Request, Visitor], Awaitable[Response]]


class Site:
    """What handlers need to answer with a page. `now_s` is the clock, in seconds."""

    def __init__(
        self, settings: ConsoleSettings, access: Access, can_ask: bool, now_s: Callable[[], float]
    ) -> None:
        self._settings = settings
        self._access = access
        self._can_ask = can_ask
        self._now_s = now_s
        self._templates = _environment()

    @property
    def today(self) -> date:
        """The day that runs (UTC)."""
        return utc(int(self._now_s() * 1000)).date()

    def page(self, page: Page) -> Callable[[Request], Awaitable[Response]]:
        """Only for who may read; a fault is a page that says what to do, never a traceback."""

        async def answered(request: Request) -> Response:
            visitor = self._access.visitor(request)
            if not self._access.may_read(visitor):
                return self.must_sign_in(request, visitor)
            try:
                return await page(request, visitor)
            except Wrong as problem:
                return self.fault(request, visitor, problem.status, str(problem))
            except Waiting:
                if not _is_file(request):
                    return self.render(request, visitor, "waiting.html", 202)
                message = "What this file is made of is still being read. Ask again in a moment."
                answer = self.fault(request, visitor, 503, message)
                answer.headers["retry-after"] = "2"
                return answer
            except LogsUnread as problem:
                message = f"The usage logs cannot be read: {problem}. Files that name users are not made without them."
                return self.fault(request, visitor, 503, message)
            except LedgerError as problem:
                log.warning("console_ledger_away", error=str(problem))
                message = "The ledger does not answer. Requests go on within their allowance."
                return self.fault(request, visitor, 503, message)

        return answered

    def render(
        self, request: Request, visitor: Visitor, template: str, code: int = 200, **values: Any
    ) -> Response:
        """A page of a template."""
        html = self._templates.get_template(template).render(
            visitor=visitor,
            signs_in=self._settings.signs_in,
            can_ask=self._can_ask and visitor.signed_in,
            now_ms=int(self._now_s() * 1000),
            here=request.url.path,
            **values,
        )
        return HTMLResponse(html, status_code=code)

    def fault(self, request: Request, visitor: Visitor, status: int, message: str) -> Response:
        """A page that says what is wrong."""
        return self.render(request, visitor, "fault.html", status, status=status, message=message)

    def must_sign_in(self, request: Request, visitor: Visitor) -> Response:
        """The page for strangers."""
        return self.render(
            request, visitor, "sign_in.html", 401, problem="", by_token=bool(self._settings.token),
            back=inside(request.url.path),
        )  # fmt: skip

    def period(self, request: Request) -> Period:
        """The days that a page is asked for. Raises Wrong."""
        try:
            return parse_period(request.query_params, self.today)
        except ValueError as e:
            raise Wrong(400, f"{e}.") from e

    def month(self, request: Request) -> str:
        """The month that a page is asked for, by default the one that runs. Raises Wrong."""
        given = request.query_params.get("month", "")
        if not given:
            return f"{self.today:%Y%m}"
        try:
            return parse_month(given)
        except ValueError as e:
            raise Wrong(400, f"{e}.") from e

    def period_of_month(self, month: str) -> Period:
        """A month's key as a period."""
        return month_of(date_of(f"{month}01"), self.today)

    @property
    def periods(self) -> list[tuple[str, list[Period]]]:
        """What pickers offer."""
        return choices(self.today, MONTHS_BACK)

    @property
    def months(self) -> list[str]:
        """The keys of the months that pickers offer."""
        return [p.month for _, group in self.periods[:1] for p in group]


def spend_url(period: Period, named: dict[str, str] | None = None, by: str = "", **more: str) -> str:
    """A link to the drill-down of some cells. `more` names further dimensions; `day` takes the place of the period."""
    fixed = {**(named or {}), **more}
    day = fixed.pop("day", "")
    if day:
        of = date_of(day)
        period = days_of(of, of, period.today)
    query = [*period.query, *fixed.items(), *((("by", by),) if by else ())]
    return f"/spend?{urlencode(query)}"


def _is_file(request: Request) -> bool:
    """Is it a download, whose reader would take a page for its content?"""
    return "as" in request.query_params or request.url.path.endswith((".csv", ".parquet"))


def _environment() -> jinja2.Environment:
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("spendgate.console"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "money": text.money, "limit": text.limit, "signed": text.signed, "change": text.change, "count": text.count,
        "percent": text.percent, "day": text.day, "moment": text.moment, "month_name": text.month_name,
        "month_text": month_text, "reason": text.reason, "kind": text.kind, "exact": nano_to_usd, "bar": charts.bar,
        "path": lambda name: quote(name, safe=""), "day_text": day_text, "query": lambda p: urlencode(p.query),
        "plural": text.plural, "cents": text.cents, "limit_text": text.limit_text,
    }  # fmt: skip
    made.globals |= {
        "gauge": charts.gauge, "spark": charts.spark, "trend": trend, "burnup": burnup, "spend_url": spend_url,
    }  # fmt: skip
    for name in made.list_templates():
        made.get_template(name)  # compiled now, not in the first request
    return made
