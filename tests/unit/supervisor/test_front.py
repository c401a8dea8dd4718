"""Which Envoy is started."""

from __future__ import annotations

from pathlib import Path

import pytest

from spendgate.errors import ConfigurationError
from spendgate.supervisor.front import ENVOY, envoy_binary


def test_an_envoy_that_is_named_goes_before_the_one_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = tmp_path / "envoy"
    named.write_text("#!/bin/sh\n")
    monkeypatch.setenv(ENVOY, str(named))
    with pytest.raises(ConfigurationError, match=f"{ENVOY}: .*no program"):
        envoy_binary()
    named.chmod(0o755)
    assert envoy_binary() == str(named)
    monkeypatch.delenv(ENVOY)
    assert envoy_binary() != str(named)
