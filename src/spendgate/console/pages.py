"""The console: pages rendered here, readable without JavaScript, read only unless somebody has signed in."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

import jinja2
import structlog
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from spendgate.console import charts, overview, text
from spendgate.console.access import COOKIE, SESSION_S, Access, Visitor
from spendgate.console.asking import ProposalService, outcome
from spendgate.console.books import FEW_TEAMS, Books, months_back
from spendgate.console.headers import Headers
from spendgate.console.settings import ConsoleSettings
from spendgate.console.slack import Slack
from spendgate.console.totals import totals
from spendgate.console.trend import trend
from spendgate.errors import LedgerError, RequestError, SpendgateError
from spendgate.finops.chargeback import html as chargeback_page
from spendgate.finops.chargeback import render as report
from spendgate.finops.chargeback.chargeback import chargeback
from spendgate.finops.chargeback.focus import Month
from spendgate.finops.chargeback.focus_columns import Version
from spendgate.finops.chargeback.focus_files import focus_csv
from spendgate.identity.identity import UNATTRIBUTED, Identity
from spendgate.ledger.redis.ledger import RedisLedger
from spendgate.money import nano_to_usd
from spendgate.months import month_text, parse_month
from spendgate.proposals.propose import ChangeRequest, parse_until, parse_usd
from spendgate.views.explain import explain

log = structlog.get_logger()

ROWS_PER_PAGE = 50
FORM_MAX = 1024 * 1024
EXAMPLE = '{"model": "gpt-4o", "max_tokens": 500, "messages": [{"role": "user", "content": "Hello"}]}'
CSV = "text/csv; charset=utf-8"
FOCUS: dict[str, Version] = {"focus": "1.4", "focus-1.2": "1.2"}
DOWNLOADS = {
    "csv": (CSV, report.to_csv),
    "json": ("application/json", report.to_json),
    "md": ("text/markdown; charset=utf-8", report.to_markdown),
    "html": ("text/html; charset=utf-8", chargeback_page.to_html),
}
Page = Callable[[Request, Visitor], Awaitable[Response]]


class Console:
    """All pages over one set of books."""

    def __init__(
        self,
        settings: ConsoleSettings,
        books: Books,
        asking: ProposalService,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._books = books
        self._asking = asking
        self._now_s = now_s
        self._access = Access(settings, now_s)
        self._templates = jinja2.Environment(
            loader=jinja2.PackageLoader("spendgate.console"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters |= {
            "usd": text.usd, "money": text.money, "percent": text.percent, "day": text.day, "moment": text.moment,
            "month_name": text.month_name, "month_text": month_text, "reason": text.reason,
            "month_before": overview.month_before,
            "exact": nano_to_usd, "bar": charts.bar, "path": lambda name: quote(name, safe=""),
        }  # fmt: skip
        self._templates.globals |= {
            "gauge": charts.gauge, "days_chart": charts.days_chart, "trend": trend, "mix": overview.mix,
        }  # fmt: skip
        for name in self._templates.list_templates():
            self._templates.get_template(name)  # compiled now, not in the first request

    def application(self) -> Starlette:
        """The pages as an application, to be mounted at the root."""
        open_to_readers = [
            Route("/", self._page(self._overview)),
            Route("/overview/{what}.csv", self._page(self._overview_csv)),
            Route("/teams/{team:path}/policy", self._page(self._policy), methods=["GET", "POST"]),
            Route("/teams/{team:path}/raise", self._page(self._raise), methods=["GET", "POST"]),
            Route("/teams/{team:path}", self._page(self._team)),
            Route("/chargeback", self._page(self._chargeback)),
        ]
        routes = [
            *open_to_readers,
            Route("/sign-in", self._sign_in, methods=["GET", "POST"]),
            Route("/sign-out", self._sign_out, methods=["POST"]),
            Route("/static/{name}", _static),
        ]
        if self._settings.slack_signing_secret:
            slack = Slack(self._settings, self._books, self._asking, self._now_s)
            routes.append(Route("/slack/commands", slack.command, methods=["POST"]))
        return Starlette(
            routes=routes, middleware=[Middleware(Headers)], exception_handlers={_Wrong: _plain_fault}
        )

    def _page(self, page: Page) -> Callable[[Request], Awaitable[Response]]:
        """Only for who may read; a fault is a page that says what to do, never a traceback."""

        async def answer(request: Request) -> Response:
            visitor = self._access.visitor(request)
            if not self._access.may_read(visitor):
                return self._must_sign_in(request, visitor)
            try:
                return await page(request, visitor)
            except _Wrong as problem:
                return self._fault(request, visitor, problem.status, str(problem))
            except LedgerError as problem:
                log.warning("console_ledger_away", error=str(problem))
                return self._fault(
                    request,
                    visitor,
                    503,
                    "The ledger does not answer. Requests go on within their allowance.",
                )

        return answer

    def _render(
        self, request: Request, visitor: Visitor, template: str, code: int = 200, **values: Any
    ) -> Response:
        html = self._templates.get_template(template).render(
            visitor=visitor,
            signs_in=self._settings.signs_in,
            can_ask=self._asking.possible and visitor.signed_in,
            now_ms=int(self._now_s() * 1000),
            here=request.url.path,
            **values,
        )
        return HTMLResponse(html, status_code=code)

    def _fault(self, request: Request, visitor: Visitor, status: int, message: str) -> Response:
        return self._render(request, visitor, "fault.html", status, status=status, message=message)

    # -- reading --------------------------------------------------------------------------------------------

    async def _overview(self, request: Request, visitor: Visitor) -> Response:
        month = self._month(request)
        running = month == self._books.this_month
        query = request.query_params.get("q", "").strip()
        rows = await self._books.rows(month)
        found = [r for r in rows if query.lower() in r.team.lower()] if query else rows
        pages = max(1, -(-len(found) // ROWS_PER_PAGE))
        number = min(max(_int(request.query_params.get("page", "1")), 1), pages)
        shown = found[(number - 1) * ROWS_PER_PAGE : number * ROWS_PER_PAGE]
        foretold = found if len(found) <= FEW_TEAMS else shown
        forecasts = self._books.forecasts_known(foretold) if running else {}
        glance = await self._books.overview_known(month, len(rows))
        return self._render(
            request,
            visitor,
            "overview.html",
            month=month,
            running=running,
            months=months_back(self._books.now_ms()),
            query=query,
            rows=shown,
            forecasts=forecasts,
            live=5 if glance and all(r.team in forecasts for r in shown) else 1,
            found=len(found),
            totals=totals(found, forecasts),
            glance=None if query else glance,
            page=number,
            pages=pages,
            link=lambda n: "?" + urlencode({"month": month_text(month), "q": query, "page": n}),
        )

    async def _overview_csv(self, request: Request, visitor: Visitor) -> Response:
        month, what = self._month(request), request.path_params["what"]
        if what not in overview.DOWNLOADS:
            raise _Wrong(404, f"There is no table {what!r}; there are {', '.join(overview.DOWNLOADS)}.")
        made = overview.DOWNLOADS[what](await self._books.overview(month))
        headers = {"content-disposition": f'attachment; filename="{what}-{month_text(month)}.csv"'}
        return Response(made, media_type=CSV, headers=headers)

    async def _team(self, request: Request, visitor: Visitor) -> Response:
        team, month = request.path_params["team"], self._month(request)
        view = await self._books.team(team, month)
        if view is None:
            raise _Wrong(404, f"Team {team!r} has neither a budget nor any spend.")
        return self._render(
            request,
            visitor,
            "team.html",
            team=team,
            view=view,
            month=month,
            running=month == self._books.this_month,
            months=months_back(self._books.now_ms()),
            apps=charts.parts(view.month.apps.items()),
            models=charts.parts(view.month.models.items()),
            tokens=sorted(view.month.tokens.items()),
        )

    async def _policy(self, request: Request, visitor: Visitor) -> Response:
        team = request.path_params["team"]
        snapshot = self._books.snapshot()
        budget = snapshot.policy.budget(team)
        if budget is None:
            raise _Wrong(404, f"Team {team!r} has no budget.")
        form = await _form(request) if request.method == "POST" else {}
        found: dict[str, Any] | None = None
        problem = ""
        standing = await self._books.bounds(team, form.get("app", ""), form.get("run", ""))
        if form:
            try:
                found = {"estimate_usd": ""} | explain(
                    snapshot,
                    Identity(team, form.get("app") or UNATTRIBUTED, "", form.get("run", "")),
                    form.get("request", "").encode(),
                    form.get("path", ""),
                    form.get("require_model", ""),
                    standing.settled,
                    self._books.now_ms(),
                    standing.held,
                )
            except RequestError as e:
                problem = f"The request cannot be read: {e}"
        return self._render(
            request,
            visitor,
            "policy.html",
            team=team,
            budget=budget,
            version=snapshot.policy.version,
            standing=standing,
            form={"app": "", "path": "", "require_model": "", "run": "", "request": EXAMPLE} | form,
            found=found,
            problem=problem,
            apps=sorted(budget.apps),
        )

    async def _chargeback(self, request: Request, visitor: Visitor) -> Response:
        month = self._month(request)
        kind = request.query_params.get("as", "")
        if not kind:
            return self._render(
                request, visitor, "chargeback.html", month=month, months=months_back(self._books.now_ms())
            )
        prices = self._books.snapshot().prices
        if kind in FOCUS:
            made = await self._books.adjustments()
            of = Month(month, await self._books.cells(month), prices, "spendgate", made)
            written, media, name = focus_csv(of, FOCUS[kind]), CSV, f"{kind}-{month_text(month)}.csv"
        elif kind in DOWNLOADS:
            media, write = DOWNLOADS[kind]
            written = write(chargeback(month, "ledger", await self._books.cells(month), prices))
            name = f"chargeback-{month_text(month)}.{kind}"
        else:
            raise _Wrong(
                404, f"There is no chargeback as {kind!r}; there are {', '.join([*DOWNLOADS, *FOCUS])}."
            )
        headers = {"content-disposition": f'attachment; filename="{name}"'}
        return Response(written, media_type=media, headers=headers)

    def _month(self, request: Request) -> str:
        given = request.query_params.get("month", "")
        if not given:
            return self._books.this_month
        try:
            return parse_month(given)
        except ValueError as e:
            raise _Wrong(400, str(e)) from e

    # -- asking ---------------------------------------------------------------------------------------------

    async def _raise(self, request: Request, visitor: Visitor) -> Response:
        team = request.path_params["team"]
        budget = self._books.snapshot().policy.budget(team)
        if budget is None:
            raise _Wrong(404, f"Team {team!r} has no budget to raise.")
        if not visitor.signed_in:
            return self._must_sign_in(request, visitor)
        form = {"usd": "", "until": "", "reason": ""}
        problem = said = link = ""
        if request.method == "POST":
            given = await _form(request)
            if not self._access.form_is_ours(request, visitor, given):
                raise _Wrong(403, "This form did not come from the console's own page. Open it anew.")
            form |= {k: given.get(k, "") for k in form}
            try:
                until = parse_until(form["until"], datetime.fromtimestamp(self._now_s(), UTC))
                made = await self._asking.ask(
                    ChangeRequest(
                        team, parse_usd(form["usd"]), form["reason"], until, f"{visitor.name} (console)"
                    )
                )
                said = outcome(made)
                link = made.pull_request.url if made.pull_request is not None else ""
                log.info("raise_proposed", team=team, usd=form["usd"], by=visitor.name, branch=made.branch)
            except (ValueError, SpendgateError) as e:
                problem = str(e)
        return self._render(
            request, visitor, "raise.html", 422 if problem else 200, team=team, budget=budget, form=form,
            problem=problem, said=said, link=link, possible=self._asking.possible,
        )  # fmt: skip

    # -- signing in -----------------------------------------------------------------------------------------

    def _must_sign_in(self, request: Request, visitor: Visitor) -> Response:
        return self._render(
            request, visitor, "sign_in.html", 401, problem="", by_token=bool(self._settings.token),
            back=_inside(request.url.path),
        )  # fmt: skip

    async def _sign_in(self, request: Request) -> Response:
        visitor = self._access.visitor(request)
        if request.method == "GET":
            return self._render(
                request, visitor, "sign_in.html", problem="", by_token=bool(self._settings.token), back="/"
            )
        form = await _form(request)
        name = "".join(c for c in form.get("name", "").strip() if c.isprintable())[:80]
        cross_site = request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none")
        if cross_site or not name or not self._access.token_is(form.get("token", "")):
            log.warning("console_sign_in_refused", peer=request.client.host if request.client else "")
            return self._render(
                request, visitor, "sign_in.html", 401, by_token=bool(self._settings.token),
                problem="The token is wrong, or no name was given.", back=_inside(form.get("back", "/")),
            )  # fmt: skip
        answer = RedirectResponse(_inside(form.get("back", "/")), status_code=303)
        answer.set_cookie(
            COOKIE, self._access.session(name), max_age=SESSION_S, httponly=True, samesite="strict",
            secure=request.url.scheme == "https",
        )  # fmt: skip
        return answer

    async def _sign_out(self, request: Request) -> Response:
        visitor = self._access.visitor(request)
        if not self._access.form_is_ours(request, visitor, await _form(request)):
            return PlainTextResponse("not from the console's own page\n", status_code=403)
        answer = RedirectResponse("/", status_code=303)
        answer.delete_cookie(COOKIE)
        return answer


def console(
    ledger: RedisLedger,
    snapshot: Callable[[], Any],
    settings: ConsoleSettings,
    now_s: Callable[[], float] = time.time,
) -> Starlette:
    """The console over a ledger and whatever snapshot is in force."""
    books = Books(ledger, snapshot, lambda: int(now_s() * 1000))
    return Console(settings, books, ProposalService(settings), now_s).application()


class _Wrong(Exception):
    """Asked for something that is not there, or not so."""

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        super().__init__(message)


async def _plain_fault(_: Request, problem: Exception) -> Response:
    return PlainTextResponse(f"{problem}\n", status_code=getattr(problem, "status", 500))


_STATIC = {"console.css": "text/css", "console.js": "text/javascript"}


async def _static(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in _STATIC:
        return PlainTextResponse("not found\n", status_code=404)
    data = (files("spendgate.console") / "static" / name).read_bytes()
    return Response(data, media_type=_STATIC[name], headers={"cache-control": "max-age=300"})


async def _form(request: Request) -> dict[str, str]:
    length = request.headers.get("content-length", "")
    if not length.isdigit() or int(length) > FORM_MAX:
        raise _Wrong(413, "A form is at most 1 MB long and says its content-length.")
    body = await request.body()
    return dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))


def _inside(path: str) -> str:
    """A path of ours to go back to, never another site."""
    return path if path.startswith("/") and not path.startswith(("//", "/\\")) else "/"


def _int(value: str) -> int:
    return int(value) if value.isascii() and value.isdigit() and len(value) < 9 else 1
