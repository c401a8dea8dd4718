"""A whole release, made as `make release` makes it: every artefact is needed, is what it says, and works."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from support import helm
from support.compose import Services
from support.dockerfile import ROOT
from support.manifests import kustomized

sys.path.insert(0, str(ROOT / "scripts"))
from release import check
from release.artefacts import Release, ReleaseError
from release.make import digest as digest_of

pytestmark = pytest.mark.timeout(600)
VERSION = "7.8.9-rc.2"
PYTHON_VERSION = "7.8.9rc2"
LOOPBACK = """
import fcntl, os, socket, struct, sys
up, SIOCSIFFLAGS = 0x1, 0x8914  # netdevice(7)
with socket.socket() as s:
    fcntl.ioctl(s, SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", up))
os.execv(sys.argv[1], sys.argv[1:])
"""
"""In a network of its own a process has a loopback interface alone, and that is down."""


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("key") / "releaser"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, key: Path) -> Release:
    """The release, made without a network. While it is made, a budget holds in the image under a user id of
    OpenShift's."""
    release = Release(VERSION, tmp_path_factory.mktemp("release") / "dist")
    argv = [
        sys.executable,
        ROOT / "scripts/release",
        "--version",
        VERSION,
        "--key",
        key,
        "--into",
        release.dist,
    ]
    alone = ["unshare", "--net", sys.executable, "-c", LOOPBACK]
    done = subprocess.run(
        [*map(str, [*alone, *argv])], capture_output=True, text=True, check=False, timeout=500
    )
    assert done.returncode == 0, done.stderr
    return release


@pytest.fixture
def release(made: Release, tmp_path: Path) -> Iterator[Release]:
    """A copy to spoil; its files are links, so whoever changes one writes a new one."""
    copy = Release(VERSION, tmp_path / "dist")
    shutil.copytree(made.dist, copy.dist, copy_function=os.link)
    yield copy


NAMES = (
    f"spendgate-{PYTHON_VERSION}-py3-none-any.whl", f"spendgate-{PYTHON_VERSION}.tar.gz", f"spendgate-{VERSION}.tgz",
    f"spendgate-{VERSION}-k8s.tar.gz", f"spendgate-{VERSION}-image-amd64.tar", f"spendgate-{VERSION}.cdx.json",
    "SHA256SUMS", "SHA256SUMS.sig", "allowed_signers",
)  # fmt: skip


def test_it_consists_of_these_artefacts(made: Release) -> None:
    assert {p.name for p in made.dist.iterdir()} == set(NAMES) == {p.name for p in made.artefacts}


@pytest.mark.parametrize("name", NAMES)
def test_without_one_of_its_artefacts_it_fails_and_names_it(release: Release, name: str) -> None:
    (release.dist / name).unlink()
    argv = [sys.executable, ROOT / "scripts/release", "--version", VERSION, "--into", release.dist, "--check"]
    done = subprocess.run([*map(str, argv)], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (1, f"release: {name} is missing\n")


@pytest.mark.parametrize("name", NAMES[:6])
def test_an_artefact_that_was_changed_is_seen(release: Release, name: str) -> None:
    path = release.dist / name
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ReleaseError, match=f"{name} is not what SHA256SUMS says"):
        check.check(release)


def test_checksums_that_were_changed_are_not_signed(release: Release) -> None:
    text = release.sums.read_text()
    release.sums.unlink()
    release.sums.write_text(text.replace("a", "b", 1))
    with pytest.raises(ReleaseError, match=r"SHA256SUMS\.sig: no signature"):
        check.signature(release)


def test_another_ones_signature_does_not_count(release: Release, tmp_path: Path) -> None:
    other = tmp_path / "other"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", other], check=True)
    release.signature.unlink()
    argv: list[str | Path] = [
        "ssh-keygen", "-q", "-Y", "sign", "-n", "spendgate-release", "-f", other, release.sums,
    ]  # fmt: skip
    subprocess.run(argv, check=True, capture_output=True)
    with pytest.raises(ReleaseError, match="no signature"):
        check.signature(release)


def test_a_file_of_another_release_beside_it_is_seen(release: Release) -> None:
    (release.dist / "spendgate-1.0.0.tgz").write_text("old")
    with pytest.raises(ReleaseError, match=r"spendgate-1\.0\.0\.tgz: no part"):
        check.there(release)


@pytest.mark.parametrize("version", ["1.2", "v1.2.3", "1.2.3rc1", "1.2.3-rc", "latest"])
def test_a_version_that_is_none_is_refused(version: str, tmp_path: Path) -> None:
    argv = [sys.executable, ROOT / "scripts/release", "--version", version, "--into", tmp_path / "dist"]
    done = subprocess.run([*map(str, argv)], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert "give 1.2.3" in done.stderr
    assert not (tmp_path / "dist").exists()


def test_make_asks_for_a_version() -> None:
    done = subprocess.run(
        ["make", "release"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 2
    assert "make release VERSION=1.2.3" in done.stderr


def test_the_chart_and_the_manifests_name_the_image_by_its_digest(made: Release, tmp_path: Path) -> None:
    digest = digest_of(made)
    assert f"llm-gateway/spendgate@{digest}" in json.dumps(helm.documents({}, chart=made.chart))
    with tarfile.open(made.manifests) as packed:
        packed.extractall(tmp_path, filter="data")
    overlay = kustomized(tmp_path / f"spendgate-{VERSION}-k8s/overlays/envoy-tls")
    images = {line.split("image: ")[1] for line in overlay.splitlines() if "image: llm-gateway" in line}
    assert images == {f"llm-gateway/spendgate@{digest}"}


def test_the_charts_version_is_the_releases(made: Release) -> None:
    with tarfile.open(made.chart) as packed:
        file = packed.extractfile("spendgate/Chart.yaml")
        assert file is not None
        about = yaml.safe_load(file)
    assert (about["version"], about["appVersion"]) == (VERSION, VERSION)


def test_from_the_wheel_alone_a_gateway_serves_and_drains(made: Release, tmp_path: Path) -> None:
    """Installed by pip without an index; what it needs is this environment's, as in test_image.py."""
    place = tmp_path / "env"
    venv.create(place, with_pip=False)
    [site] = place.glob("lib/python3*/site-packages")
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", place / "bin/python", "install", "--quiet", "--no-index", "--no-deps",
         "--disable-pip-version-check", made.wheel],
        check=True,
    )  # fmt: skip
    (site / "dependencies.pth").write_text(f"{Path(pytest.__file__).parents[1]}\n")
    said = subprocess.run(
        [place / "bin/spendgate", "--version"], capture_output=True, text=True, check=True
    ).stdout
    assert PYTHON_VERSION in said
    with Services(tmp_path / "services") as services:
        services.program = str(place / "bin/spendgate")
        for name in ("redis", "controller", "gateway"):
            services.start(name)
            services.healthy(name)
    assert services.statuses["gateway"] == services.statuses["controller"] == 0
