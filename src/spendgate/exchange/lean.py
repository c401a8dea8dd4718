"""Whose answer may go by unseen (lean mode), since Envoy's access log will tell what it cost. Pure.

Only what Envoy's filters read whole, and where nobody waits for what a look at the answer gives: all else is looked at
as ever. It is asked twice, before the hold, which then waits for the log's entry, and of what is sent in the end.
"""

from __future__ import annotations

from spendgate.dialects.base import RequestFacts
from spendgate.dialects.response.told_cost import TELLERS
from spendgate.exchange.context import ExchangeContext
from spendgate.exchange.events import UNREADABLE
from spendgate.exchange.untold_cost import can_hide


def may_go_unseen(case: ExchangeContext, facts: RequestFacts, sent: str) -> bool:
    """May the answer to this request, sent to this model, go by unseen? `facts`: as it was read; a usage that would
    have to be asked for on the client's behalf would have to be taken out again."""
    dialect = case.dialect
    if dialect is None or case.fail_open or ("sse" if facts.stream else "json") not in case.lean:
        return False
    if not dialect.logged or _bills_otherwise(facts) or dialect.may_be_large(facts):
        return False
    if case.require_model or UNREADABLE in facts.flags or _policy_looks(case):
        return False
    terms = case.snapshot.terms(sent, case.address, case.at_ms or None)
    if terms.provider in TELLERS or case.snapshot.prices.find(sent, terms) is None:
        return False
    if not facts.stream or dialect.usage_closes:
        return True
    # such a usage may be one of several; of a stream that breaks off it then tells what was seen, not what was made
    return not (facts.usage_hidden or facts.body_fixed or can_hide(facts, sent))


def _bills_otherwise(facts: RequestFacts) -> bool:
    """May more be billed than the numbers of a usage outside of lists, or by another model than one?"""
    return bool(
        facts.fee_kinds
        or facts.fee_nanousd
        or facts.tool_input_tokens
        or facts.turns > 1
        or facts.tools
        or facts.answers
        or facts.fallbacks
        or facts.other_models
        or facts.routed
        or facts.known_usage
        or facts.batch
        or facts.free
        or "cache_write_12h" in facts.cache_writes
    )


def _policy_looks(case: ExchangeContext) -> bool:
    """Does the team's budget look at answers: to end streams that outrun their money, or to learn holds?"""
    budget = case.snapshot.policy.budget(case.identity.team)
    return budget is not None and (budget.cut_streams or budget.holds_learned)
