"""A copy of what is tracked, with the version of the release in place of the checkout's."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from release.artefacts import ROOT, Release, ReleaseError
from release.run import run


def stage(release: Release, into: Path) -> None:
    """Copy the tracked files into a folder and set the version in each place that has one."""
    for name in run(["git", "ls-files"], cwd=ROOT).splitlines():
        source = ROOT / name
        if source.is_file():
            target = into / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
    _set(into / "pyproject.toml", r'^version = ".*"$', f'version = "{release.python_version}"')
    _set(
        into / "src/spendgate/__init__.py",
        r'^__version__ = ".*"$',
        f'__version__ = "{release.python_version}"',
    )
    about = into / "charts/spendgate/Chart.yaml"
    _set(about, r"^version: .*$", f"version: {release.version}")
    _set(about, r"^appVersion: .*$", f'appVersion: "{release.version}"')


def _set(path: Path, pattern: str, line: str) -> None:
    text, found = re.subn(pattern, line, path.read_text("utf-8"), count=1, flags=re.MULTILINE)
    if not found:
        raise ReleaseError(f"{path.name} has no line {pattern}")
    path.write_text(text, encoding="utf-8")


def revision() -> str:
    """The commit that is released; a tree that differs from it is named so."""
    commit = run(["git", "rev-parse", "HEAD"], cwd=ROOT)
    return f"{commit}-dirty" if run(["git", "status", "--porcelain", "-uno"], cwd=ROOT) else commit


def committed_at() -> str:
    """When it was committed, in seconds: the time of all files, so that the same commit makes the same artefacts."""
    return run(["git", "log", "-1", "--format=%ct"], cwd=ROOT)
