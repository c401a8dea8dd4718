from __future__ import annotations

import ctypes
import json
import subprocess
import sys
from pathlib import Path

import pytest

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


FAULTS = """
import orjson, resource
from spendgate.dialects.openai.request import read
from spendgate.gateway.process.worker import keep_memory

keep_memory()
body = orjson.dumps({"model": "gpt-4o", "messages": [{"role": "user", "content": "a word " * 1_500_000}]})
copies = lambda: (bytes(memoryview(body)), read(body, "/v1/chat/completions"))
for _ in range(3):
    copies()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    copies()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="another allocator than glibc's")
def test_the_memory_of_a_long_body_is_there_for_the_next_one() -> None:
    done = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, check=True, text=True)
    assert int(done.stdout) < 1_000  # ten bodies of 2,500 pages each
