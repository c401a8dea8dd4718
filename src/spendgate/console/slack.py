"""The Slack command `/budget`: `status`, `top`, `raise`.

https://docs.slack.dev/interactivity/implementing-slash-commands and
https://docs.slack.dev/authentication/verifying-requests-from-slack: a request is signed with the app's secret,
and one older than five minutes is a replay. The first answer has three seconds; a raise takes longer, and its
outcome goes to the `response_url`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from urllib.parse import parse_qsl

import httpx
import structlog
from slack_sdk.signature import Clock, SignatureVerifier
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from spendgate.console.asking import ProposalService, outcome
from spendgate.console.books import Books, Row
from spendgate.console.settings import ConsoleSettings
from spendgate.console.text import day, money, month_name, percent
from spendgate.errors import SpendgateError
from spendgate.proposals.propose import ChangeRequest, parse_until, parse_usd

log = structlog.get_logger()

BODY_MAX = 64 * 1024
ROWS = 10
HELP = (
    "`/budget status [team]` how budgets stand\n"
    "`/budget top [team]` who spends most: teams, or a team's apps and models\n"
    "`/budget raise TEAM USD until YYYY-MM-DD REASON` opens a pull request for a temporary raise"
)


class _Now(Clock):
    def __init__(self, now_s: Callable[[], float]) -> None:
        super().__init__()
        self._now_s = now_s

    def now(self) -> float:
        return self._now_s()


class Slack:
    """Answers slash commands. `now_s` is the clock, in seconds."""

    def __init__(
        self, settings: ConsoleSettings, books: Books, asking: ProposalService, now_s: Callable[[], float]
    ) -> None:
        self._verifier = SignatureVerifier(settings.slack_signing_secret, _Now(now_s))
        self._channels = settings.slack_channel_only
        self._books = books
        self._asking = asking
        self._now_s = now_s
        self._tasks: set[asyncio.Task[None]] = set()

    async def command(self, request: Request) -> Response:
        """POST /slack/commands."""
        length = request.headers.get("content-length", "")
        if not length.isdigit() or int(length) > BODY_MAX:
            return PlainTextResponse("a form of at most 64 KB with its content-length\n", status_code=413)
        body = await request.body()
        if not self._signed(body, request):
            log.warning("slack_command_refused", why="wrong signature, or older than five minutes")
            return PlainTextResponse("not signed by Slack, or too old\n", status_code=401)
        form = dict(parse_qsl(body.decode("utf-8", "replace")))
        if self._channels and form.get("channel_id") not in self._channels:
            return _answer("`/budget` is not for this channel.")
        try:
            return _answer(await self._run(form))
        except SpendgateError as problem:
            return _answer(f":warning: {problem}")

    def _signed(self, body: bytes, request: Request) -> bool:
        timestamp = request.headers.get("x-slack-request-timestamp", "")
        signature = request.headers.get("x-slack-signature", "")
        if not timestamp.isdigit() or not signature:
            return False
        return bool(self._verifier.is_valid(body, timestamp, signature))

    async def _run(self, form: dict[str, str]) -> str:
        words = form.get("text", "").split()
        match words:
            case ["status"]:
                return await self._status("")
            case ["status", team]:
                return await self._status(team)
            case ["top"]:
                return await self._top()
            case ["top", team]:
                return await self._top_of(team)
            case ["raise", team, amount, "until", until, *reason] if reason:
                return self._raise(team, amount, until, " ".join(reason), form)
            case ["raise", *_]:
                return "Write `/budget raise TEAM USD until YYYY-MM-DD REASON`."
        return HELP

    # -- answers --------------------------------------------------------------------------------------------

    async def _status(self, team: str) -> str:
        month = self._books.this_month
        rows = [r for r in await self._books.rows(month) if team in ("", r.team)]
        if not rows:
            return f"Team `{_inert(team)}` has no budget and no spend." if team else "No budgets yet."
        shown = rows[:ROWS]
        forecasts = await self._books.forecasts(shown)
        lines = [f"*LLM budgets, {month_name(month)}*"]
        for row in shown:
            lines.append(_line(row) + f", forecast {money(forecasts[row.team].month_end_nanousd)}")
        if team:
            view = await self._books.team(team, month)
            if view is not None and view.exhausted_at_ms is not None:
                lines.append(f"At this pace it is exhausted on {day(view.exhausted_at_ms)}.")
        return _more(lines, len(rows) - len(shown))

    async def _top(self) -> str:
        month = self._books.this_month
        rows = sorted(await self._books.rows(month), key=lambda r: (-r.settled_nanousd, r.team))
        rows = [r for r in rows if r.settled_nanousd]
        if not rows:
            return f"Nothing was spent in {month_name(month)} so far."
        lines = [f"*Most spent in {month_name(month)}*", *map(_line, rows[:ROWS])]
        return _more(lines, len(rows) - ROWS)

    async def _top_of(self, team: str) -> str:
        view = await self._books.team(team, self._books.this_month)
        if view is None:
            return f"Team `{_inert(team)}` has no budget and no spend."
        lines = [f"*{_inert(team)}*: {_line(view.row)}"]
        for name, amounts in (("Apps", view.month.apps), ("Models", view.month.models)):
            top = sorted(amounts.items(), key=lambda a: (-a[1], a[0]))[:5]
            lines.append(f"{name}: " + (", ".join(f"{_inert(n)} {money(v)}" for n, v in top) or "none"))
        return "\n".join(lines)

    def _raise(self, team: str, amount: str, until: str, reason: str, form: dict[str, str]) -> str:
        try:
            end = parse_until(until, datetime.fromtimestamp(self._now_s(), UTC))
            by = f"{form.get('user_name', '') or 'somebody'} in Slack ({form.get('user_id', '?')})"
            wish = ChangeRequest(team, parse_usd(amount), reason, end, by)
        except ValueError as problem:
            return f":warning: {problem}"
        if not self._asking.possible:
            return ":warning: no repository of the policy is configured (SPENDGATE_POLICY_REPO)."
        task = asyncio.create_task(self._propose(wish, form.get("response_url", "")))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return f"Asking for ${amount.removeprefix('$')} more for `{_inert(team)}` until {_inert(until)} …"

    async def _propose(self, wish: ChangeRequest, response_url: str) -> None:
        try:
            said = outcome(await self._asking.ask(wish))
        except SpendgateError as problem:
            said = f":warning: no request was opened: {problem}"
        except Exception as problem:
            log.error("slack_raise_failed", error=repr(problem), exc_info=problem)
            said = ":warning: no request was opened: an internal error, see the log"
        if not response_url:
            return
        try:
            async with httpx.AsyncClient(timeout=10) as client:
                answer = await client.post(response_url, json={"response_type": "in_channel", "text": said})
                answer.raise_for_status()
        except httpx.HTTPError as problem:
            log.error("slack_response_failed", error=f"{type(problem).__name__}: {problem}", said=said)


def _line(row: Row) -> str:
    if row.limit_nanousd is None:
        return f"`{_inert(row.team)}` {money(row.settled_nanousd)}, no budget"
    return (
        f"`{_inert(row.team)}` {money(row.settled_nanousd)} of {money(row.limit_nanousd)} "
        f"({percent(row.utilization)}, {row.phase})"
    )


def _more(lines: list[str], more: int) -> str:
    return "\n".join([*lines, *([f"… and {more} more"] if more > 0 else [])])


def _inert(name: str) -> str:
    """A name from outside that mentions nobody and links nowhere."""
    return name.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("`", "'")


def _answer(text: str) -> Response:
    return JSONResponse({"response_type": "ephemeral", "text": text})
