"""The last refusals of each team, for whoever asks why: a capped list `{team}refusals` in Redis.

They are a memory, not books: the count stands in the daily cells. An entry says who was refused, what, when
and why, and never a word of the request. Written at most once a second by each worker; the list keeps
`REFUSALS_MAX` of the newest for `KEPT_S`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, fields
from typing import Any

import orjson

from spendgate.ledger.accounts import RefusedRequest
from spendgate.ledger.redis.codec import clean, team_prefix

REFUSALS_MAX = 50
KEPT_S = 40 * 86_400


def refusals_key(team: str) -> str:
    """The list's key, in the team's slot."""
    return f"{team_prefix(team)}refusals"


def commands(refused: Iterable[RefusedRequest]) -> list[tuple[Any, ...]]:
    """What adds them: the newest ends up first."""
    by_team: dict[str, list[bytes]] = {}
    for r in refused:
        by_team.setdefault(r.team, []).append(orjson.dumps({k: _cut(v) for k, v in asdict(r).items()}))
    out: list[tuple[Any, ...]] = []
    for team, rows in by_team.items():
        key = refusals_key(team)
        out += [
            ("LPUSH", key, *rows[-REFUSALS_MAX:]),
            ("LTRIM", key, 0, REFUSALS_MAX - 1),
            ("EXPIRE", key, KEPT_S),
        ]
    return out


def read(rows: Iterable[bytes]) -> list[RefusedRequest]:
    """The newest first; what cannot be read, or was written by a later version with more fields, is read as
    far as it goes."""
    names = [f.name for f in fields(RefusedRequest)]
    out = []
    for row in rows:
        try:
            data = orjson.loads(row)
            out.append(RefusedRequest(**{n: data[n] for n in names if n in data}))
        except (orjson.JSONDecodeError, TypeError, KeyError):
            continue
    return out


def _cut(value: object) -> object:
    return clean(value) if isinstance(value, str) else value
