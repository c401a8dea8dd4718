"""Putting books into an object store or folder, by fsspec: `file://`, `s3://`, `gs://`, `abfs://` and more.

A file is put under its name in one piece: readers see the old or the new one, never half. What is there already with
the same content is left alone, so a second run changes nothing, and one that was cut off goes on where it stopped.
A month's manifest, with the checksums of its files, is written last: where it fits, the month is whole.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import fsspec

from spendgate.errors import ConfigurationError, SpendgateError
from spendgate.values import dataclass

CHUNK = 1 << 20
EXTRAS = {
    "s3": "s3",
    "s3a": "s3",
    "gs": "gcs",
    "gcs": "gcs",
    "abfs": "azure",
    "abfss": "azure",
    "az": "azure",
}
"""URL scheme → the extra that brings what fsspec needs for it."""
MANIFEST = "_manifest.json"
"""Readers of folders (Athena, Spark, BigQuery) leave out names that begin with an underscore."""


class ExportError(SpendgateError):
    """The store did not take, or give, a file. Safe to try again."""


@dataclass(frozen=True, slots=True)
class Put:
    """A file in the store. `changed`: was it written now?"""

    name: str
    size: int
    sha256: str
    changed: bool


class Store:
    """A place named by a URL. Raises ConfigurationError for one that cannot be used here, ExportError for what the
    store itself says."""

    def __init__(self, url: str) -> None:
        scheme = url.partition("://")[0] if "://" in url else "file"
        try:
            self._fs, self._root = fsspec.core.url_to_fs(url)
        except ImportError as e:
            extra = EXTRAS.get(scheme)
            remedy = f"; run: pip install 'spendgate[{extra}]'" if extra else ""
            raise ConfigurationError(f"{scheme}:// cannot be written here: {e}{remedy}") from e
        except ValueError as e:
            raise ConfigurationError(
                f"--to {url}: {e}; give a folder, file://, s3://, gs:// or abfs://"
            ) from e
        self._root = self._root.rstrip("/")
        self._is_local = scheme in ("file", "local")

    def put(self, name: str, local: Path) -> Put:
        """Put a file under `name` (a path below the URL), if it is not there with the same content."""
        with local.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        size, target = local.stat().st_size, f"{self._root}/{name}"
        with self._said(name):
            if self._digest(target, size) == digest:
                return Put(name, size, digest, changed=False)
            if self._is_local:
                Path(target).parent.mkdir(parents=True, exist_ok=True)
                part = Path(f"{target}.part")
                self._fs.put_file(str(local), str(part))
                part.replace(target)
            else:  # an object appears when its last byte was taken
                self._fs.put_file(str(local), target)
            self._fs.invalidate_cache()
            if self._digest(target, size) != digest:
                raise ExportError(f"{name}: what the store gives back is not what was written; run it again")
        return Put(name, size, digest, changed=True)

    def get(self, name: str) -> bytes | None:
        """What stands under `name`; None where nothing does."""
        with self._said(name):
            try:
                found: bytes = self._fs.cat_file(f"{self._root}/{name}")
            except FileNotFoundError:
                return None
            return found

    def _digest(self, target: str, size: int) -> str:
        """The checksum of what is there, "" where nothing of this size is."""
        try:
            if self._fs.info(target)["size"] != size:
                return ""
            with self._fs.open(target, "rb", block_size=CHUNK) as there:
                return _sha256(there)
        except FileNotFoundError:
            return ""

    @contextmanager
    def _said(self, name: str) -> Iterator[None]:
        try:
            yield
        except SpendgateError:
            raise
        except Exception as e:  # each store has exceptions of its own
            raise ExportError(
                f"{name}: the store says: {str(e) or type(e).__name__}; see to its address and rights, and run it again"
            ) from e


def _sha256(file: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while chunk := file.read(CHUNK):
        digest.update(chunk)
    return digest.hexdigest()


def put_all(
    store: Store, folder: str, files: Sequence[tuple[str, Path]], facts: dict[str, Any], scratch: Path
) -> list[Put]:
    """Put files (name below `folder`, local path), then their manifest with `facts`; without a time, so that the same
    books make the same manifest."""
    done = [store.put(f"{folder}/{name}", path) for name, path in files]
    listed = [{"name": p.name.removeprefix(f"{folder}/"), "bytes": p.size, "sha256": p.sha256} for p in done]
    manifest = scratch / MANIFEST
    manifest.write_text(json.dumps({**facts, "files": listed}, indent=2) + "\n")
    return [*done, store.put(f"{folder}/{MANIFEST}", manifest)]
