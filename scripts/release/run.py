"""Other programs, whose complaint ends the release."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from release.artefacts import CACHE, ReleaseError


def run(
    argv: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: str | None = None,
) -> str:
    """What the program prints."""
    try:
        done = subprocess.run(
            [str(a) for a in argv], cwd=cwd, env={**os.environ, **(env or {})}, input=stdin,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    except FileNotFoundError as error:
        raise ReleaseError(f"{argv[0]} is not installed: run scripts/setup_release.sh") from error
    if done.returncode != 0:
        said = "\n".join(text for text in (done.stdout.strip(), done.stderr.strip()) if text)
        raise ReleaseError(f"{' '.join(map(str, argv))}: {said}")
    return done.stdout.strip()


def buildah(*args: str | Path) -> str:
    """One call of buildah on the storage of setup_release.sh: no daemon, no namespaces, plain folders as layers."""
    storage = ("--root", CACHE / "storage", "--runroot", CACHE / "run", "--storage-driver", "vfs")
    return run(["buildah", *storage, *args], env={"BUILDAH_ISOLATION": "chroot"})
