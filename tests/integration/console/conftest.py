from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.asks import ask, bound, candidate, end

from spendgate.budget.compile import compile_budget
from spendgate.budget.load import parse_documents
from spendgate.budget.policy import Policy
from spendgate.console import figures
from spendgate.console.asking import ProposalService
from spendgate.console.books import Books
from spendgate.console.pages import Console, UsageLogs
from spendgate.console.settings import ConsoleSettings
from spendgate.exchange.snapshot import Snapshot, snapshot
from spendgate.ledger.accounts import RefusedRequest
from spendgate.ledger.redis.ledger import RedisLedger
from spendgate.pricing.load import table
from spendgate.records.outcome import ChargedBy, Outcome
from spendgate.records.record import UsageRecord
from spendgate.settings.config import Settings

NOW_S = 1_795_000_000.0
"""2026-11-18T11:06:40Z."""
T0 = int(NOW_S * 1000)
USD = 10**9
TOKEN = "a-token-of-sixteen-and-more"
POLICY = """\
apiVersion: ai.systemhardening.com/v1
kind: LLMBudget
metadata: {name: red}
spec:
  team: red
  monthlyBudgetUSD: 100
  alertThresholds:
    - {percent: 50, action: alert}
    - {percent: 80, action: alert_and_downgrade}
    - {percent: 100, action: reject, notifyChannel: "#red-costs"}
  defaultModel: gpt-4o-mini
  modelLimits: [{modelPattern: "o3*", maxMonthlyUSD: 5, allowedApps: [lab]}]
---
apiVersion: ai.systemhardening.com/v1
kind: LLMBudget
metadata: {name: odd}
spec: {team: "a/b <i>&\\"é", monthlyBudgetUSD: 7}
"""


@pytest.fixture(scope="session")
def known() -> Snapshot:
    policy = Policy.of(map(compile_budget, parse_documents(POLICY)))
    return snapshot(policy, table(), Settings())


@dataclass
class House:
    """A console over a real ledger, and a way to ask it."""

    ledger: RedisLedger
    snapshot: Snapshot
    environ: dict[str, str] = field(default_factory=dict)
    asked: list[Any] = field(default_factory=list)

    def client(
        self,
        *,
        asking: Callable[[ConsoleSettings], ProposalService] = ProposalService,
        usage: UsageLogs | None = None,
        **environ: str,
    ) -> httpx.AsyncClient:
        settings = ConsoleSettings.from_environment({**self.environ, **environ})
        books = Books(self.ledger, lambda: self.snapshot, lambda: T0)
        app = Console(settings, books, asking(settings), lambda: NOW_S, usage).application()
        return httpx.AsyncClient(
            transport=httpx.ASGITransport(app, client=("127.0.0.1", 1)), base_url="http://console"
        )

    async def spend(
        self,
        team: str,
        nano: int,
        app: str = "chat",
        model: str = "gpt-4o",
        user: str | None = None,
        log: Path | None = None,
    ) -> None:
        """Spend today; with a `log`, write the exchange's line, too."""
        name = f"{team}-{app}-{model}-{nano}-{user}"
        await self.ledger.reserve(ask(name, candidate(nano, bound(), model=model), team=team, app=app), T0)
        await self.ledger.settle(
            [end(name, nano, team=team, app=app, model=model, usage={"input": 10}, at_ms=T0)], T0
        )
        if log is not None:
            with log.open("ab") as file:
                file.write(line(name, team, app, model, nano, user or "") + b"\n")

    async def refuse(self, team: str, **more: str) -> None:
        await self.ledger.note_refusals(
            [RefusedRequest(team, T0, "chat", "o3", "app_not_allowed_for_model", "x1", **more)]
        )


def line(
    name: str, team: str, app: str, model: str, nano: int, user: str, at_ms: int = T0, **more: Any
) -> bytes:
    """A line of the usage log."""
    record = UsageRecord(
        name, "", at_ms, team, app, user, "", "openai-chat", model, model, "", {"input": 10}, nano, nano, "v", "allow",
        "as_requested", Outcome.COMPLETE, charged_by=ChargedBy.USAGE,
    )  # fmt: skip
    return replace(record, **more).line()


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Usage logs of tests are short, and machines that run them may be slow."""
    monkeypatch.setattr(figures, "LOG_PATIENCE_S", 30.0)


@pytest.fixture
def house(ledger: RedisLedger, known: Snapshot) -> House:
    return House(ledger, known)


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path
