"""Addresses: one endpoint a worker, clear errors, short socket paths."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from spendgate.errors import ConfigurationError
from spendgate.supervisor.addresses import endpoints, host_port, joined, run_dir


def test_each_worker_gets_the_next_port_or_path() -> None:
    assert endpoints("0.0.0.0:9002", 3) == ["0.0.0.0:9002", "0.0.0.0:9003", "0.0.0.0:9004"]
    assert endpoints("unix:/run/sg", 2) == ["unix:/run/sg", "unix:/run/sg.1"]


@pytest.mark.parametrize("grpc", ["9002", "host:", "host:x", "host:65536"])
def test_a_wrong_grpc_address_says_how_to_write_it(grpc: str) -> None:
    with pytest.raises(ConfigurationError, match="HOST:PORT or unix:PATH"):
        endpoints(grpc, 1)


def test_port_zero_becomes_a_free_port() -> None:
    host, port = host_port("127.0.0.1:0", "--listen")
    assert host == "127.0.0.1"
    assert port > 0


def test_a_taken_port_names_the_option() -> None:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        with pytest.raises(ConfigurationError, match="--admin: cannot listen on"):
            host_port(f"127.0.0.1:{s.getsockname()[1]}", "--admin")


def test_ipv6_is_written_in_brackets() -> None:
    assert joined("::1", 80) == "[::1]:80"


def test_a_deep_data_dir_gets_its_sockets_elsewhere(tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 60) / ("y" * 60)
    deep.mkdir(parents=True)
    folder = run_dir(deep)
    assert len(str(folder)) < 80
    assert folder.stat().st_mode & 0o077 == 0
    folder.rmdir()
