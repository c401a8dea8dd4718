"""One thing to tell, as data: written down once, when it happened, so that whoever delivers it says the same.

Amounts are nano-USD, times milliseconds since the epoch (UTC). Pure.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Literal

import orjson

from spendgate.values import dataclass

Kind = Literal["threshold", "exhausted", "recovered", "rebuilt", "drift", "digest", "anomaly", "limit"]
"""`threshold`: a percentage of the budget is spent. `exhausted`: the one that rejects. `recovered`: a raise
lifted an exhausted budget above its spend. `rebuilt`: the ledger was made anew from its records. `drift`: the
ledger and another book (Prometheus, an invoice) differ. `digest`: a week or a month in words. `anomaly`: a day far
above its weekday. `limit`: one value of a limit (a person, a run, …) reached a percentage of it."""


@dataclass(frozen=True, slots=True)
class Alert:
    """`key` is unique within team and month; `channels` are Slack's, from `notifyChannel`.

    `action` and `percent` are the threshold's. `exhausted_at_ms` None: not within this month at this pace.
    `cheaper_model` is where a downgrade leads ("": not one model alone). `detail` is the text of `rebuilt`, `drift`,
    `digest` and `anomaly`.
    """

    key: str
    kind: Kind
    team: str
    month: str
    at_ms: int
    percent: int = 0
    action: str = ""
    channels: tuple[str, ...] = ()
    settled_nanousd: int = 0
    reserved_nanousd: int = 0
    limit_nanousd: int = 0
    forecast_nanousd: int | None = None
    exhausted_at_ms: int | None = None
    top_apps: tuple[tuple[str, int], ...] = ()
    top_models: tuple[tuple[str, int], ...] = ()
    cheaper_model: str = ""
    audit: bool = False
    detail: str = ""
    was_limit_nanousd: int | None = None
    """What the budget was before the edit that brought it about; None: no edit did."""
    last_month_nanousd: int = 0
    """What was settled in the month before by the same day and time."""
    refused: int = 0
    """Requests of the month that were refused."""

    @property
    def id(self) -> str:
        """Names the alert among all: for receivers that drop what they saw before."""
        return f"{self.month}/{self.team}/{self.key}"

    def to_json(self) -> str:
        """As one line of JSON."""
        return orjson.dumps(asdict(self)).decode()

    @classmethod
    def from_json(cls, text: str | bytes) -> Alert:
        """Read what `to_json` wrote; unknown fields of a newer release are left out. Raises ValueError."""
        data: dict[str, Any] = orjson.loads(text)
        known = {name: data[name] for name in cls.__dataclass_fields__ if name in data}
        for name in ("channels", "top_apps", "top_models"):
            if name in known:
                known[name] = tuple(tuple(x) if isinstance(x, list) else x for x in known[name])
        try:
            return cls(**known)
        except TypeError as e:
            raise ValueError(f"not an alert: {e}") from e
