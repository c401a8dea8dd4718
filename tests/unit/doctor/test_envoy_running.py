"""What a running Envoy says of itself is judged: an old version, workers out of its reach, what passed undecided."""

from __future__ import annotations

import pytest

from spendgate.doctor.envoy_dump import of_bootstrap
from spendgate.doctor.envoy_running import check_hosts, check_stats, check_version
from spendgate.envoy.bootstrap import bootstrap
from spendgate.settings.config import Settings

SETTINGS = Settings.model_validate({"upstreams": [{"name": "openai", "url": "https://api.openai.com"}]})


@pytest.mark.parametrize(
    ("version", "code"),
    [
        ("9e55/1.40.0/Clean/RELEASE/BoringSSL", ""),
        ("9e55/1.36.2-dev/Clean/RELEASE/BoringSSL", ""),
        ("9e55/1.35.9/Clean/RELEASE/BoringSSL", "warning"),
        ("9e55/1.33.0/Clean/RELEASE/BoringSSL", "error"),
        ("9e55/1.33.1/Clean/RELEASE/BoringSSL", "warning"),
        ("9e55/1.28.7/Clean/RELEASE/BoringSSL", "error"),
        ("", "info"),
    ],
)
def test_versions_with_known_faults_are_named(version: str, code: str) -> None:
    assert [f.severity for f in check_version({"version": version})] == ([code] if code else [])


def test_workers_that_envoy_does_not_reach_are_counted() -> None:
    config = bootstrap("127.0.0.1:1", SETTINGS.upstreams, ["127.0.0.1:9002"], SETTINGS, "")
    dump = of_bootstrap(config)
    hosts = [
        {"health_status": {"eds_health_status": "HEALTHY"}},
        {"health_status": {"failed_active_health_check": True}},
    ]
    found = list(check_hosts({"cluster_statuses": [{"name": "spendgate", "host_statuses": hosts}]}, dump))
    assert [f.code for f in found] == ["workers-away"]
    assert "1 of 2" in found[0].problem
    assert not list(
        check_hosts({"cluster_statuses": [{"name": "spendgate", "host_statuses": hosts[:1]}]}, dump)
    )


def test_what_envoy_let_pass_undecided_is_told() -> None:
    def told(**values: int) -> dict[str, str]:
        rows = [{"name": f"http.outbound_0.0.0.0_80;.ext_proc.{k}", "value": v} for k, v in values.items()]
        return {f.code: f.problem for f in check_stats({"stats": rows})}

    assert told(failure_mode_allowed=0, message_timeouts=0) == {}
    found = told(failure_mode_allowed=3, message_timeouts=7)
    assert set(found) == {"passed-undecided", "timed-out"}
    assert found["passed-undecided"].startswith("3 calls")
