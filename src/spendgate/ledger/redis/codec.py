"""What goes to the ledger's scripts and what comes back: pure, no connection.

Names (teams, apps, models, scopes) come from clients: control characters (they separate fields in the
store) and lone surrogates (not UTF-8) are replaced, and long ones are cut, with a hash that keeps them apart.
"""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from itertools import count
from typing import Any
from urllib.parse import quote

import orjson
from redis.crc import key_slot

from spendgate.budget.bounds import UNLIMITED, Bound, Candidate
from spendgate.errors import LedgerError
from spendgate.ledger.accounts import Adjusted, Adjustment, AdjustResult
from spendgate.ledger.exchanges import (
    Expired,
    Growing,
    Loop,
    Refusal,
    ReserveRequest,
    ReserveResult,
    Settlement,
    is_group,
)
from spendgate.money import LEDGER_MAX_NANOUSD

POLICY_CHANNEL = "sg1:policy"
"""Where a new policy is announced."""
PREFIX = "sg1:"
TEAMS_KEY = "sg1:teams"
GROUPS_KEY = "sg1:groups"
EPOCH_KEY = "sg1:epoch"
SEP = "\x1f"
EXCHANGES, COST, SAVED, REFUSED, ADJUSTED, OFF_LIST, MARKUP = "#", "$", "+", "!", "~", "=", "^"
"""Fields of a day's cell beside the kinds of tokens."""
NAME_MAX = 200
"""Characters of a name that are kept."""
TEAMS_KNOWN = 4096
"""So many teams' keys are remembered."""
_UNSAFE = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")


BEAT_PARTS = 16
"""In so many equal parts of a cluster's slots processes leave beats: every master with more than 2,048 slots in a
row has one, so that its loss is noticed."""


def beat_keys() -> tuple[str, ...]:
    """One key for each part of the slots."""
    found: dict[int, str] = {}
    for n in count():
        key = f"sg1:beat:{{{n}}}"
        found.setdefault(key_slot(key.encode()) * BEAT_PARTS // 16384, key)
        if len(found) == BEAT_PARTS:
            break
    return tuple(found[part] for part in sorted(found))


def clean(name: str) -> str:
    """A name as the ledger stores it; most are returned as they are. Cleaning twice changes nothing more."""
    if len(name) <= NAME_MAX and name.isprintable():  # what is unsafe is not
        return name
    if len(name) > NAME_MAX:
        digest = hashlib.sha1(name.encode(errors="replace"), usedforsecurity=False).hexdigest()
        name = f"{name[: NAME_MAX - 13]}~{digest[:12]}"
    return _UNSAFE.sub("?", name)


def clean_text(words: str) -> str:
    """Free text as the ledger stores it: as long as it is, without what breaks a line or is not UTF-8."""
    return _UNSAFE.sub(" ", words)


def text(value: Any) -> str:
    """A reply of Redis as text."""
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


@lru_cache(maxsize=TEAMS_KNOWN)
def team_prefix(team: str) -> str:
    """The prefix of every key of a team, its hash tag included.

    Percent-encoded, so that a brace in a name cannot move its keys to another slot; an empty name becomes
    `%`, which nothing encodes to (Redis Cluster ignores an empty tag).
    """
    if is_group(team):  # quote never makes `%g`
        return f"{PREFIX}{{%g:{quote(clean(team[1:]), safe='')}}}:"
    return f"{PREFIX}{{{quote(clean(team), safe='') or '%'}}}:"


@lru_cache(maxsize=TEAMS_KNOWN)
def holds_key(team: str) -> str:
    """The key that names a team to every script."""
    return f"{team_prefix(team)}holds"


def reserve_argument(request: ReserveRequest, now_ms: int, again: bool = False) -> bytes:
    """Write a reservation as `reserve.lua` reads it; `again`: in the place of what is held under its id. Raises
    LedgerError for an amount out of range."""
    groups = request.groups
    accounts = {name: n for n, name in enumerate(groups, 2)} if groups else {}
    carries = False
    windows: dict[tuple[int, ...], int] = {}
    candidates = []
    for c in request.candidates:
        if not 0 <= c.estimate_nanousd <= LEDGER_MAX_NANOUSD:
            raise LedgerError(
                f"reservation {request.exchange_id}: the estimate {c.estimate_nanousd} for {c.model} is not "
                f"within 0 and {LEDGER_MAX_NANOUSD} nano-USD"
            )
        row = _candidate(c, accounts, windows)
        carries = carries or "cp" in row
        candidates.append(row)
    whole: dict[str, object] = {
        "id": request.exchange_id,
        "app": clean(request.app),
        "ttl": request.ttl_ms,
        "now": now_ms,
        "c": candidates,
    }
    if windows:
        whole["w"] = list(windows)
    if request.repeats is not None:
        r = request.repeats
        whole["r"] = [r.digest, r.max, r.window_ms, int(r.refuses)]
    if request.first_candidate:
        whole["i"] = request.first_candidate
    if accounts:
        whole["team"] = clean(request.team)
    if carries:
        whole["ro"] = True
    if again:
        whole["again"] = True
    return orjson.dumps(whole)


def _candidate(
    c: Candidate, accounts: dict[str, int], windows: dict[tuple[int, ...], int]
) -> dict[str, object]:
    """One that may serve it; with `cp` where a bound of it carries over. A window that the ledger does not know is a
    number in `windows`, from 1, which gets it."""
    start, below = c.used_from_nanousd, c.used_below_nanousd
    bounds: list[list[object]] = []
    carries = False
    for b in c.bounds:
        bound = [clean(b.scope), b.window, b.floor_nanousd, b.ceiling_nanousd]
        bounds.append(bound)
        if b.periods:
            bound[1] = windows.setdefault(b.periods, len(windows) + 1)
        if b.group or b.values_of or b.carry:
            bound.append(_more(b, accounts))
            carries = carries or b.carry is not None
    row: dict[str, object] = {
        "m": clean(c.model),
        "e": c.estimate_nanousd,
        "f": max(start - c.own_nanousd, 0) if start else 0,
        "b": max(below - c.own_nanousd, 0) if below >= 0 else UNLIMITED,
        "l": bounds,
    }
    if c.tokens:
        row["t"] = c.tokens
    if c.clamp is not None:
        k = c.clamp
        row["k"] = [k.fixed_nanousd, k.output_picousd_per_token, k.output_tokens_min]
    if c.learned is not None:
        h = c.learned
        row["h"] = [
            h.fees_nanousd,
            h.input_min_nanousd,
            h.input_nanousd,
            h.output_nanousd,
            h.percentile,
            h.samples,
        ]
    if carries:
        own = {"cp": c.carry_parts, "f": c.used_from_nanousd, "b": c.used_below_nanousd, "o": c.own_nanousd}
        row |= own
    return row


def _more(b: Bound, accounts: dict[str, int]) -> dict[str, object]:
    """What few bounds have."""
    more: dict[str, object] = {}
    if b.group:
        more["g"] = accounts[b.group]
    if b.values_of:
        more["x"] = clean(b.values_of)
    if b.carry is not None and b.floor_nanousd >= 0:
        k = b.carry
        more["p"] = [k.budget_nanousd, k.most_nanousd, k.floor_parts, k.ceiling_parts]
    return more


def settle_argument(s: Settlement) -> bytes:
    """Write a settlement as `settle.lua` reads it."""
    counts = s.usage
    if s.saved_nanousd or s.refused or s.off_list_nanousd or s.markup_nanousd:
        counts = {
            **s.usage,
            SAVED: s.saved_nanousd,
            REFUSED: s.refused,
            OFF_LIST: s.off_list_nanousd,
            MARKUP: s.markup_nanousd,
        }
    row: dict[str, object] = {
        "id": s.exchange_id,
        "app": clean(s.app),
        "m": clean(s.model),
        "e": s.cost_nanousd,
        "u": counts,
        "t": s.at_ms,
        "x": s.release,
        "s": [(clean(scope), window) for scope, window in s.scopes],
    }
    if s.unspent:
        row["n"] = [clean(scope) for scope in s.unspent]
    if s.sample is not None:
        row["l"] = s.sample
    if s.refused:
        row["q"] = 0
    if s.tokens is not None:
        row["g"] = s.tokens
    if s.acknowledged_us or s.counted_us:
        row["k"] = [s.acknowledged_us, s.counted_us]
    return orjson.dumps(row)


def adjust_argument(a: Adjustment, now_ms: int) -> bytes:
    """Write an adjustment as `adjust.lua` reads it."""
    return orjson.dumps(
        {
            "id": a.adjustment_id,
            "app": clean(a.app),
            "m": clean(a.model),
            "e": str(a.cost_nanousd),
            "u": a.usage,
            "q": a.requests,
            "d": a.day,
            "s": [clean(scope) for scope in a.scopes],
            "r": clean_text(a.reason),
            "by": clean(a.by),
            "now": now_ms,
        }
    )


def adjust_result(reply: list[Any]) -> AdjustResult:
    """Read the reply of `adjust.lua`."""
    word, day, settled, detail = (text(x) for x in reply)
    return AdjustResult(word, day, int(settled), detail)  # type: ignore[arg-type]  # the script's own words


def adjusted(team: str, fields: dict[Any, Any]) -> list[Adjusted]:
    """Read a team's audit, oldest first."""
    out = []
    for adjustment_id, raw in fields.items():
        r = orjson.loads(raw)
        made = Adjustment(
            text(adjustment_id), team, int(r["e"]), r["r"], r["by"], r["app"], r["m"], r["d"],
            {kind: int(n) for kind, n in r["u"].items()}, int(r["q"]), tuple(r["s"]),
        )  # fmt: skip
        out.append(Adjusted(made, r["b"], int(r["t"]), int(r["n"])))
    return sorted(out, key=lambda x: (x.at_ms, x.adjustment.adjustment_id))


def expired_rows(team: str, rows: list[Any]) -> tuple[Expired, ...]:
    """Read the holds that a script expired."""
    return tuple(Expired(text(i), team, text(a), text(m), int(e), int(t)) for i, a, m, e, t in rows)


def reserve_result(request: ReserveRequest, reply: Any) -> ReserveResult:
    """Read the reply of `reserve.lua`. A refusal's bound is as it was when it refused: raised by what was carried."""
    if not isinstance(reply, list):
        return _held_at_once(request, reply)
    (
        candidate,
        held,
        cap,
        settled,
        reserved,
        now,
        replayed,
        refusals,
        expired,
        counters,
        in_flight,
        worst,
        loop,
        more,
    ) = reply
    carried = tuple(map(int, more)) if more else ()

    def bound_of(candidate: int, index: int) -> Bound:
        bound = request.candidates[candidate].bounds[index]
        if not carried or bound.carry is None:
            return bound
        return bound.raised(carried[1 + request.groups.index(bound.group) if bound.group else 0])

    named = [
        Refusal(int(c), bound_of(int(c), int(b)), int(s), int(r), only_held == 1, int(asked))
        for c, b, s, r, only_held, asked in refusals
    ]
    return ReserveResult(
        candidate=int(candidate),
        held_nanousd=int(held),
        output_cap=int(cap) if int(cap) >= 0 else None,
        settled_nanousd=int(settled),
        reserved_nanousd=int(reserved),
        at_ms=int(now),
        refusals=tuple(named),
        replayed=bool(int(replayed)),
        expired=expired_rows(request.team, expired) if expired else (),
        counters=_pairs(counters),
        in_flight=_pairs(list(map(int, in_flight.split()))) if in_flight else (),
        worst_nanousd=int(worst) if int(worst) > int(held) else 0,
        loop=Loop(int(loop[0]), int(loop[1])) if loop else None,
        carried_nanousd=carried,
    )


def _pairs(flat: list[int]) -> tuple[tuple[int, int], ...]:
    return tuple(zip(flat[::2], flat[1::2], strict=True))


def _held_at_once(request: ReserveRequest, reply: str | bytes) -> ReserveResult:
    """The reply of the short way: the first candidate is held whole."""
    now, settled, reserved, *others = map(int, reply.split())
    month = (settled, reserved)
    return ReserveResult(
        request.first_candidate,
        request.candidates[0].estimate_nanousd,
        None,
        settled,
        reserved,
        now,
        counters=(month, *_pairs(others)) if others else (month,),
    )


def grow_argument(g: Growing) -> bytes:
    """Write a stream as `renew.lua` reads it."""
    return orjson.dumps([g.exchange_id, g.flowed_nanousd, g.wanted_nanousd, g.ceilings])
