"""A real Prometheus and its promtool (scripts/setup_tests.sh puts them into .venv)."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import yaml

from support.ports import free_port
from support.processes import program, until


def promtool(*argv: str | Path) -> None:
    """Run promtool; its complaint fails the test."""
    done = subprocess.run(
        [program("promtool"), *map(str, argv)], capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr


def for_prometheus(expr: str) -> str:
    """A panel's expression with values in place of Grafana's variables."""
    values = {"$team": ".*", "$__rate_interval": "2m", "$__range": "6h"}
    for name, value in values.items():
        expr = expr.replace(name, value)
    return expr


class Server:
    """A running server with a log in `folder`, looked for at /-/ready; a context manager."""

    def __init__(self, folder: Path, address: str, argv: Sequence[str | Path]) -> None:
        self._log = folder / "log.txt"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [program(str(argv[0])), *map(str, argv[1:])],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._http = httpx.Client(base_url=f"http://{address}", trust_env=False, timeout=60)

    def __enter__(self) -> Self:
        until(self._ready, bool, f"a ready {type(self).__name__}", 60)
        return self

    def __exit__(self, _: type[BaseException] | None, __: object, ___: TracebackType | None) -> None:
        self._http.close()
        self.process.terminate()
        self.process.wait(60)

    def _ready(self) -> bool:
        assert self.process.poll() is None, self._log.read_text()
        try:
            return self._http.get("/-/ready").status_code == 200
        except httpx.TransportError:
            return False


class Prometheus(Server):
    """A running Prometheus with its data in `folder`; a context manager. `scrapes`: HOST:PORT of targets.
    `blocks`: samples in OpenMetrics text that it has from before. `alertmanager`: HOST:PORT that hears of alerts.
    """

    def __init__(
        self,
        folder: Path,
        *,
        scrapes: Iterable[str] = (),
        rules: str = "",
        blocks: str = "",
        interval: str = "1s",
        alertmanager: str = "",
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        data = folder / "data"
        if blocks:
            samples = folder / "samples.txt"
            samples.write_text(blocks)
            # blocks as long as may be: each is a pass over all samples
            promtool(
                "tsdb",
                "create-blocks-from",
                "--max-block-duration=2000h",
                "openmetrics",
                "--quiet",
                samples,
                data,
            )
        config: dict[str, Any] = {
            "global": {"scrape_interval": interval, "evaluation_interval": interval},
            "scrape_configs": [{"job_name": "gateways", "static_configs": [{"targets": list(scrapes)}]}],
        }
        if alertmanager:
            config["alerting"] = {"alertmanagers": [{"static_configs": [{"targets": [alertmanager]}]}]}
        if rules:
            (folder / "rules.yaml").write_text(rules)
            config["rule_files"] = ["rules.yaml"]
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        address = f"127.0.0.1:{free_port()}"
        self.url = f"http://{address}"
        super().__init__(
            folder,
            address,
            [
                "prometheus",
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={data}",
                "--storage.tsdb.retention.time=10y",
                f"--web.listen-address={address}",
            ],
        )

    def query(self, expr: str, at: float | None = None) -> dict[tuple[tuple[str, str], ...], float]:
        """An instant query: sorted labels → value. Fails on an error of Prometheus."""
        params = {"query": expr} | ({"time": str(at)} if at is not None else {})
        answer = self._http.get("/api/v1/query", params=params).json()
        assert answer["status"] == "success", (expr, answer)
        if answer["data"]["resultType"] == "scalar":
            return {(): float(answer["data"]["result"][1])}
        return {tuple(sorted(r["metric"].items())): float(r["value"][1]) for r in answer["data"]["result"]}

    def record(self, rules: str, begin: datetime, end: datetime, every: timedelta) -> None:
        """Write what recording rules would have given in the past; it is there after the next start."""
        path = self._folder / "recorded.yaml"
        path.write_text(rules)
        span = (f"--start={int(begin.timestamp())}", f"--end={int(end.timestamp())}")
        step = f"--eval-interval={int(every.total_seconds())}s"
        into = f"--output-dir={self._folder / 'data'}"
        promtool("tsdb", "create-blocks-from", "rules", f"--url={self.url}", *span, step, into, path)

    def rules(self) -> list[dict[str, Any]]:
        """Every rule that it has loaded, with its health."""
        groups = self._http.get("/api/v1/rules").json()["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]

    def alerts(self) -> list[dict[str, Any]]:
        """Pending and firing alerts."""
        found: list[dict[str, Any]] = self._http.get("/api/v1/alerts").json()["data"]["alerts"]
        return found


class Alertmanager(Server):
    """A running Alertmanager with its data in `folder`; a context manager."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "alertmanager.yml").write_text("route: {receiver: nobody}\nreceivers: [{name: nobody}]\n")
        self.address = f"127.0.0.1:{free_port()}"
        super().__init__(
            folder,
            self.address,
            [
                "prometheus-alertmanager",
                f"--config.file={folder / 'alertmanager.yml'}",
                f"--storage.path={folder / 'data'}",
                f"--web.listen-address={self.address}",
                "--cluster.listen-address=",
            ],
        )

    def alerts(self, name: str) -> list[dict[str, Any]]:
        """The active alerts of a name."""
        answer = self._http.get("/api/v2/alerts", params={"filter": f'alertname="{name}"', "active": "true"})
        found: list[dict[str, Any]] = answer.json()
        return found
