"""The console: pages rendered here, readable without JavaScript, read only unless somebody has signed in."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Route

from spendgate.console.access import Access
from spendgate.console.asking import ProposalService
from spendgate.console.books import Books
from spendgate.console.figures import Figures
from spendgate.console.finance import Finance
from spendgate.console.headers import Headers
from spendgate.console.settings import ConsoleSettings
from spendgate.console.signing import Signing
from spendgate.console.site import Site
from spendgate.console.slack import Slack
from spendgate.console.spending import Spending
from spendgate.console.teams import Teams
from spendgate.console.usage_index import UsageIndex
from spendgate.console.web import Wrong, plain_fault, static
from spendgate.ledger.redis.ledger import RedisLedger
from spendgate.values import dataclass

INDEX = "console.sqlite"


@dataclass(frozen=True, slots=True)
class UsageLogs:
    """The usage logs that tell of users, and the file in which what they say is kept (None: in none)."""

    paths: Sequence[Path] = ()
    index: Path | None = None

    @classmethod
    def of(cls, settings: ConsoleSettings, own: str, data_dir: Path | None) -> UsageLogs:
        """The process's own log (`-`, `off` and "" are none) and those of the settings, kept in the data directory."""
        paths = (*(() if own in ("", "-", "off") else (Path(own),)), *settings.usage_logs)
        return cls(tuple(dict.fromkeys(paths)), data_dir / INDEX if data_dir is not None else None)


class Console:
    """All pages over one set of books."""

    def __init__(
        self,
        settings: ConsoleSettings,
        books: Books,
        asking: ProposalService,
        now_s: Callable[[], float] = time.time,
        usage: UsageLogs | None = None,
    ) -> None:
        self._settings = settings
        self._books = books
        self._asking = asking
        self._now_s = now_s
        access = Access(settings, now_s)
        site = self._site = Site(settings, access, asking.possible, now_s)

        def prices() -> Any:
            return books.snapshot().prices

        logs = usage if usage is not None else UsageLogs()
        index = UsageIndex(logs.paths, logs.index, prices) if logs.paths else None
        figures = Figures(books.mirror, index, books.now_ms)
        self._spending = Spending(site, books, figures)
        self._finance = Finance(site, books, figures, books.ledger, self._spending)
        self._teams = Teams(site, books, figures, access, asking, now_s)
        self._signing = Signing(site, access, settings)

    def application(self) -> Starlette:
        """The pages as an application, to be mounted at the root."""
        page, spending, teams, finance = self._site.page, self._spending, self._teams, self._finance
        routes = [
            Route("/", page(spending.overview)),
            Route("/overview/{what}.csv", page(spending.table)),
            Route("/spend", page(spending.spend)),
            Route("/spend.{kind}", page(spending.file)),
            Route("/teams/{team:path}/policy", page(teams.policy), methods=["GET", "POST"]),
            Route("/teams/{team:path}/raise", page(teams.raise_), methods=["GET", "POST"]),
            Route("/teams/{team:path}", page(teams.team)),
            Route("/chargeback", page(finance.chargeback)),
            Route("/adjustments", page(finance.adjustments)),
            Route("/adjustments.csv", page(finance.adjustments)),
            Route("/closes", page(finance.closes)),
            Route("/drift", page(finance.drift)),
            Route("/prices", page(finance.prices)),
            Route("/sign-in", self._signing.sign_in, methods=["GET", "POST"]),
            Route("/sign-out", self._signing.sign_out, methods=["POST"]),
            Route("/static/{name}", static),
        ]
        if self._settings.slack_signing_secret:
            slack = Slack(self._settings, self._books, self._asking, self._now_s)
            routes.append(Route("/slack/commands", slack.command, methods=["POST"]))
        return Starlette(
            routes=routes, middleware=[Middleware(Headers)], exception_handlers={Wrong: plain_fault}
        )


def console(
    ledger: RedisLedger,
    snapshot: Callable[[], Any],
    settings: ConsoleSettings,
    now_s: Callable[[], float] = time.time,
    usage: UsageLogs | None = None,
) -> Starlette:
    """The console over a ledger and whatever snapshot is in force."""
    books = Books(ledger, snapshot, lambda: int(now_s() * 1000))
    return Console(settings, books, ProposalService(settings), now_s, usage).application()
