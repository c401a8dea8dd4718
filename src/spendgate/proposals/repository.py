"""A git repository that holds the policy: a fresh copy, one commit on a branch, pushed. The user's own work
tree is never touched.

`where` is a URL or a folder. A folder with a remote `origin` stands for that remote; one without is itself the
place where the branch appears. A token goes to git by its environment, so that it shows in no process list.
"""

from __future__ import annotations

import base64
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from spendgate.errors import ConfigurationError, SpendgateError
from spendgate.values import dataclass

GIT_S = 120
POLICY_SUFFIXES = (".yaml", ".yml")


class GitError(SpendgateError):
    """git refused; its own words are in the message."""


class BranchExists(GitError):
    """The remote has the branch already: the same change was proposed before."""


@dataclass(frozen=True, slots=True)
class Remote:
    """Where the policy lives. `base` "": the remote's default branch."""

    url: str
    base: str = ""
    token: str = ""

    @classmethod
    def of(cls, where: str, base: str = "", token: str = "") -> Remote:
        """Resolve a folder to its remote. Raises ConfigurationError."""
        if _is_url(where):
            return cls(where, base, token)
        path = Path(where)
        if not path.exists():
            raise ConfigurationError(
                f"--repo: {where} does not exist; give a folder of a git repository or a URL"
            )
        try:
            top = _git(["rev-parse", "--show-toplevel"], path).strip()
        except GitError as e:
            raise ConfigurationError(f"--repo: {where} is not in a git repository: {e}") from e
        try:
            url = _git(["remote", "get-url", "origin"], path).strip()
        except GitError:
            return cls(top, base, token)
        return cls(url if _is_url(url) else str((Path(top) / url).resolve()), base, token)

    @property
    def host(self) -> str:
        """The host of the URL, "" for a path."""
        return self._parts()[0]

    @property
    def path(self) -> str:
        """`owner/name`, as forges call it; "" for a path."""
        return self._parts()[1]

    def _parts(self) -> tuple[str, str]:
        scp = re.fullmatch(r"(?:[^@/]+@)?([^:/]+):(?!//)(.+)", self.url)
        if scp:
            host, path = scp.group(1), scp.group(2)
        else:
            split = urlsplit(self.url)
            if split.scheme in ("", "file"):
                return "", ""
            host, path = split.hostname or "", split.path
        return host, path.strip("/").removesuffix(".git")


def _is_url(text: str) -> bool:
    return "://" in text or bool(re.match(r"[^@/\s]+@[^:/\s]+:", text))


class Checkout:
    """A fresh copy of the remote's base branch in a temporary folder."""

    def __init__(self, folder: Path, remote: Remote) -> None:
        self.folder = folder
        self._remote = remote
        self.base = self._git("rev-parse", "--abbrev-ref", "HEAD").strip()

    def _git(self, *argv: str) -> str:
        return _git(list(argv), self.folder, self._remote)

    def policy_files(self, folder: str = "") -> list[Path]:
        """Every YAML file below `folder`, sorted; nothing of .git. Raises ConfigurationError."""
        root = (self.folder / folder).resolve()
        if not root.is_relative_to(self.folder.resolve()) or not root.exists():
            raise ConfigurationError(f"--path: {folder} is not in the repository")
        if root.is_file():
            return [root]
        inside = (p for p in root.rglob("*") if p.suffix in POLICY_SUFFIXES and p.is_file())
        return sorted(p for p in inside if ".git" not in p.relative_to(self.folder.resolve()).parts)

    def commit(self, branch: str, message: str, author: str = "") -> str:
        """Commit everything on a new branch; gives the commit's id."""
        self._git("checkout", "-q", "-b", branch)
        self._git("add", "-A")
        identity: list[str] = []
        if not _configured(self.folder, "user.email"):
            identity = ["-c", "user.name=spendgate", "-c", "user.email=spendgate@localhost"]
        extra = ["--author", author] if author else []
        self._git(*identity, "commit", "-q", "-m", message, *extra)
        return self._git("rev-parse", "HEAD").strip()

    def push(self, branch: str) -> None:
        """Push the branch as a new one. Raises BranchExists where the remote has it."""
        if self._git("ls-remote", "--heads", "origin", f"refs/heads/{branch}").strip():
            raise BranchExists(f"the branch {branch} exists already in {self._remote.url}")
        self._git("push", "-q", "origin", f"{branch}:refs/heads/{branch}")

    def show_at(self, ref: str, path: str) -> str | None:
        """A file as it was at `ref`, None where there was none."""
        try:
            return self._git("show", f"{ref}:{path}")
        except GitError:
            return None


@contextmanager
def checkout(remote: Remote) -> Iterator[Checkout]:
    """Clone the newest state of the base branch, and remove it afterwards. Raises GitError."""
    folder = Path(tempfile.mkdtemp(prefix="spendgate-propose-"))
    try:
        branch = ["--branch", remote.base] if remote.base else []
        _git(["clone", "-q", "--depth", "1", *branch, _source(remote), "."], folder, remote)
        yield Checkout(folder, remote)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _source(remote: Remote) -> str:
    """A path as a file:// URL: git takes --depth only of those."""
    return remote.url if _is_url(remote.url) else Path(remote.url).resolve().as_uri()


def _configured(folder: Path, key: str) -> bool:
    try:
        return bool(_git(["config", key], folder).strip())
    except GitError:
        return False


def _git(argv: list[str], folder: Path, remote: Remote | None = None) -> str:
    environment = {**os.environ, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    if remote is not None and remote.token and remote.url.startswith("http"):
        basic = base64.b64encode(f"x-access-token:{remote.token}".encode()).decode()
        environment |= {
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "http.extraHeader",
            "GIT_CONFIG_VALUE_0": f"Authorization: Basic {basic}",
        }
    try:
        done = subprocess.run(
            ["git", *argv], cwd=folder, env=environment, capture_output=True, text=True, timeout=GIT_S,
            stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
    except FileNotFoundError as e:
        raise ConfigurationError("git is not installed; install it (Debian: apt-get install git)") from e
    except subprocess.TimeoutExpired as e:
        raise GitError(f"git {argv[0]} took longer than {GIT_S} s; is the remote reachable?") from e
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split()) or f"exit {done.returncode}"
        raise GitError(f"git {argv[0]}: {said}")
    return done.stdout
