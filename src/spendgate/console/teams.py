"""A team's month, its policy with a dry run, and the form that proposes a raise."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import structlog
from starlette.requests import Request
from starlette.responses import Response

from spendgate.budget.rollover import carried_nanousd
from spendgate.console import charts
from spendgate.console.access import Access, Visitor
from spendgate.console.asking import ProposalService, outcome
from spendgate.console.books import Books
from spendgate.console.figures import Figures, View, Waiting
from spendgate.console.site import Site
from spendgate.console.web import Wrong, form_of
from spendgate.errors import RequestError, SpendgateError
from spendgate.finops.chargeback.chargeback import chargeback
from spendgate.identity.identity import UNATTRIBUTED, Identity
from spendgate.ledger.redis.ratios import read_ratios
from spendgate.proposals.propose import ChangeRequest, parse_until, parse_usd
from spendgate.views.explain import Standing, explain

log = structlog.get_logger()

EXAMPLE = '{"model": "gpt-4o", "max_tokens": 500, "messages": [{"role": "user", "content": "Hello"}]}'


class Teams:
    """The handlers over one set of books."""

    def __init__(
        self,
        site: Site,
        books: Books,
        figures: Figures,
        access: Access,
        asking: ProposalService,
        now_s: Callable[[], float],
    ) -> None:
        self._site = site
        self._books = books
        self._figures = figures
        self._access = access
        self._asking = asking
        self._now_s = now_s

    async def team(self, request: Request, visitor: Visitor) -> Response:
        """GET /teams/{team}."""
        team, month = request.path_params["team"], self._site.month(request)
        of = await self._books.team(team, month)
        if of is None:
            raise Wrong(404, f"Team {team!r} has neither a budget nor any spend.")
        period = self._site.period_of_month(month)
        view: View | None = None
        with suppress(Waiting):  # the page is there at once, its charts a moment later
            view = await self._figures.view(period, {"team": team}, ("app", "model", "user", "provider"))
        return self._site.render(
            request,
            visitor,
            "team.html",
            team=team,
            view=of,
            figures=view,
            kinds=await asyncio.to_thread(self._kinds, view),
            period=period,
            month=month,
            running=month == self._books.this_month,
            months=self._site.months,
            expected=[nano for _, nano in of.forecast.spans] if of.forecast else [],
            limit=of.row.limit_nanousd or 0,
        )

    def _kinds(self, view: View | None) -> list[charts.Part]:
        """What each kind of usage cost, the dearest first, by the rule of the chargeback."""
        if view is None:
            return []
        cells = [c for some in self._figures.mirror.cube.cells(view.where) for c in some]
        costs: dict[str, int] = {}
        tokens: dict[str, int] = {}
        for line in chargeback(view.period.month, "ledger", cells, self._books.snapshot().prices).lines:
            for share in line.kinds:
                costs[share.kind] = costs.get(share.kind, 0) + share.cost_nanousd
                tokens[share.kind] = tokens.get(share.kind, 0) + share.tokens
        return [
            charts.Part(p.name, p.amount_nanousd, p.share, tokens[p.name])
            for p in charts.parts(costs.items())
        ]

    async def policy(self, request: Request, visitor: Visitor) -> Response:
        """GET and POST /teams/{team}/policy."""
        team = request.path_params["team"]
        snapshot = self._books.snapshot()
        budget = snapshot.policy.budget(team)
        if budget is None:
            raise Wrong(404, f"Team {team!r} has no budget.")
        form = await form_of(request) if request.method == "POST" else {}
        found: dict[str, Any] | None = None
        problem = ""
        standing = await self._books.bounds(team, form.get("app", ""), form.get("run", ""))
        if form:
            try:
                identity = Identity(team, form.get("app") or UNATTRIBUTED, "", form.get("run", ""))
                ratios = await read_ratios(self._books.ledger, team, identity.app)
                found = {"estimate_usd": ""} | explain(
                    snapshot,
                    identity,
                    form.get("request", "").encode(),
                    form.get("path", ""),
                    form.get("require_model", ""),
                    Standing(standing.settled, standing.held, ratios, standing.last_settled),
                    self._books.now_ms(),
                )
            except RequestError as e:
                problem = f"The request cannot be read: {e}"
        return self._site.render(
            request,
            visitor,
            "policy.html",
            team=team,
            budget=budget,
            carried=carried_nanousd(budget, standing.last_settled.get("")),
            version=snapshot.policy.version,
            standing=standing,
            form={"app": "", "path": "", "require_model": "", "run": "", "request": EXAMPLE} | form,
            found=found,
            problem=problem,
            apps=sorted(budget.apps),
        )

    async def raise_(self, request: Request, visitor: Visitor) -> Response:
        """GET and POST /teams/{team}/raise."""
        team = request.path_params["team"]
        budget = self._books.snapshot().policy.budget(team)
        if budget is None:
            raise Wrong(404, f"Team {team!r} has no budget to raise.")
        if not visitor.signed_in:
            return self._site.must_sign_in(request, visitor)
        form = {"usd": "", "until": "", "reason": ""}
        problem = said = link = ""
        if request.method == "POST":
            given = await form_of(request)
            if not self._access.form_is_ours(request, visitor, given):
                raise Wrong(403, "This form did not come from the console's own page. Open it anew.")
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
        return self._site.render(
            request, visitor, "raise.html", 422 if problem else 200, team=team, budget=budget, form=form,
            problem=problem, said=said, link=link, possible=self._asking.possible,
        )  # fmt: skip
