"""Name the images of the manifests by digest, as their registries answer today.

    .venv/bin/python scripts/pin_images.py            # writes NAME:TAG@sha256:… in place
    .venv/bin/python scripts/pin_images.py --check    # exit 1 where a digest is missing or has moved; for a weekly job

Read are `image:` lines of k8s/ and docker-compose.yml, and what the Dockerfile stands on; our own images, which
kustomize sets, are left alone. `scripts/build_k8s.py --golden` and `scripts/build_chart.py` carry the digests on.
The protocol is the registries' own: https://distribution.github.io/distribution/spec/api/
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx

ROOT = Path(__file__).resolve().parent.parent
IMAGE = re.compile(
    r"^(?P<front>\s*(?:- )?image:\s*|FROM\s+)(?P<name>[\w./-]+(?::\d+/[\w./-]+)?):(?P<tag>[\w.-]+)"
    r"(?:@(?P<digest>sha256:[0-9a-f]{64}))?(?P<end>.*)$",
    re.MULTILINE,
)
OURS = ("spendgate", "llm-gateway/spendgate")
ACCEPT = ", ".join((
    "application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json",
))  # fmt: skip
HUB = "registry-1.docker.io"


class Image(NamedTuple):
    """Where an image is: registry host, repository, tag."""

    host: str
    repository: str
    tag: str


def located(name: str, tag: str) -> Image:
    """An image's full name, as Docker reads a short one."""
    first, slash, rest = name.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return Image(first, rest, tag)
    return Image(HUB, name if slash else f"library/{name}", tag)


def files(root: Path) -> Iterator[Path]:
    """Where images are named."""
    yield from sorted((root / "k8s").rglob("*.yaml"))
    yield root / "docker-compose.yml"
    yield root / "Dockerfile"


def digest(client: httpx.Client, image: Image, scheme: str = "https") -> str:
    """What the registry has under the tag. Raises httpx.HTTPError."""
    url = f"{scheme}://{image.host}/v2/{image.repository}/manifests/{image.tag}"
    answer = client.head(url, headers={"accept": ACCEPT})
    if answer.status_code == 401:
        fields = dict(re.findall(r'(\w+)="([^"]*)"', answer.headers.get("www-authenticate", "")))
        asked = {k: fields[k] for k in ("service", "scope") if k in fields}
        token = client.get(fields["realm"], params=asked).raise_for_status().json()
        bearer = token.get("token") or token["access_token"]
        answer = client.head(url, headers={"accept": ACCEPT, "authorization": f"Bearer {bearer}"})
    found = answer.raise_for_status().headers.get("docker-content-digest", "")
    if not re.fullmatch(r"sha256:[0-9a-f]{64}", found):
        raise httpx.HTTPError(f"{url}: answers without a digest")
    return found


def pinned(text: str, found: dict[Image, str]) -> str:
    """The text with every image that is found named by its digest."""

    def named(match: re.Match[str]) -> str:
        new = found.get(located(match["name"], match["tag"]))
        if match["name"] in OURS or new is None:
            return match[0]
        return f"{match['front']}{match['name']}:{match['tag']}@{new}{match['end']}"

    return IMAGE.sub(named, text)


def main(argv: list[str] | None = None, root: Path = ROOT, scheme: str = "https") -> int:
    """0: all is written, or nothing has moved; 1: something has (`--check`), or a registry does not answer."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="change nothing")
    check = parser.parse_args(argv).check
    texts = {path: path.read_text(encoding="utf-8") for path in files(root) if path.exists()}
    images = {
        located(m["name"], m["tag"])
        for t in texts.values()
        for m in IMAGE.finditer(t)
        if m["name"] not in OURS
    }
    found = {}
    with httpx.Client(timeout=30, follow_redirects=True) as client:
        for image in sorted(images):
            try:
                found[image] = digest(client, image, scheme)
            except (httpx.HTTPError, KeyError, ValueError) as e:
                print(f"{image.repository}:{image.tag}: {e}", file=sys.stderr)
                return 1
    moved = 0
    for path, text in texts.items():
        new = pinned(text, found)
        if new != text:
            moved += 1
            print(f"{path.relative_to(root)}: {'differs' if check else 'written'}")
            if not check:
                path.write_text(new, encoding="utf-8")
    return 1 if check and moved else 0


if __name__ == "__main__":
    sys.exit(main())
