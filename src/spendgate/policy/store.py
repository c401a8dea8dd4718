"""The policy in force, in Redis: one hash `sg1:policy`, announced on the channel of the same name.

Fields: `snapshot` (the bytes of a `PolicySnapshot`), `generation`, `version`, `fence`, `owner`, `owned_at`. One key, so
that it works on Redis Cluster. A write names the generation that it follows and the writer's fencing number (how many
leaders there have been): a leader that was deposed, frozen and woken changes nothing. It names its owner, too: the
cluster and namespace whose Lease the number is of. Controllers of another Lease write nothing; the numbers of two
Leases say nothing of each other.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from collections.abc import Awaitable, Iterable, Mapping
from typing import Any, cast

from google.protobuf.message import DecodeError

from spendgate.budget.load import budget_from_document
from spendgate.budget.policy import Policy
from spendgate.errors import LedgerError, LedgerUnavailable
from spendgate.ledger.redis.client import UNREACHABLE, Client
from spendgate.protos.policy_pb2 import BudgetDocument, PolicySnapshot
from spendgate.values import dataclass

POLICY_KEY = "sg1:policy"
CALL_S = 5.0
CHECKSUM_BYTES = 34
"""Tag, length and SHA-256 of the field `checksum`, which ends the bytes."""

_WRITE = """
local now = redis.call('HMGET', KEYS[1], 'generation', 'fence', 'owner', 'owned_at')
local generation, fence = tonumber(now[1] or '0'), tonumber(now[2] or '0')
if ARGV[6] ~= '' then
  local time = redis.call('TIME')
  local at = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
  if now[3] and now[3] ~= ARGV[6] then
    if ARGV[7] == '0' or at - tonumber(now[4] or '0') < tonumber(ARGV[7]) then return {'owned', 0, now[3]} end
    fence = 0
  end
  if fence <= tonumber(ARGV[1]) then redis.call('HSET', KEYS[1], 'owner', ARGV[6], 'owned_at', at) end
end
if fence > tonumber(ARGV[1]) then return {'fenced', fence} end
redis.call('HSET', KEYS[1], 'fence', ARGV[1])
if ARGV[3] == '0' then return {'claimed', generation} end
if generation ~= tonumber(ARGV[2]) then return {'moved', generation} end
redis.call('HSET', KEYS[1], 'snapshot', ARGV[5], 'generation', ARGV[3], 'version', ARGV[4])
redis.call('PUBLISH', KEYS[1], ARGV[3])
return {'written', ARGV[3]}
"""


class BadSnapshot(LedgerError):
    """The bytes are no snapshot, or their checksum does not fit."""


@dataclass(frozen=True, slots=True)
class Head:
    """What a look at the key costs little to know. Generation 0: there is no policy."""

    generation: int = 0
    version: str = ""
    fence: int = 0


@dataclass(frozen=True, slots=True)
class Written:
    """How a write ended: `written` or `claimed`; `fenced` (`number` is the fence); `moved` (`number` is the
    generation that is stored); `owned` (by `owner`, of another Lease)."""

    outcome: str
    number: int
    owner: str = ""


SNAPSHOT_FILE = "policy.snapshot"
"""Name of the file with a policy, in a data dir and in the controller's ConfigMap."""


def canonical_json(value: Any) -> bytes:
    """UTF-8, keys sorted, no insignificant space."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def version_of(documents: Iterable[bytes]) -> str:
    """The policy's name by content: SHA-256 over the documents' canonical JSON, in their order."""
    digest = hashlib.sha256()
    for document in documents:
        digest.update(document)
    return digest.hexdigest()


def encode(snapshot: PolicySnapshot) -> bytes:
    """Serialize with the checksum at the end."""
    snapshot.ClearField("checksum")
    payload = snapshot.SerializeToString(deterministic=True)
    return b"".join((payload, b"\x7a\x20", hashlib.sha256(payload).digest()))


def decode(data: bytes) -> PolicySnapshot:
    """Read what `encode` wrote, gzipped or not. Raises BadSnapshot."""
    if data[:2] == b"\x1f\x8b":
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as e:
            raise BadSnapshot(f"the policy snapshot cannot be read: {e}") from e
    payload, tail = data[:-CHECKSUM_BYTES], data[-CHECKSUM_BYTES:]
    if tail[:2] != b"\x7a\x20" or hashlib.sha256(payload).digest() != tail[2:]:
        raise BadSnapshot("the policy snapshot's checksum does not fit; it is not used")
    try:
        return PolicySnapshot.FromString(data)
    except DecodeError as e:
        raise BadSnapshot(f"the policy snapshot cannot be read: {e}") from e


class PolicyStore:
    """Reads and writes the snapshot. Every call raises LedgerUnavailable where Redis does not answer.

    `owner`: in whose name it writes; "": whoever owns it."""

    def __init__(self, client: Client, owner: str = "") -> None:
        self._redis = client
        self.owner = owner
        self.may_follow_after_ms = 0
        """How long another owner must have been silent to be followed; 0: it never is."""

    async def head(self) -> Head:
        """Generation, version and fence, without the snapshot."""
        try:
            values = await cast(
                Awaitable[list[Any]], self._redis.hmget(POLICY_KEY, ["generation", "version", "fence"])
            )
        except UNREACHABLE as e:
            raise _unavailable("read the policy's generation", e) from e
        generation, version, fence = (_text(v) for v in values)
        return Head(int(generation or 0), version, int(fence or 0))

    async def read(self) -> PolicySnapshot | None:
        """The snapshot; None where there is none. Raises BadSnapshot."""
        try:
            data = await cast(Awaitable[Any], self._redis.hget(POLICY_KEY, "snapshot"))
        except UNREACHABLE as e:
            raise _unavailable("read the policy", e) from e
        return None if data is None else decode(data)

    async def claim(self, fence: int) -> Written:
        """Begin a leadership, or say that it goes on: from now on a lower fencing number writes nothing."""
        return await self._eval(fence, 0, 0, "", b"")

    async def write(self, snapshot: PolicySnapshot, after: int, fence: int) -> Written:
        """Write `snapshot` where the stored generation is `after` (0: none is stored), and announce it."""
        return await self._eval(fence, after, snapshot.generation, snapshot.version, encode(snapshot))

    async def _eval(self, fence: int, after: int, generation: int, version: str, data: bytes) -> Written:
        arguments: list[Any] = [fence, after, generation, version, data, self.owner, self.may_follow_after_ms]
        try:
            answer = await cast(Awaitable[list[Any]], self._redis.eval(_WRITE, 1, POLICY_KEY, *arguments))
        except UNREACHABLE as e:
            raise _unavailable("write the policy", e) from e
        return Written(_text(answer[0]), int(answer[1]), _text(answer[2]) if len(answer) > 2 else "")


def document_of(entry: BudgetDocument) -> Mapping[str, Any]:
    """A budget's document as plain data. Raises BadSnapshot."""
    try:
        document = json.loads(entry.json)
    except ValueError as e:
        raise BadSnapshot(f"budget {entry.namespace}/{entry.name} in the snapshot is not JSON: {e}") from e
    if not isinstance(document, dict):
        raise BadSnapshot(f"budget {entry.namespace}/{entry.name} in the snapshot is not an object")
    return document


def documents_of(snapshot: PolicySnapshot) -> list[tuple[BudgetDocument, Mapping[str, Any]]]:
    """Every budget with its document. Raises BadSnapshot."""
    return [(entry, document_of(entry)) for entry in snapshot.budgets]


def policy_of(snapshot: PolicySnapshot) -> Policy:
    """The policy that a snapshot says. Raises BadSnapshot, ConfigurationError."""
    return Policy.of(
        (
            budget_from_document(doc, f"{entry.namespace}/{entry.name}")
            for entry, doc in documents_of(snapshot)
        ),
        (lapsed.team for lapsed in snapshot.lapsed),
    )


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else "" if value is None else str(value)


def _unavailable(what: str, e: BaseException) -> LedgerUnavailable:
    return LedgerUnavailable(f"{what}: Redis did not answer: {type(e).__name__}: {e}")
