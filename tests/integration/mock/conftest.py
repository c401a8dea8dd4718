from __future__ import annotations

import subprocess
from collections.abc import Iterator

import httpx
import pytest
from support.mock_command import COMMAND


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The address of a mock provider in a process of its own; it must end with exit code 0."""
    process = subprocess.Popen(
        [*COMMAND, "--quiet", "--listen", "127.0.0.1:0"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("ready: http://127.0.0.1:"), line
    yield line.removeprefix("ready: ").strip()
    process.terminate()
    assert process.wait(20) == 0


@pytest.fixture
def http(url: str) -> Iterator[httpx.Client]:
    """A client of a mock with empty books."""
    with httpx.Client(base_url=url, timeout=30) as client:
        client.post("/mock/reset").raise_for_status()
        yield client
