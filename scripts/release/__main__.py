"""Make, check and try out a release: wheel, source distribution, image, chart, list of parts, checksums, signature.

    make release VERSION=1.2.3 [KEY=~/.ssh/id_ed25519]
    .venv/bin/python scripts/release --version 1.2.3 --check      # one that is there

Nothing is fetched and nothing is published. `docs/how-to/make-a-release.md` says what to do with it.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from release import check, make, parts, trial
from release.artefacts import ROOT, Release, ReleaseError
from release.run import buildah
from release.stage import committed_at, stage

OWN_KEY = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "spendgate/release_key"


def build(release: Release, key: Path) -> None:
    """All artefacts, in the order in which they name each other."""
    epoch = committed_at()
    make.clear(release)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder)
        stage(release, source)
        make.packages(release, source, epoch)
        container = make.container(release)
        try:
            named = make.image(release, container, epoch)
            trial.trial(release, container)
            root = Path(buildah("mount", container))
            release.parts.write_text(parts.document(release, root, named, epoch), encoding="utf-8")
        finally:
            buildah("rm", container)
        make.chart(release, source, named, epoch)
        make.manifests(release, source, named, epoch)
    make.sums(release)
    make.sign(release, key)


def main() -> int:
    """0, or 1 with one line that says what is wrong."""
    parser = argparse.ArgumentParser(
        prog="release", description=__doc__.partition("\n")[0] if __doc__ else ""
    )
    parser.add_argument("--version", required=True, help="1.2.3, or 1.2.3-rc.1")
    parser.add_argument(
        "--key", type=Path, default=OWN_KEY, help="the releaser's SSH key; default: %(default)s"
    )
    parser.add_argument("--into", type=Path, default=ROOT / "dist", help="default: dist/")
    parser.add_argument("--check", action="store_true", help="make nothing, check what is there")
    asked = parser.parse_args()
    release = Release(asked.version, asked.into.resolve())
    try:
        _ = release.python_version
        if not asked.check:
            build(release, asked.key.expanduser())
        check.check(release)
        if asked.check:
            trial.trial_of_the_archive(release)
    except ReleaseError as error:
        print(f"release: {error}", file=sys.stderr)
        return 1
    for path in release.artefacts:
        print(f"{path.stat().st_size:>12,}  {os.path.relpath(path)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
