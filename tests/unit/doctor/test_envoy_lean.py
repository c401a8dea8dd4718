"""Lean routes whose log would not tell what answers cost are found out, and the fix is named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from unit.doctor.test_envoy import codes, manager, ours, routes

from spendgate.doctor.envoy import check_envoy
from spendgate.doctor.envoy_dump import of_bootstrap
from spendgate.envoy import bootstrap as b
from spendgate.settings.config import Settings

SETTINGS = Settings.model_validate(
    {"lean": True, "upstreams": [{"name": "openai", "url": "https://api.openai.com"}]}
)
Json = dict[str, Any]


def rendered() -> Json:
    return b.bootstrap("127.0.0.1:1", SETTINGS.upstreams, ["127.0.0.1:9002"], SETTINGS)


def _of_route(config: Json, name: str) -> Json:
    """What the first lean route sets for a filter."""
    every = (r.get("typed_per_filter_config", {}) for r in routes(config))
    found: Json = next(set_ for set_ in every if name in set_)
    return found


JSON_USAGE, SSE_USAGE = (f"envoy.filters.http.{kind}_to_metadata" for kind in ("json", "sse"))


def _without(name: str) -> Callable[[Json], object]:
    def act(config: Json) -> None:
        filters = manager(config)["http_filters"]
        filters.remove(next(f for f in filters if f["name"] == name))

    return act


LEAN: dict[str, tuple[Callable[[Json], object], str, str]] = {
    "no log": (lambda c: manager(c).pop("access_log"), "lean-log", "log to cluster spendgate"),
    "a log to somebody else": (
        lambda c: manager(c)["access_log"][0]["typed_config"]["common_config"]["grpc_service"]["envoy_grpc"].update(
            cluster_name="audit"
        ),
        "lean-log", "log to cluster spendgate",
    ),
    "no ticket": (lambda c: ours(c)["metadata_options"].pop("receiving_namespaces"), "lean-ticket", "spendgate"),
    "no reader": (
        _without(JSON_USAGE), "lean-usage", "json out of",
    ),
    "a reader that is off": (lambda c: _of_route(c, SSE_USAGE).pop(SSE_USAGE), "lean-usage", "sse out of"),
}  # fmt: skip


@pytest.mark.parametrize("name", LEAN)
def test_a_planted_fault_of_a_lean_route_is_found_and_its_fix_named(name: str) -> None:
    plant, code, fix = LEAN[name]
    config = rendered()
    assert codes(config, SETTINGS) == set()
    plant(config)
    found = [f for f in check_envoy(of_bootstrap(config), SETTINGS) if f.severity != "info"]
    assert {f.code for f in found} == {code}
    assert all(fix in f.fix for f in found)


def test_an_older_envoy_reads_no_streams_and_says_so() -> None:
    """`sse_to_metadata` is in Envoy 1.38 and newer."""
    config = rendered()
    _without(SSE_USAGE)(config)
    for route in routes(config):
        own = route.get("typed_per_filter_config", {})
        if own.pop(SSE_USAGE, None):
            own["spendgate.ext_proc"]["overrides"]["grpc_initial_metadata"][0]["value"] = "json"
    assert codes(config, SETTINGS) == set()
