"""What one process knows of the alerts besides Redis: a copy of what it read and ended, also in a local file.

It mends what Redis loses, whole (an emptied server) or its last second (an append-only file after a crash):
what was told is not told again, and what was not told yet still is.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import orjson
import structlog

from spendgate.alerts.claims import Claim, Claims, Fields, is_told
from spendgate.errors import ConfigurationError
from spendgate.files import write_whole

log = structlog.get_logger()

FILE = "alerts.json"


class AlertMemory:
    """Fields by (month, team). `known` is whether there is a past at all."""

    def __init__(self, data_dir: Path | None = None) -> None:
        self._path = data_dir / FILE if data_dir else None
        self._teams: dict[tuple[str, str], Fields] = {}
        self._changed = False
        self.known = False
        if self._path is not None:
            self._load(self._path)

    def lost(self, month: str, team: str, fields: Fields) -> Fields:
        """What this process remembers and Redis lacks: whole crossings only, for Redis' own word on a crossing
        it knows is newer."""
        mine = self._teams.get((month, team), {})
        gone = {f for f in mine if "@" not in f and f not in fields}
        if not gone:
            return {}
        return {f: raw for f, raw in mine.items() if f.partition("@")[0] in gone}

    def undone(self, month: str, team: str, fields: Fields) -> list[tuple[str, str]]:
        """(crossing, target) that were ended here and that Redis has as not ended: its last second was lost."""
        out = []
        for field, raw in self._teams.get((month, team), {}).items():
            key, at, target = field.partition("@")
            now = fields.get(field)
            if at and now is not None and is_told(raw) and not is_told(now) and _order(raw) == _order(now):
                out.append((key, target))
        return out

    async def mend(self, claims: Claims, month: str, team: str, fields: Fields) -> bool:
        """Put right what Redis, which has `fields`, has lost; True where that is anything. Raises LedgerUnavailable."""
        lost = self.lost(month, team, fields)
        if lost:
            log.warning("alerts_restored", team=team, month=month, fields=len(lost))
            await claims.restore(team, month, lost)
        undone = self.undone(month, team, fields)
        for key, target in undone:
            await claims.redo(team, month, key, target)
        return bool(lost or undone)

    def note(self, month: str, team: str, fields: Fields) -> None:
        """Redis has this."""
        if fields != self._teams.get((month, team), {}):
            self._teams[month, team] = dict(fields)
            self._changed = True

    def ended(self, claim: Claim, state: str) -> None:
        """A delivery was ended here; the file knows it at once."""
        fields = self._teams.setdefault((claim.month, claim.team), {})
        record = {"s": state, "n": claim.order}
        fields[f"{claim.key}@{claim.target}"] = orjson.dumps(record).decode()
        self._changed = True
        if self._path is not None:
            try:
                self.save()
            except OSError as problem:
                log.error("alerts_file_failed", path=str(self._path), error=str(problem))

    def was_told(self, claim: Claim) -> bool:
        """Did this process end the delivery already, without Redis having heard of it?"""
        raw = self._teams.get((claim.month, claim.team), {}).get(f"{claim.key}@{claim.target}")
        return raw is not None and is_told(raw) and _order(raw) == claim.order

    def keep(self, months: Iterable[str]) -> None:
        """Forget other months."""
        wanted = set(months)
        for at in [at for at in self._teams if at[0] not in wanted]:
            del self._teams[at]
            self._changed = True

    def save(self) -> None:
        """Write the file, whole or not at all, where anything changed. Raises OSError."""
        self.known = True
        if self._path is None or not self._changed:
            return
        rows = [[month, team, fields] for (month, team), fields in self._teams.items()]
        write_whole(self._path, orjson.dumps({"version": 1, "teams": rows}))
        self._changed = False

    def _load(self, path: Path) -> None:
        try:
            data = orjson.loads(path.read_bytes())
            self._teams = {(m, t): {str(k): str(v) for k, v in f.items()} for m, t, f in data["teams"]}
            self.known = True
        except FileNotFoundError:
            return
        except (ValueError, KeyError, TypeError, AttributeError) as e:
            raise ConfigurationError(
                f"{path}: not what spendgate writes ({type(e).__name__}: {e}); take the file away, then alerts "
                "are told by what Redis knows"
            ) from e


def _order(raw: str) -> int:
    return int(orjson.loads(raw).get("n", 0))
