"""Settings: a file, the environment above it, every fault named."""

from __future__ import annotations

from pathlib import Path

import pytest

from spendgate.durations import parse_duration_ms
from spendgate.errors import ConfigurationError
from spendgate.settings.config import load_config, upstream_url


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "spendgate.yaml"
    path.write_text(text)
    return path


def test_without_a_file_the_defaults_hold() -> None:
    settings = load_config(None)
    assert settings.default_output_tokens == 4096
    assert settings.max_body_bytes == 32 * 1024 * 1024
    assert settings.unbudgeted == "allow"


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, "reservation_ttl: 10s\ndefault_output_tokens: 100\n")
    settings = load_config(path, {"SPENDGATE_RESERVATION_TTL": "5s"})
    assert settings.reservation_ttl == 5000
    assert settings.default_output_tokens == 100


def test_upstreams_can_come_from_the_environment() -> None:
    value = "[{name: a, url: 'https://api.openai.com'}]"
    assert load_config(None, {"SPENDGATE_UPSTREAMS": value}).upstreams[0].name == "a"


def test_all_faults_are_named_at_once_with_line_and_remedy(tmp_path: Path) -> None:
    path = write(tmp_path, "reservation_tll: 5s\nunbudgeted: maybe\nledger_timeout: fast\n")
    with pytest.raises(ConfigurationError) as e:
        load_config(path)
    text = str(e.value)
    assert f"{path}:1: reservation_tll: unknown setting; did you mean reservation_ttl?" in text
    assert f"{path}:2: unbudgeted:" in text
    assert f"{path}:3: ledger_timeout: not a duration: 'fast'; write for example 250ms, 5s or 1m" in text


@pytest.mark.parametrize("text", ["[1, 2]", "a: [", "identity: [{kind: magic}]"])
def test_a_file_that_makes_no_sense_is_refused_with_its_name(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"spendgate\.yaml"):
        load_config(write(tmp_path, text))


def test_a_missing_file_is_named() -> None:
    with pytest.raises(ConfigurationError, match="nowhere"):
        load_config(Path("/nowhere.yaml"))


@pytest.mark.parametrize(
    ("text", "ms"),
    [("250ms", 250), ("5s", 5000), ("1.5m", 90_000), ("1h", 3_600_000), (2, 2000), (0.25, 250)],
)
def test_durations_have_units(text: object, ms: int) -> None:
    assert parse_duration_ms(text) == ms


@pytest.mark.parametrize("text", ["", "5", "-1s", "0s", "5 weeks", True])
def test_a_wrong_duration_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="duration"):
        parse_duration_ms(text)


@pytest.mark.parametrize(
    "url", ["ftp://x", "api.openai.com", "https://", "https://x/v1", "http://x:99999", "http://a?b"]
)
def test_an_upstream_is_scheme_host_and_port(url: str) -> None:
    with pytest.raises(ValueError, match="upstream"):
        upstream_url(url)
