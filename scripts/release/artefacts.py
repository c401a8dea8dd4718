"""The names of what a release consists of."""

from __future__ import annotations

import os
import platform
import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CACHE = Path(
    os.environ.get("SPENDGATE_RELEASE_CACHE")
    or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "spendgate-release"
)
"""Where scripts/setup_release.sh keeps base, wheels and buildah's storage."""
VERSION = re.compile(r"(\d+\.\d+\.\d+)(?:-(a|b|rc)\.(\d+))?")
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


class ReleaseError(Exception):
    """A release that cannot be made, or an artefact that is not what it should be; the text says which and why."""


@dataclass(frozen=True, slots=True)
class Release:
    """One version and the folder of its artefacts. `version` is that of Semantic Versioning: `1.2.0`, `1.2.0-rc.1`."""

    version: str
    dist: Path

    @property
    def python_version(self) -> str:
        """The same as Python's packages write it (PEP 440): `1.2.0rc1`."""
        found = VERSION.fullmatch(self.version)
        if found is None:
            raise ReleaseError(
                f"the version {self.version!r} is none: give 1.2.3, or 1.2.3-rc.1 (a, b or rc) for a candidate"
            )
        return found[1] + (f"{found[2]}{found[3]}" if found[2] else "")

    @property
    def wheel(self) -> Path:
        return self.dist / f"spendgate-{self.python_version}-py3-none-any.whl"

    @property
    def sdist(self) -> Path:
        return self.dist / f"spendgate-{self.python_version}.tar.gz"

    @property
    def chart(self) -> Path:
        return self.dist / f"spendgate-{self.version}.tgz"

    @property
    def manifests(self) -> Path:
        """k8s/, for kustomize."""
        return self.dist / f"spendgate-{self.version}-k8s.tar.gz"

    @property
    def image(self) -> Path:
        arch = ARCHITECTURES.get(platform.machine(), platform.machine())
        return self.dist / f"spendgate-{self.version}-image-{arch}.tar"

    @property
    def parts(self) -> Path:
        """The software bill of materials of the image."""
        return self.dist / f"spendgate-{self.version}.cdx.json"

    @property
    def sums(self) -> Path:
        return self.dist / "SHA256SUMS"

    @property
    def signature(self) -> Path:
        return self.dist / "SHA256SUMS.sig"

    @property
    def signers(self) -> Path:
        """The public key, in the form that `ssh-keygen -Y verify` reads."""
        return self.dist / "allowed_signers"

    @property
    def contents(self) -> tuple[Path, ...]:
        """What the checksums are of."""
        return (self.wheel, self.sdist, self.chart, self.manifests, self.image, self.parts)

    @property
    def artefacts(self) -> tuple[Path, ...]:
        """All of it."""
        return (*self.contents, self.sums, self.signature, self.signers)
