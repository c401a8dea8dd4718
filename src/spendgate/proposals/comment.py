"""What a changed policy would have done to logged traffic, as a comment for its pull request."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from spendgate.finops.simulation import render
from spendgate.finops.simulation.logged_request import LoggedRequest, demand_of
from spendgate.finops.simulation.simulate import simulate
from spendgate.gateway.process.reload import Sources
from spendgate.pricing.load import table
from spendgate.records.reader import UsageLogReader
from spendgate.settings.config import Settings


def commenter(logs: Sequence[Path]) -> Callable[[Sequence[Path]], str]:
    """A function from the policy's files to Markdown. Lines of the log that cannot be read are left out and
    counted in the comment. Raises ConfigurationError for a log that is not there."""

    def comment(policy: Sequence[Path]) -> str:
        snapshot = Sources(tuple(policy), (), Settings()).load()
        reader = UsageLogReader(tuple(logs), True)
        demands: list[LoggedRequest] = []
        refused = 0
        teams = set(snapshot.policy.teams)
        for record in reader.records():
            if record.team not in teams:
                continue
            demand = demand_of(record)
            if demand is None:
                refused += 1
            else:
                demands.append(demand)
        demands.sort(key=lambda d: d.at_ms)
        out = simulate(demands, snapshot, table(), reprice=False)
        context = render.Context(tuple(p.name for p in policy), tuple(p.name for p in logs), refused, False)
        text = render.to_markdown(out, context)
        left_out = f"\n{len(reader.faults)} lines of the log could not be read.\n" if reader.faults else ""
        return text + left_out

    return comment
