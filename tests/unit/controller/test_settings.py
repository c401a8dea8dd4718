from __future__ import annotations

from pathlib import Path

import pytest

from spendgate.controller.settings import ControllerSettings
from spendgate.errors import ConfigurationError

REDIS = {"REDIS_URL": "redis://r:6379"}


def test_the_defaults_are_those_of_the_contract() -> None:
    settings = ControllerSettings.from_environment(REDIS)
    assert settings.namespace == ""
    assert settings.reconcile_interval_ms == 30_000
    assert settings.http == ("0.0.0.0", 8080)
    assert settings.metrics == ("0.0.0.0", 9090)
    assert not settings.strict and settings.admin_namespaces == frozenset()


def test_every_variable_is_read() -> None:
    settings = ControllerSettings.from_environment(
        REDIS
        | {
            "WATCH_NAMESPACE": "ml",
            "RECONCILE_INTERVAL": "5s",
            "SPENDGATE_DATA_DIR": "/var/lib/x",
            "SPENDGATE_HTTP": "127.0.0.1:1",
            "SPENDGATE_METRICS": "[::1]:2",
            "POD_NAME": "p",
            "POD_NAMESPACE": "n",
            "SPENDGATE_OWNERSHIP": "strict",
            "SPENDGATE_CLUSTER": "east",
            "SPENDGATE_ADMIN_NAMESPACES": "platform, finops",
        }
    )
    assert settings == ControllerSettings(
        "redis://r:6379", "ml", 5_000, Path("/var/lib/x"), ("127.0.0.1", 1), ("::1", 2), "p", "n",
        strict=True, cluster="east", admin_namespaces=frozenset({"n", "platform", "finops"}),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("REDIS_URL", ""),
        ("RECONCILE_INTERVAL", "soon"),
        ("SPENDGATE_OWNERSHIP", "Strict"),
        ("SPENDGATE_HTTP", "8080x"),
        ("SPENDGATE_METRICS", "h:99999"),
    ],
)
def test_a_bad_variable_is_named(name: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=name):
        ControllerSettings.from_environment(REDIS | {name: value})
