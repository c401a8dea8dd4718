"""Make the artefacts."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
import shutil
import sys
import tarfile
from pathlib import Path

from release.artefacts import CACHE, ROOT, Release, ReleaseError
from release.run import buildah, run
from release.stage import revision

USER = "65532:0"
"""Group 0: OpenShift runs images under any user id of that group."""
PLACE = "/opt/spendgate"


def packages(release: Release, source: Path, epoch: str) -> None:
    """The wheel and the source distribution."""
    run(
        [sys.executable, "-m", "hatchling", "build", "-d", release.dist, "-t", "sdist", "-t", "wheel"],
        cwd=source,
        env={"SOURCE_DATE_EPOCH": epoch},
    )


def container(release: Release) -> str:
    """A container of buildah's with all that the image holds: the packages of deploy/image/requirements.txt, and
    spendgate from the wheel of the release. Whoever asked for it removes it."""
    wheels = CACHE / "wheels"
    [pip] = wheels.glob("pip-*.whl")
    made = buildah("from", "--pull-never", "localhost/spendgate-base")
    mounts = [
        *("-v", f"{wheels}:/mnt/wheels:ro"),
        *("-v", f"{release.dist}:/mnt/dist:ro"),
        *("-v", f"{ROOT / 'deploy/image'}:/mnt/image:ro"),
    ]
    user, _, group = USER.partition(":")
    try:
        buildah("run", made, "--", "python3", "-m", "venv", "--without-pip", PLACE)
        buildah(
            "run", *mounts, made, "--",
            f"{PLACE}/bin/python", f"/mnt/wheels/{pip.name}/pip", "install", "--quiet", "--no-cache-dir", "--no-deps",
            "--disable-pip-version-check", "--root-user-action=ignore", "--no-index", "--find-links", "/mnt/wheels",
            "-r", "/mnt/image/requirements.txt", f"/mnt/dist/{release.wheel.name}",
        )  # fmt: skip
        buildah("run", *mounts, made, "--", f"{PLACE}/bin/python", f"/mnt/wheels/{pip.name}/pip", "check")
        buildah(
            "run", made, "--", "install", "-d", "-m", "0770", "-o", user, "-g", group, "/var/lib/spendgate"
        )
    except ReleaseError:
        buildah("rm", made)
        raise
    return made


def image(release: Release, container: str, epoch: str) -> str:
    """The container as an image in an OCI archive; its digest."""
    labels = {
        "org.opencontainers.image.title": "spendgate",
        "org.opencontainers.image.version": release.version,
        "org.opencontainers.image.revision": revision(),
        "org.opencontainers.image.licenses": "Apache-2.0",
    }
    environment = {
        "PATH": f"{PLACE}/bin:/usr/local/bin:/usr/bin:/bin",
        "PYTHONUNBUFFERED": "1",
        "SPENDGATE_DATA_DIR": "/var/lib/spendgate",
    }
    buildah(
        "config", "--user", USER, "--workingdir", "/var/lib/spendgate",
        "--entrypoint", json.dumps(["spendgate"]), "--cmd", "--help", "--port", "9002", "--port", "9090",
        *(x for k, v in labels.items() for x in ("--label", f"{k}={v}")),
        *(x for k, v in environment.items() for x in ("--env", f"{k}={v}")),
        container,
    )  # fmt: skip
    where = f"oci-archive:{release.image}:{release.version}"
    # compressed here, so that a registry that compresses what it gets has nothing to do, and no digest changes
    buildah("commit", "--quiet", "--disable-compression=false", "--timestamp", epoch, container, where)
    return digest(release)


def digest(release: Release) -> str:
    """`sha256:…` of the image's manifest, by which a registry will name it."""
    with tarfile.open(release.image) as archive:
        index = archive.extractfile("index.json")
        if index is None:
            raise ReleaseError(f"{release.image.name} has no index.json")
        [manifest] = json.load(index)["manifests"]
    return str(manifest["digest"])


def chart(release: Release, source: Path, named: str, epoch: str) -> None:
    """The chart, which names the image by its digest, as `helm package` packs it."""
    folder = source / "charts/spendgate"
    values = folder / "values.yaml"
    text, found = re.subn(
        r"^(image:\n(?:  .*\n)*?  digest: )\'\'$",
        rf"\1{named}",
        values.read_text("utf-8"),
        flags=re.MULTILINE,
    )
    if found != 1:
        raise ReleaseError("charts/spendgate/values.yaml has no image.digest to fill in")
    values.write_text(text, encoding="utf-8")
    paths = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != ".helmignore")
    first = sorted(paths, key=lambda p: p.name != "Chart.yaml")  # as Helm writes it
    _pack(release.chart, folder, first, "spendgate", epoch)


def manifests(release: Release, source: Path, named: str, epoch: str) -> None:
    """k8s/, whose overlays name the image by its digest."""
    folder = source / "k8s"
    for path in folder.rglob("kustomization.yaml"):
        text = re.sub(
            r"^    newTag: .*$", f"    digest: {named}", path.read_text("utf-8"), flags=re.MULTILINE
        )
        path.write_text(text, encoding="utf-8")
    paths = sorted(p for p in folder.rglob("*") if p.is_file())
    _pack(release.manifests, folder, paths, f"spendgate-{release.version}-k8s", epoch)


def _pack(into: Path, folder: Path, paths: list[Path], prefix: str, epoch: str) -> None:
    """The same files give the same bytes."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path in paths:
            entry = tarfile.TarInfo(f"{prefix}/{path.relative_to(folder).as_posix()}")
            entry.size, entry.mtime, entry.mode = path.stat().st_size, int(epoch), 0o644
            with path.open("rb") as file:
                archive.addfile(entry, file)
    into.write_bytes(gzip.compress(buffer.getvalue(), mtime=int(epoch)))


def sums(release: Release) -> None:
    """The checksums of all contents, in the form of `sha256sum -c`."""
    lines = []
    for path in release.contents:
        with path.open("rb") as file:
            lines.append(f"{hashlib.file_digest(file, 'sha256').hexdigest()}  {path.name}\n")
    release.sums.write_text("".join(lines), encoding="utf-8")


NAMESPACE = "spendgate-release"
"""What a signature is for, so that one made for something else does not count."""


def sign(release: Release, key: Path) -> None:
    """Sign the checksums with the releaser's key, and put the public one beside them."""
    public = key.with_name(key.name + ".pub")
    for path in (key, public):
        if not path.is_file():
            raise ReleaseError(
                f"no key {path}: give KEY=…, or make one (ssh-keygen -t ed25519 -f {key}); its .pub stands beside it"
            )
    release.signature.unlink(missing_ok=True)
    run(["ssh-keygen", "-q", "-Y", "sign", "-n", NAMESPACE, "-f", key, release.sums])
    kind, body, *_ = public.read_text("utf-8").split()
    release.signers.write_text(f'{NAMESPACE} namespaces="{NAMESPACE}" {kind} {body}\n', encoding="utf-8")


def clear(release: Release) -> None:
    """An empty folder: nothing of another version is published by accident."""
    if release.dist.exists():
        shutil.rmtree(release.dist)
    release.dist.mkdir(parents=True)
