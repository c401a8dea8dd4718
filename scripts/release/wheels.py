"""Two wheels compared by what they hold."""

from __future__ import annotations

import sys
import tarfile
import zipfile
from pathlib import Path

from release.run import run


def contents(wheel: Path) -> dict[str, bytes]:
    """File by name; the list of hashes is left out, since it says the same again."""
    with zipfile.ZipFile(wheel) as packed:
        return {name: packed.read(name) for name in packed.namelist() if not name.endswith("/RECORD")}


def built_from(sdist: Path, wheel: Path, folder: Path) -> list[str]:
    """Build a wheel from a source distribution; the names of files in which it differs from `wheel`."""
    with tarfile.open(sdist) as packed:
        packed.extractall(folder, filter="data")
    [source] = folder.iterdir()
    run([sys.executable, "-m", "hatchling", "build", "-d", folder / "dist", "-t", "wheel"], cwd=source)
    [built] = (folder / "dist").glob("*.whl")
    ours, theirs = contents(wheel), contents(built)
    return sorted(n for n in ours.keys() | theirs.keys() if ours.get(n) != theirs.get(n))
