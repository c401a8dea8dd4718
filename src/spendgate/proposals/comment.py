"""A changed budget's story for its team, as a comment for the pull request: read from usage logs and the ledger."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from spendgate.budget.policy import TeamBudget
from spendgate.months import month_key
from spendgate.proposals.story import story, to_markdown
from spendgate.records.reader import UsageLogReader
from spendgate.records.record import UsageRecord

Settled = Callable[[str, str], tuple[int | None, int | None]]
"""What a team (first) has settled in a month (`YYYYMM`), and in the one before, nano-USD; None where no ledger tells,
or has no such month before."""


def commenter(logs: Sequence[Path], settled: Settled, now_ms: int) -> Callable[[TeamBudget, TeamBudget], str]:
    """A function from a team's budget before and after to Markdown. The month is the running one, or the last that the
    log has of the team. Lines of the log that cannot be read are left out and counted in the comment. Raises
    ConfigurationError for a log that is not there."""

    def comment(before: TeamBudget, after: TeamBudget) -> str:
        reader = UsageLogReader(tuple(logs), True)
        by_month: dict[str, list[UsageRecord]] = {}
        for record in reader.records():
            if record.team == after.team:
                by_month.setdefault(month_key(record.at_ms), []).append(record)
        running = month_key(now_ms)
        month = running if running in by_month or not by_month else max(by_month)
        this, last = settled(after.team, month)
        told = story(before, after, by_month.get(month, ()), month, this, now_ms, last)
        left_out = f"\n{len(reader.faults)} lines of the log could not be read.\n" if reader.faults else ""
        return to_markdown(told) + left_out

    return comment
