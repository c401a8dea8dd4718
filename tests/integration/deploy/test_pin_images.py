"""Images are named by what their registry has: a registry of the test's own, which wants a token."""

from __future__ import annotations

import hashlib
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.scripts import load_script

PIN = load_script("pin_images")
REPAIRED = {"library/redis": (7, 2, 14), "library/python": (3, 11, 14)}
"""The first versions without CVE-2025-49844 and CVE-2026-23479 (Lua), and CVE-2025-8194 (tarfile)."""
CONTENT = {"library/redis:7.2": b"one", "team/tool:1": b"two"}


def sha(name: str) -> str:
    return f"sha256:{hashlib.sha256(CONTENT[name]).hexdigest()}"


class Registry(http.server.BaseHTTPRequestHandler):
    """HEAD of a manifest, after a token."""

    def do_HEAD(self) -> None:
        host, name = self.headers["host"], self.path.removeprefix("/v2/").replace("/manifests/", ":")
        if self.headers.get("authorization") != "Bearer let-me-in":
            self.send_response(401)
            self.send_header(
                "www-authenticate", f'Bearer realm="http://{host}/token",service="s",scope="pull"'
            )
        elif name in CONTENT:
            self.send_response(200)
            self.send_header("docker-content-digest", sha(name))
        else:
            self.send_response(404)
        self.end_headers()

    def do_GET(self) -> None:
        body = b'{"token": "let-me-in"}'
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def registry() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Registry)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()


def test_a_short_name_is_of_the_hub() -> None:
    assert PIN.located("redis", "7") == ("registry-1.docker.io", "library/redis", "7")
    assert PIN.located("team/tool", "1") == ("registry-1.docker.io", "team/tool", "1")
    assert PIN.located("ghcr.io/a/b", "1") == ("ghcr.io", "a/b", "1")


def test_digests_are_written_and_a_moved_one_is_found(registry: str, tmp_path: Path) -> None:
    (tmp_path / "k8s").mkdir()
    manifest = tmp_path / "k8s" / "redis.yaml"
    text = (
        f"containers:\n  - image: {registry}/library/redis:7.2 # the ledger\n    name: x\n"
        f"  - image: spendgate\n  - image: llm-gateway/spendgate:0.1.0\n"
    )
    manifest.write_text(text)
    assert PIN.main(["--check"], tmp_path, "http") == 1
    assert manifest.read_text() == text
    assert PIN.main([], tmp_path, "http") == 0
    pinned = text.replace("redis:7.2", f"redis:7.2@{sha('library/redis:7.2')}")
    assert manifest.read_text() == pinned
    assert PIN.main(["--check"], tmp_path, "http") == 0
    manifest.write_text(pinned.replace(sha("library/redis:7.2"), "sha256:" + "0" * 64))
    assert PIN.main(["--check"], tmp_path, "http") == 1


def test_an_image_that_is_not_there_is_named(
    registry: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "docker-compose.yml").write_text(f"services:\n  a:\n    image: {registry}/no/such:9\n")
    assert PIN.main([], tmp_path, "http") == 1
    assert "no/such:9" in capsys.readouterr().err


def test_the_images_base_is_named_by_digest_too(registry: str, tmp_path: Path) -> None:
    dockerfile = tmp_path / "Dockerfile"
    dockerfile.write_text(
        f"# base\nFROM {registry}/team/tool:1 AS build\nRUN x\nFROM {registry}/team/tool:1\n"
    )
    assert PIN.main([], tmp_path, "http") == 0
    named = f"{registry}/team/tool:1@{sha('team/tool:1')}"
    assert dockerfile.read_text() == f"# base\nFROM {named} AS build\nRUN x\nFROM {named}\n"
    assert PIN.main(["--check"], tmp_path, "http") == 0


def test_no_image_has_a_hole_that_its_project_has_mended() -> None:
    found: dict[str, set[tuple[int, ...]]] = {}
    for path in PIN.files(PIN.ROOT):
        for match in PIN.IMAGE.finditer(path.read_text(encoding="utf-8")):
            image = PIN.located(match["name"], match["tag"])
            if image.repository in REPAIRED:
                version = tuple(map(int, image.tag.partition("-")[0].split(".")))
                found.setdefault(image.repository, set()).add(version)
    assert found.keys() == REPAIRED.keys()
    assert {name: v for name, v in found.items() if min(v) < REPAIRED[name]} == {}
