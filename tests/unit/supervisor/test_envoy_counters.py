"""Envoy's own counters, as we show them."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from spendgate.envoy import bootstrap as b
from spendgate.errors import ConfigurationError
from spendgate.settings.config import Settings
from spendgate.supervisor.envoy_counters import COUNTERS, EnvoyCounters, counted
from spendgate.supervisor.front import envoy_binary


def stats(**values: int) -> dict[str, Any]:
    return {"stats": [{"name": f"http.llm.ext_proc.{k}", "value": v} for k, v in values.items()]}


def shown(counters: EnvoyCounters) -> tuple[float | None, float | None]:
    registry = CollectorRegistry()
    registry.register(counters)
    names = (COUNTERS["failure_mode_allowed"].name, COUNTERS["message_timeouts"].name)
    one, two = (registry.get_sample_value(name) for name in names)
    return one, two


def test_counters_of_several_listeners_and_prefixes_are_summed_and_no_other_is_taken() -> None:
    rows = [
        {"name": "http.llm.ext_proc.failure_mode_allowed", "value": 1},
        {"name": "http.other.ext_proc.our.prefix.failure_mode_allowed", "value": 2},
        {"name": "http.llm.ext_authz.failure_mode_allowed", "value": 4},
        {"name": "cluster.x.ext_proc.failure_mode_allowed", "value": 8},
        {"name": "http.llm.ext_proc.message_timeouts", "value": 16},
        {"name": "http.llm.ext_proc.failure_mode_allowed_not", "value": 32},
    ]
    found = counted({"stats": [*rows, {}]})
    assert (found["failure_mode_allowed"], found["message_timeouts"]) == (7, 16)


def test_what_an_envoy_counted_before_it_was_started_anew_is_kept() -> None:
    counters = EnvoyCounters("/nowhere")
    assert shown(counters) == (0, 0), "there from the first scrape, so that no first event is lost"
    counters.take(stats(failure_mode_allowed=5, message_timeouts=1))
    counters.take(stats(failure_mode_allowed=7, message_timeouts=1))
    assert shown(counters) == (7, 1)
    counters.take(stats(failure_mode_allowed=2, message_timeouts=0))
    counters.take(stats(failure_mode_allowed=3, message_timeouts=0))
    assert shown(counters) == (10, 1)


async def test_an_envoy_that_is_not_there_leaves_the_last_numbers() -> None:
    counters = EnvoyCounters("/nowhere")
    counters.take(stats(failure_mode_allowed=5))
    await counters.refresh()
    assert shown(counters)[0] == 5


def test_a_bootstrap_with_a_place_for_prometheus_is_taken_by_a_real_envoy(tmp_path: Path) -> None:
    upstreams = (b.one_upstream("http://127.0.0.1:1"),)
    with pytest.raises(ConfigurationError, match="--envoy-admin"):
        b.bootstrap("127.0.0.1:0", upstreams, ["127.0.0.1:2"], Settings(), stats="127.0.0.1:0")
    config = b.bootstrap(
        "127.0.0.1:0", upstreams, ["127.0.0.1:2"], Settings(), "127.0.0.1:3", stats="127.0.0.1:0"
    )
    path = tmp_path / "envoy.yaml"
    path.write_text(b.as_yaml(config))
    done = subprocess.run(
        [envoy_binary(), "--mode", "validate", "-c", str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
