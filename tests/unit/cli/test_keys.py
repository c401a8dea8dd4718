"""`spendgate keys`: a key is shown once, and what is listed is no key."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from spendgate.cli.keys import command
from spendgate.identity import key_file


def run(*argv: str, code: int = 0) -> Result:
    result = CliRunner().invoke(command, argv)
    assert result.exit_code == code, result.output
    return result


def issue(path: Path, *more: str) -> dict[str, Any]:
    out: dict[str, Any] = json.loads(
        run("issue", "--file", str(path), "--team", "ml", "-o", "json", *more).stdout
    )
    return out


def test_standard_output_of_issue_is_the_key_alone(tmp_path: Path) -> None:
    path = tmp_path / "keys.yaml"
    result = run("issue", "--file", str(path), "--team", "ml", "--app", "chat")
    [key] = result.stdout.splitlines()
    assert key.startswith("sgk_")
    assert "not shown again" in result.stderr
    assert key not in path.read_text()


def test_a_list_shows_whose_keys_there_are_and_no_key(tmp_path: Path) -> None:
    path = tmp_path / "keys.yaml"
    key = issue(path, "--expires", "90d", "--note", "for the batch")
    listed = run("list", "--file", str(path)).stdout
    assert key["id"] in listed and "for the batch" in listed and "active" in listed
    assert key["key"] not in listed
    assert run("list", "--file", str(path), "--team", "other", "-o", "json").stdout.strip() == "[]"


def test_a_rotated_key_keeps_its_team_and_lifetime(tmp_path: Path) -> None:
    path = tmp_path / "keys.yaml"
    old = issue(path, "--app", "chat", "--expires", "90d")
    new = json.loads(run("rotate", "--file", str(path), old["id"], "--grace", "1h", "-o", "json").stdout)
    assert (new["team"], new["app"], new["replaces"]) == ("ml", "chat", old["id"])
    ring = key_file.read(path)
    lifetime = ring.keys[new["id"]].expires_ms - ring.keys[new["id"]].created_ms
    assert abs(lifetime - 90 * 86_400_000) < 1000
    assert ring.keys[old["id"]].expires_ms < ring.keys[new["id"]].expires_ms


def test_a_secret_for_kubernetes_holds_the_file_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "keys.yaml"
    issue(path)
    secret = yaml.safe_load(run("list", "--file", str(path), "-o", "secret").stdout)
    mounted = tmp_path / "mounted.yaml"
    mounted.write_text(secret["stringData"]["keys.yaml"])
    assert key_file.read(mounted) == key_file.read(path)


@pytest.mark.parametrize("verb", ["rotate", "revoke"])
def test_an_unknown_id_is_named(tmp_path: Path, verb: str) -> None:
    path = tmp_path / "keys.yaml"
    issue(path)
    result = run(verb, "--file", str(path), "nobody", code=1)
    assert "nobody" in str(result.exception)


def test_the_settings_say_where_the_file_is(tmp_path: Path) -> None:
    path, config = tmp_path / "keys.yaml", tmp_path / "c.yaml"
    config.write_text(f"identity: [{{kind: api-key, file: {path}}}]\n")
    run("issue", "--config", str(config), "--team", "ml")
    assert len(key_file.read(path).keys) == 1
    config.write_text("unbudgeted: allow\n")
    assert "give --file" in str(run("list", "--config", str(config), code=1).exception)
    assert run("list", code=2)
