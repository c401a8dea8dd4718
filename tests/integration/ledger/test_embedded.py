"""The embedded server: it starts, dies with its parent, and survives crashed runs."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import redis as sync_redis
from support.redis import executables

from spendgate.errors import ConfigurationError, LedgerError
from spendgate.ledger.redis import embedded
from spendgate.ledger.redis.embedded import EmbeddedRedis, find_redis_server

CHILD = """
import sys, time
from spendgate.ledger.redis.embedded import EmbeddedRedis
server = EmbeddedRedis(sys.argv[1])
print(server.pid, flush=True)
time.sleep(600)
"""


def wait_gone(pid: int) -> None:
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)


@pytest.mark.parametrize("executable", executables().values(), ids=executables().keys())
def test_what_was_written_is_there_after_a_stop_and_a_start(tmp_path: Path, executable: str) -> None:
    with EmbeddedRedis(tmp_path, executable) as server:
        assert server.alive()
        assert server.url.startswith("unix:///")
        assert psutil.Process(server.pid).net_connections("inet") == []
        sync_redis.Redis.from_url(server.url).set("k", "v")
        pid = server.pid
    assert not psutil.pid_exists(pid)
    assert not server.alive()
    assert (server.pid, server.restart_if_dead()) == (0, False)
    server.stop()
    with EmbeddedRedis(tmp_path, executable) as server:
        client = sync_redis.Redis.from_url(server.url)
        assert client.get("k") == b"v"
        assert client.config_get("append*")["appendfsync"] == "everysec"
    assert (tmp_path / "redis.log").read_text()


def test_a_dead_server_is_started_again_with_its_data(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path) as server:
        assert server.restart_if_dead() is False
        sync_redis.Redis.from_url(server.url).set("k", "v")
        os.kill(server.pid, signal.SIGKILL)
        while server.alive():
            time.sleep(0.005)
        assert server.restart_if_dead() is True
        assert sync_redis.Redis.from_url(server.url).get("k") == b"v"


def test_a_second_spendgate_on_the_same_data_dir_is_refused_by_name(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path) as server:
        with pytest.raises(ConfigurationError, match=rf"another spendgate.*{os.getpid()}"):
            EmbeddedRedis(tmp_path)
        assert server.alive()


def test_the_server_dies_with_its_parent_and_the_next_run_starts_at_once(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", CHILD, str(tmp_path)], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.kill()
        parent.wait()
        with EmbeddedRedis(tmp_path) as server:
            assert server.pid != pid
            wait_gone(pid)
            assert sync_redis.Redis.from_url(server.url).ping()


def test_ctrl_c_in_the_terminal_does_not_reach_the_server(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path) as server:
        assert os.getpgid(server.pid) != os.getpgid(0)


def test_a_server_that_outlived_a_crashed_run_is_ended_with_its_data_kept(tmp_path: Path) -> None:
    first = EmbeddedRedis(tmp_path)
    sync_redis.Redis.from_url(first.url).set("k", "v")
    os.close(first._lock_fd)  # as if the run had crashed on a system that lets its children live
    first._lock_fd = -1
    with EmbeddedRedis(tmp_path) as second:
        assert second.pid != first.pid
        assert not first.alive()
        assert sync_redis.Redis.from_url(second.url).get("k") == b"v"


def test_a_stale_socket_file_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "redis.sock").write_text("left behind")
    with EmbeddedRedis(tmp_path) as server:
        assert server.alive()


def test_a_torn_end_of_the_journal_is_cut_off(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path) as server:
        sync_redis.Redis.from_url(server.url).set("k", "v")
    journal = tmp_path / "redis" / "appendonly.aof"
    journal.write_bytes(journal.read_bytes() + b"*3\r\n$3\r\nSET\r\n$1\r\nk")
    with EmbeddedRedis(tmp_path) as server:
        assert sync_redis.Redis.from_url(server.url).get("k") == b"v"


def test_a_server_that_does_not_come_up_is_an_error_with_its_log_and_frees_the_data_dir(
    tmp_path: Path,
) -> None:
    (tmp_path / "redis").mkdir()
    (tmp_path / "redis" / "appendonly.aof").write_text("this is no journal")
    with pytest.raises(LedgerError, match=r"redis\.log ends with: .*Bad file format"):
        EmbeddedRedis(tmp_path, find_redis_server())
    (tmp_path / "redis" / "appendonly.aof").unlink()
    EmbeddedRedis(tmp_path).stop()


def test_a_data_dir_too_deep_for_a_socket_gets_a_private_one_elsewhere(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    with EmbeddedRedis(deep) as server:
        assert not server.socket_path.is_relative_to(deep)
        assert len(os.fsencode(server.socket_path)) < 100
        assert server.socket_path.parent.stat().st_mode & 0o077 == 0
        assert sync_redis.Redis.from_url(server.url).ping()
        with pytest.raises(ConfigurationError, match="another spendgate"):
            EmbeddedRedis(deep)
    server.socket_path.parent.rmdir()


def test_a_data_dir_with_odd_letters_has_an_url_that_works(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path / "a b%c?d#e") as server:
        assert sync_redis.Redis.from_url(server.url).ping()


def test_without_any_redis_server_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "find_spec", lambda name: None)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(ConfigurationError, match="apt-get install redis-server"):
        find_redis_server()
