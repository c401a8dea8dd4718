"""The file of API keys: YAML, salted hashes only, written whole or not at all.

It can be mounted from a Kubernetes Secret as it is.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from spendgate.errors import ConfigurationError, Fault
from spendgate.files import write_whole
from spendgate.identity.api_keys import ApiKey, KeyRing, PlainHash

HEAD = "# API keys of spendgate: salted hashes, no key. Written by `spendgate keys`.\n"


class KeyEntry(BaseModel):
    """One entry of `keys:`: a key made by `spendgate keys issue` (`id`, `salt`, `hash`), or one that was not
    made here by the `sha256` of its text (long random keys only)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = Field(default="", pattern=r"^([a-z2-7]{8,26})?$")
    team: str = Field(min_length=1, max_length=128)
    app: str = Field(default="", max_length=128)
    user: str = Field(default="", max_length=128)
    salt: str = Field(default="", pattern=r"^([0-9a-f]{32,64})?$")
    hash: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")
    sha256: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")
    created: datetime | None = None
    expires: datetime | None = None
    revoked: datetime | None = None
    note: str = ""

    @model_validator(mode="after")
    def _one_kind(self) -> KeyEntry:
        if bool(self.sha256) == bool(self.id and self.salt and self.hash):
            raise ValueError("give id, salt and hash (a key of `spendgate keys issue`), or sha256")
        return self


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid")

    keys: tuple[KeyEntry, ...] = ()


def read(path: Path) -> KeyRing:
    """Read a file. Raises ConfigurationError with every fault."""
    try:
        loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as e:
        raise ConfigurationError(
            [Fault(str(path), 0, "", "no such file", "make it: spendgate keys issue --file … --team …")]
        ) from e
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as e:
        raise ConfigurationError([Fault(str(path), 0, "", f"cannot be read: {e}")]) from e
    try:
        entries = _Document.model_validate(loaded if loaded is not None else {}).keys
    except ValidationError as e:
        # never the input: a file of hashes may hold a key by mistake
        raise ConfigurationError(
            [Fault(str(path), 0, ".".join(map(str, x["loc"])), str(x["msg"])) for x in e.errors()]
        ) from None
    seen: set[str] = set()
    for entry in entries:
        name = entry.id or entry.sha256
        if name in seen:
            raise ConfigurationError([Fault(str(path), 0, "keys", f"{name} is there twice", "remove one")])
        seen.add(name)
    return KeyRing.of(
        (_key(e) for e in entries if e.id), (PlainHash(e.sha256, e.team, e.app) for e in entries if e.sha256)
    )


def _ms(at: datetime | None) -> int:
    if at is None:
        return 0
    return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)


def _key(e: KeyEntry) -> ApiKey:
    return ApiKey(
        e.id, e.team, e.app, e.user, bytes.fromhex(e.salt), bytes.fromhex(e.hash),
        _ms(e.created), _ms(e.expires), _ms(e.revoked), e.note,
    )  # fmt: skip


def time_text(ms: int) -> str:
    """A time as the file and the lists write it, "" for never."""
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="seconds")[:-6] + "Z" if ms else ""


def text_of(ring: KeyRing) -> str:
    """The file's text."""
    rows: list[dict[str, Any]] = []
    for key in ring.keys.values():
        row = {
            "id": key.id, "team": key.team, "app": key.app, "user": key.user, "salt": key.salt.hex(),
            "hash": key.digest.hex(), "created": time_text(key.created_ms),
            "expires": time_text(key.expires_ms), "revoked": time_text(key.revoked_ms), "note": key.note,
        }  # fmt: skip
        rows.append({k: v for k, v in row.items() if v})
    for plain in ring.plain.values():
        row = {"sha256": plain.sha256, "team": plain.team, "app": plain.app}
        rows.append({k: v for k, v in row.items() if v})
    return HEAD + yaml.safe_dump({"keys": rows}, sort_keys=False, allow_unicode=True, width=110)


@contextmanager
def editing(path: Path) -> Iterator[list[KeyRing]]:
    """Change a file under a lock: append the new ring to what is yielded (the old one, empty where there is no
    file). Others wait; readers see the old text or the new, never half."""
    lock = path.with_name(f".{path.name}.lock")
    try:
        with lock.open("a") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            rings = [read(path) if path.exists() else KeyRing()]
            yield rings
            if len(rings) > 1:
                write_whole(path, text_of(rings[-1]), 0o600)
    except OSError as e:
        raise ConfigurationError([Fault(str(path), 0, "", f"cannot be written: {e.strerror or e}")]) from e
