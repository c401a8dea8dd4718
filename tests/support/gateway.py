"""A whole gateway, `spendgate up`, as a subprocess: real Envoy, real workers, real Redis."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
from prometheus_client.parser import text_string_to_metric_families

from support.ports import free_port
from support.processes import Command, until

KEY = "sk-test-0123456789"


class Gateway:
    """`spendgate up`; a context manager that, at the end, demands exit 0, no open hold and no internal fault
    (`clean=False`: only exit 0)."""

    def __init__(
        self,
        folder: Path,
        upstream: str,
        policy: str = "",
        *,
        config: Mapping[str, Any] | None = None,
        prices: str = "",
        workers: int = 2,
        clean: bool = True,
        env: Mapping[str, str] | None = None,
        ports: tuple[int, int] | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.data_dir = folder, folder / "data"
        self.policy_path = folder / "policy.yaml"
        self.port, self.admin_port = ports or (free_port(), free_port())
        self.clean = clean
        argv = ["up", "--quiet", *(["--upstream", upstream] if upstream else []), "--workers", str(workers)]
        argv += ["--listen", f"127.0.0.1:{self.port}", "--admin", f"127.0.0.1:{self.admin_port}"]
        argv += ["--data-dir", str(self.data_dir)]
        if policy:
            self.policy_path.write_text(policy)
            argv += ["--policy", str(self.policy_path)]
        for flag, text in (("prices", prices), ("config", json.dumps(config) if config else "")):
            if text:
                path = folder / f"{flag}.yaml"
                path.write_text(text)
                argv += [f"--{flag}", str(path)]
        self.command = Command(folder, argv, env)
        self.url = self.command.ready()
        self.admin = httpx.Client(
            base_url=f"http://127.0.0.1:{self.admin_port}",
            trust_env=False,
            timeout=60,
            limits=httpx.Limits(max_keepalive_connections=0),  # one kept may be closed as it is used
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, _: object, __: TracebackType | None) -> None:
        faults = []
        try:
            if kind is None and self.clean:
                faults = self.faults()
        finally:
            self.admin.close()
            status = self.command.stop()
        if kind is None:
            assert status == 0, f"exit {status}: {self.command.stderr}"
            assert not faults, "\n".join(faults)

    def faults(self) -> list[str]:
        """What no test may leave behind: holds of requests that are over, faults of ours."""
        found = []
        for row in until(self.rows, lambda rows: not any(map(_held, rows)), "the end of all holds"):
            if _held(row):
                found.append(f"held for ever: {row}")
        if self.metric("spendgate_internal_errors_total"):
            found.append("internal errors: " + "; ".join(self.logged("exchange_failed")))
        return found

    def logged(self, event: str) -> list[str]:
        """Log lines of the workers with this event."""
        logs = sorted((self.data_dir / "log").glob("worker-*.log"))
        return [x for log in logs for x in log.read_text().splitlines() if f'"{event}"' in x]

    # -- the ledger's numbers -------------------------------------------------------------------------------

    def rows(self) -> list[dict[str, Any]]:
        """`/v1/budgets`: the ledger's rows of all teams."""
        answer: list[dict[str, Any]] = self.admin.get("/v1/budgets").json()
        return answer

    def row(self, team: str) -> dict[str, Any]:
        """One team's row (an empty one where the ledger has not seen it)."""
        found = [r for r in self.rows() if r["team"] == team]
        empty = {
            "settled_usd": "0.00",
            "reserved_usd": "0.00",
            "requests": 0,
            "models": {},
            "apps": {},
            "tokens": {},
        }
        return found[0] if found else {"team": team, **empty}

    def settled(self, team: str, requests: int) -> dict[str, Any]:
        """The team's row once so many exchanges are settled and nothing is held."""
        return until(
            lambda: self.row(team),
            lambda row: row["requests"] >= requests and not _held(row),
            f"{requests} settled exchanges of {team}",
        )

    def spent(self, team: str, requests: int) -> Decimal:
        """USD settled once so many exchanges are settled."""
        return Decimal(self.settled(team, requests)["settled_usd"])

    def quiet(self, team: str) -> dict[str, Any]:
        """The team's row once nothing is held."""
        return until(lambda: self.row(team), lambda row: not _held(row), f"the end of {team}'s holds")

    # -- logs and metrics -----------------------------------------------------------------------------------

    def usage(self, team: str = "") -> list[dict[str, Any]]:
        """The lines of the usage log, of one team or of all."""
        path = self.data_dir / "usage.jsonl"
        if not path.exists():
            return []
        text = path.read_text()
        lines = [json.loads(x) for x in text[: text.rfind("\n") + 1].splitlines()]
        return [x for x in lines if not team or x["team"] == team]

    def lines(self, team: str, count: int) -> list[dict[str, Any]]:
        """The team's usage lines once there are so many."""
        return until(lambda: self.usage(team), lambda x: len(x) >= count, f"{count} usage lines of {team}")

    def line(self, team: str) -> dict[str, Any]:
        """The team's only usage line."""
        [line] = self.lines(team, 1)
        return line

    def metrics(self) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
        """Every sample of /metrics: name → sorted labels → value."""
        out: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
        for family in text_string_to_metric_families(self.admin.get("/metrics").text):
            for sample in family.samples:
                out.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
        return out

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples that carry these labels."""
        wanted = set(labels.items())
        return sum(v for k, v in self.metrics().get(name, {}).items() if wanted <= set(k))

    # -- the official SDKs ----------------------------------------------------------------------------------

    @cached_property
    def openai(self) -> Any:
        """The `openai` SDK as anybody makes it: only the base URL is ours; it retries as it does."""
        import openai

        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=KEY, timeout=60)

    @cached_property
    def anthropic(self) -> Any:
        """The `anthropic` SDK likewise."""
        import anthropic

        return anthropic.Anthropic(base_url=self.url, api_key=KEY, timeout=60)


def _held(row: Mapping[str, Any]) -> bool:
    return Decimal(row["reserved_usd"]) != 0
