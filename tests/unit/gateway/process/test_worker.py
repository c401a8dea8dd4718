from __future__ import annotations

import json
from pathlib import Path

from spendgate.gateway.process.worker import WorkerConfig


def test_a_worker_keeps_the_durations_of_the_config_whatever_upstreams_it_is_told(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(json.dumps({"reservation_ttl": "3s", "reload_interval": "50ms"}))
    told = WorkerConfig(
        0, "unix:x", "", "", config=str(config), upstreams=({"name": "a", "url": "http://b"},)
    )
    settings = WorkerConfig.from_json(told.to_json()).sources().settings
    assert settings.reservation_ttl == 3000
    assert settings.reload_interval == 50
    assert [u.url for u in settings.upstreams] == ["http://b"]
