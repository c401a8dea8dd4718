"""A call that no worker decides is in nobody's books but Envoy's: its own counters are among our metrics."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.calls import chat
from support.gateway import Gateway
from support.keyed_provider import KeyedProvider
from support.policy import budget, policy
from support.processes import until

ALLOWED = "spendgate_envoy_failure_mode_allowed"
TIMED_OUT = "spendgate_envoy_message_timeouts"


def workers(gateway: Gateway) -> list[int]:
    """The processes of its workers."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parent = path.joinpath("stat").read_text().rpartition(")")[2].split()[1]
            command = path.joinpath("cmdline").read_bytes()
        except OSError:
            continue  # it ended
        if int(parent) == gateway.command.process.pid and b"spendgate.gateway.process.worker" in command:
            found.append(int(path.name))
    return found


@contextmanager
def standing_still(pids: list[int]) -> Iterator[None]:
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            with_it = Path(f"/proc/{pid}")
            if with_it.exists():
                os.kill(pid, signal.SIGCONT)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with (
        KeyedProvider() as provider,
        Gateway(
            tmp_path_factory.mktemp("g"), provider.url, policy(budget("ml", 10)),
            config={"message_timeout": "300ms"}, workers=1, clean=False,
        ) as running,
    ):  # fmt: skip
        yield running


def test_a_call_that_passes_undecided_is_counted_where_the_gateway_is_scraped(gateway: Gateway) -> None:
    assert chat(gateway, "ml").headers["x-spendgate-reason"] == "within_budget"
    assert (gateway.metric(ALLOWED), gateway.metric(TIMED_OUT)) == (0, 0)
    assert gateway.metric("spendgate_envoy_streams_started") >= 1
    pids = workers(gateway)
    assert pids
    with standing_still(pids):
        answer = chat(gateway, "ml")
        assert "x-spendgate-reason" not in answer.headers, "it passed undecided"
        until(lambda: gateway.metric(ALLOWED), lambda n: n == 1, "Envoy's count")
        assert gateway.metric(TIMED_OUT) >= 1
