"""Who tells what: alerts claimed in Redis, so that each is told once by any number of processes.

A crossing is *opened* by whoever sees it first (the second opens nothing), with the alert's text in it, one
delivery a target. A delivery is *claimed* for 30 s just before it is sent, then ended: delivered, refused, or
open again. A claim that nobody ended may be taken over when its 30 s are over. Deliveries of a team to one
target are claimed in the order of opening, one at a time.

What no store can give: between a receiver's acceptance and its note here a process may die. Then the alert is
sent again, marked as such; never is it lost.

Time comes from Redis' clock. Every call raises LedgerUnavailable where Redis does not answer.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Mapping, Sequence
from importlib.resources import files
from typing import Any, Literal, cast

import orjson

from spendgate.alerts.alert import Alert
from spendgate.alerts.crossings import Record
from spendgate.budget.policy import Threshold
from spendgate.ledger.redis.client import Client, LoadedScript, answered
from spendgate.ledger.redis.codec import team_prefix, text
from spendgate.values import dataclass

CLAIM_MS = 30_000
BEGIN_KEY = "sg1:alerts"
TIMEOUT_S = 5.0
TTL_S = 70 * 86_400
"""As in lua/common.lua."""
PLACES_PER_TRIP = 500

SEEN = "="
"""The field that says which budget the last look found: its limit and thresholds."""

ClaimState = Literal["delivered", "refused", "open"]
Fields = dict[str, str]
"""A team's month of alerts as Redis has it: field → JSON."""


def _script(name: str) -> LoadedScript:
    folder = files("spendgate.alerts") / "lua"
    return LoadedScript((folder / "common.lua").read_text() + (folder / f"{name}.lua").read_text())


_OPEN, _CLAIM, _FINISH, _RESTORE, _BEGIN = (
    _script(n) for n in ("open", "claim", "finish", "restore", "begin")
)


@dataclass(frozen=True, slots=True)
class Claim:
    """One delivery that is ours until its deadline. `again`: it may have been sent before."""

    team: str
    month: str
    key: str
    target: str
    alert: Alert
    again: bool
    order: int
    """Of opening; another one after the crossing was armed again."""


@dataclass(frozen=True, slots=True)
class Busy:
    """Another process tells the next one; its claim ends in `left_ms`."""

    left_ms: int


def alert_key(team: str, month: str) -> str:
    """The hash of a team's alerts, in the slot of its ledger."""
    return f"{team_prefix(team)}a:{month}"


async def alert_fields(client: Client, places: Sequence[tuple[str, str]], keep: bool = False) -> list[Fields]:
    """What is written down in each place: an account, and a month or what stands for one. `keep`: it lives on from now.
    Raises LedgerUnavailable."""
    out: list[Fields] = []
    for start in range(0, len(places), PLACES_PER_TRIP):
        pipe = client.pipeline(transaction=False)
        for team, month in places[start : start + PLACES_PER_TRIP]:
            pipe.hgetall(alert_key(team, month))
            if keep:
                pipe.expire(alert_key(team, month), TTL_S)
        replies = await answered("alerts", pipe.execute())
        out += [{text(k): text(v) for k, v in reply.items()} for reply in replies[:: 2 if keep else 1]]
    return out


def records_of(fields: Mapping[str, str]) -> dict[str, Record]:
    """Read the crossings of a hash."""
    busy = {key for key, _ in open_deliveries(fields)}
    out: dict[str, Record] = {}
    for field, raw in fields.items():
        if "@" not in field and field not in ("~", SEEN):
            value = orjson.loads(raw)
            out[field] = Record(value["s"], int(value["l"]), field in busy)
    return out


def seen_as(limit_nanousd: int, thresholds: Iterable[Threshold], carried_nanousd: int = 0) -> str:
    """A budget as the field `SEEN` names it: what of it decides which thresholds are crossed, its limit without what
    was carried over, which stands last."""
    own = f"{limit_nanousd} " + ",".join(f"{t.percent}:{t.action}" for t in thresholds)
    return f"{own} {carried_nanousd}" if carried_nanousd else own


def is_seen_alike(said: str, other: str) -> bool:
    """Is it the same budget? What is carried over may move by itself."""
    return said.split(" ")[:2] == other.split(" ")[:2]


def limit_seen(said: str) -> int | None:
    """The limit of a budget that was seen (nano-USD), with what was carried over; None where none was."""
    limit, _, *carried = said.split(" ") if said else ("", "")
    return int(limit) + sum(map(int, carried)) if limit else None


def open_deliveries(fields: Mapping[str, str]) -> list[tuple[str, str]]:
    """(crossing, target) of what is not told yet, in order."""
    found = []
    for field, raw in fields.items():
        key, at, target = field.partition("@")
        if at:
            value = orjson.loads(raw)
            if value["s"] in ("open", "claimed"):
                found.append((value["n"], key, target))
    return [(key, target) for _, key, target in sorted(found)]


def is_told(raw: str) -> bool:
    """Was the delivery with this record ended?"""
    return orjson.loads(raw)["s"] in ("delivered", "refused")


def record_json(state: Literal["open", "quiet", "armed"], limit_nanousd: int) -> str:
    """A crossing's record as Redis has it."""
    return orjson.dumps({"s": state, "l": str(limit_nanousd)}).decode()


class Claims:
    """Claims of one process, named by `owner` (unique among all)."""

    def __init__(self, client: Client, owner: str, claim_ms: int = CLAIM_MS) -> None:
        self._redis = client
        self.owner = owner
        self.claim_ms = claim_ms

    async def begin(self, remembers: bool) -> str:
        """`ready`, `baseline` or `wait`; see begin.lua."""
        return text(await self._run(_BEGIN, BEGIN_KEY, self.owner, self.claim_ms, int(remembers)))

    async def begun(self) -> None:
        """The baseline is written."""
        await self._guard(cast(Awaitable[Any], self._redis.set(BEGIN_KEY, "ready")))

    async def open(
        self,
        team: str,
        month: str,
        alerts: Iterable[tuple[Alert, tuple[str, ...]]] = (),
        quiet: Iterable[tuple[str, int]] = (),
        arm: Iterable[tuple[str, str, int]] = (),
        force: bool = False,
        seen: str = "",
    ) -> set[str]:
        """Open alerts for their targets, note crossings quietly (key, limit), arm keys (key, record as read,
        limit), and which budget was seen; returns the keys that this call opened."""
        ask = {
            "open": [
                {
                    "k": a.key,
                    "r": record_json("open", a.limit_nanousd),
                    "a": a.to_json(),
                    "t": targets,
                    "f": force,
                }
                for a, targets in alerts
            ],
            "quiet": [{"k": key, "r": record_json("quiet", limit)} for key, limit in quiet],
            "seen": seen,
            "arm": [{"k": k, "seen": read, "r": record_json("armed", limit)} for k, read, limit in arm],
        }
        reply = await self._run(_OPEN, alert_key(team, month), orjson.dumps(ask))
        return {text(k) for k in reply}

    async def note_seen(self, month: str, seen: Mapping[str, str]) -> None:
        """Note which budget each team was seen with, where nothing else is to be written."""
        pipe = self._redis.pipeline(transaction=False)
        for team, said in seen.items():
            pipe.hset(alert_key(team, month), SEEN, said)
            pipe.expire(alert_key(team, month), TTL_S)
        await self._guard(pipe.execute())

    async def claim(self, team: str, month: str, target: str) -> Claim | Busy | None:
        """Claim the next delivery of a team to a target; None where all is told."""
        reply = await self._run(_CLAIM, alert_key(team, month), 0, self.owner, self.claim_ms, target)
        match text(reply[0]):
            case "yours":
                _, key, alert, again, order = reply
                return Claim(
                    team, month, text(key), target, Alert.from_json(alert), bool(int(again)), int(order)
                )
            case "busy":
                return Busy(int(reply[1]))
            case _:
                return None

    async def finish(self, claim: Claim, state: ClaimState, maybe_sent: bool = False) -> bool:
        """End a claim; False where it was another's by now."""
        return int(
            await self._run(
                _FINISH, alert_key(claim.team, claim.month), self.owner, claim.key, claim.target, state,
                int(maybe_sent),
            )
        ) == 1  # fmt: skip

    async def redo(self, team: str, month: str, key: str, target: str) -> bool:
        """Say again that a delivery was made, where Redis lost that; False where another has it by now."""
        return bool(await self._run(_FINISH, alert_key(team, month), self.owner, key, target, "delivered", 0))

    async def restore(self, team: str, month: str, fields: Mapping[str, str]) -> int:
        """Put back what Redis lost."""
        flat = [part for item in fields.items() for part in item]
        return int(await self._run(_RESTORE, alert_key(team, month), *flat))

    async def _run(self, script: LoadedScript, key: str, *args: Any) -> Any:
        return await self._guard(script.run(self._redis, key, *args))

    async def _guard(self, call: Awaitable[Any]) -> Any:
        return await answered("alerts", call, TIMEOUT_S)
