"""Whether a release is whole: each artefact is there, is what it says, and works."""

from __future__ import annotations

import hashlib
import json
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from email import message_from_bytes
from email.message import Message
from pathlib import Path
from typing import Any

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from release.artefacts import ROOT, Release, ReleaseError
from release.make import NAMESPACE, USER, digest
from release.run import run
from release.wheels import built_from

Json = dict[str, Any]


def there(release: Release) -> None:
    """Every artefact is a file with something in it, and nothing else stands beside them."""
    for path in release.artefacts:
        if not path.is_file() or not path.stat().st_size:
            raise ReleaseError(f"{path.name} is missing")
    others = sorted({p.name for p in release.dist.iterdir()} - {p.name for p in release.artefacts})
    if others:
        raise ReleaseError(f"{', '.join(others)}: no part of release {release.version}")


def checksums(release: Release) -> None:
    """The sums are those of the contents, of all of them."""
    lines = (line.split("  ") for line in release.sums.read_text("utf-8").splitlines())
    named = {name: hexdigest for hexdigest, name in lines}
    if named.keys() != {p.name for p in release.contents}:
        raise ReleaseError(f"SHA256SUMS names {sorted(named)}")
    for path in release.contents:
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != named[path.name]:
                raise ReleaseError(f"{path.name} is not what SHA256SUMS says")


def signature(release: Release) -> None:
    """The sums are signed by the key beside them."""
    try:
        run(
            ["ssh-keygen", "-q", "-Y", "verify", "-f", release.signers, "-I", NAMESPACE, "-n", NAMESPACE,
             "-s", release.signature],
            stdin=release.sums.read_text("utf-8"),
        )  # fmt: skip
    except ReleaseError as error:
        raise ReleaseError(
            f"{release.signature.name}: no signature of SHA256SUMS by allowed_signers: {error}"
        ) from error


def _metadata(release: Release) -> Message:
    with zipfile.ZipFile(release.wheel) as wheel:
        return message_from_bytes(wheel.read(f"spendgate-{release.python_version}.dist-info/METADATA"))


def wheel(release: Release) -> None:
    """The wheel has its version, and every file of the package that is no Python, and all of its Python."""
    about = _metadata(release)
    if about["Version"] != release.python_version:
        raise ReleaseError(f"{release.wheel.name} says version {about['Version']}")
    tracked = {
        name.removeprefix("src/")
        for name in run(["git", "ls-files", "src/spendgate"], cwd=ROOT).splitlines()
        if (ROOT / name).is_file()
    }
    with zipfile.ZipFile(release.wheel) as packed:
        missing = sorted(tracked - set(packed.namelist()))
    if missing:
        raise ReleaseError(f"{release.wheel.name} lacks {', '.join(missing[:5])}")


def sdist(release: Release) -> None:
    """What is built from the source distribution is the wheel."""
    with tempfile.TemporaryDirectory() as folder:
        differing = built_from(release.sdist, release.wheel, Path(folder))
    if differing:
        raise ReleaseError(f"{release.sdist.name} builds another wheel: {', '.join(differing[:5])}")


def chart(release: Release) -> None:
    """Helm loads it, finds no fault, and what it renders names the image of the release by its digest."""
    import helm_python as helm

    with helm.Chart.load(str(release.chart)) as loaded:
        rendered = "\n".join(loaded.render({}, name="spendgate", namespace="llm-gateway").values())
        if loaded.version != release.version:
            raise ReleaseError(f"{release.chart.name} says version {loaded.version}")
    if f"llm-gateway/spendgate@{digest(release)}" not in rendered:
        raise ReleaseError(f"{release.chart.name} does not name the image by its digest")
    report = helm.lint(str(release.chart), {}, strict=True)
    if report["errors"]:
        raise ReleaseError(f"{release.chart.name}: {report['errors']}")


def manifests(release: Release) -> None:
    """The overlays name the image by its digest, and no version of a checkout."""
    with tarfile.open(release.manifests) as packed:
        texts = [
            file.read().decode()
            for name in packed.getnames()
            if name.endswith("/kustomization.yaml") and (file := packed.extractfile(name))
        ]
    images = [text for text in texts if "newName: llm-gateway/spendgate" in text]
    if not images or not all(f"digest: {digest(release)}" in text for text in images):
        raise ReleaseError(f"{release.manifests.name} does not name the image by its digest")


def image(release: Release) -> None:
    """It is the version's, runs as nobody and any user of group 0, and its layers are as its manifest says."""
    with tarfile.open(release.image) as archive:

        def blob(name: str) -> bytes:
            file = archive.extractfile(f"blobs/sha256/{name.removeprefix('sha256:')}")
            if file is None:
                raise ReleaseError(f"{release.image.name} lacks {name}")
            content = file.read()
            if f"sha256:{hashlib.sha256(content).hexdigest()}" != name:
                raise ReleaseError(f"{release.image.name}: {name} is damaged")
            return content

        manifest: Json = json.loads(blob(digest(release)))
        config: Json = json.loads(blob(manifest["config"]["digest"]))["config"]
        for layer in manifest["layers"]:
            blob(layer["digest"])
    found = (config["User"], config["Entrypoint"], config["Labels"]["org.opencontainers.image.version"])
    if found != (USER, ["spendgate"], release.version):
        raise ReleaseError(f"{release.image.name} is {found}")


def parts(release: Release) -> None:
    """The list of parts is valid CycloneDX, and names every package that the wheel needs."""
    text = release.parts.read_text("utf-8")
    fault = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    if fault is not None:
        raise ReleaseError(f"{release.parts.name}: {fault}")
    document: Json = json.loads(text)
    subject = document["metadata"]["component"]
    if (subject["version"], f"sha256:{subject['hashes'][0]['content']}") != (
        release.version,
        digest(release),
    ):
        raise ReleaseError(f"{release.parts.name} is of another image")
    named = {c["name"].lower().replace("_", "-") for c in document["components"]}
    pinned = {
        line.split("==")[0].lower()
        for line in (ROOT / "deploy/image/requirements.txt").read_text("utf-8").splitlines()
        if "==" in line
    }
    missing = sorted(pinned - named)
    if missing or not {"spendgate", "envoy", "libc6"} <= named:
        raise ReleaseError(f"{release.parts.name} lacks {', '.join(missing) or 'spendgate, envoy or libc6'}")


CHECKS: tuple[Callable[[Release], None], ...] = (
    there, checksums, signature, wheel, sdist, chart, manifests, image, parts,
)  # fmt: skip


def check(release: Release) -> None:
    """All of it, the quickest first; the first fault is raised."""
    for step in CHECKS:
        step(release)
