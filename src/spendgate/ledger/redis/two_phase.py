"""A reservation in several accounts that stand on several nodes of a cluster: all of them, or none.

First the groups, one after the other, then the team; what was held is taken back where a later one refuses. One
candidate is tried after the other, so that all accounts hold the same one. Who dies in between leaves holds of groups:
they expire as every hold does and charge the group the estimate, so that nothing is spent unseen. Where another
request's holds, about to be taken back, keep one out, the refusal says that only holds do, and it may be tried again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

from spendgate.budget.bounds import UNLIMITED, Candidate
from spendgate.ledger.exchanges import Expired, Loop, Refusal, ReserveRequest, ReserveResult, group_account

ReserveOne = Callable[[ReserveRequest, bool], Awaitable[ReserveResult]]
"""Reserves in one account alone; True: in the place of what is held there under the id."""


async def reserve(one: ReserveOne, request: ReserveRequest) -> ReserveResult:
    """Reserve the first candidate that fits everywhere. Raises LedgerUnavailable; what is held then is to be voided."""
    return await _TwoPhase(one, request).run()


class _TwoPhase:
    def __init__(self, one: ReserveOne, request: ReserveRequest) -> None:
        self._one = one
        self._request = request
        self._held: list[str] = []
        """Groups that hold something."""
        self._refusals: list[Refusal] = []
        self._in_flight: tuple[tuple[int, int], ...] = ()
        self._expired: list[Expired] = []
        self._closed: set[int] = set()
        """Candidates whose window is not open."""
        self._carried: dict[str, int] = {}
        self._loop: Loop | None = None

    async def run(self) -> ReserveResult:
        candidates = self._request.candidates
        for index, candidate in enumerate(candidates):
            result = await self._attempt(index, replace(candidate, clamp=None), first=True)
            if result is not None:
                return result
        for index, candidate in enumerate(candidates):  # nothing fits whole: does a useful part?
            if candidate.clamp is not None and index not in self._closed:
                result = await self._attempt(index, candidate, first=False)
                if result is not None:
                    return result
        for group in self._held:
            await self._in(group, (), again=True)
        month = await self._in("", (), again=True)
        return replace(
            month,
            refusals=tuple(self._refusals),
            expired=(*self._expired, *month.expired),
            in_flight=self._in_flight,
            loop=self._loop,
        )

    async def _attempt(self, index: int, candidate: Candidate, *, first: bool) -> ReserveResult | None:
        """One candidate everywhere; None where an account refuses it."""
        found: dict[str, ReserveResult] = {}
        cap: int | None = None
        for group in (*self._request.groups, ""):
            if not group or any(b.group == group for b in candidate.bounds):
                part = (_within(candidate, group),)
                result = await self._in(group, part, again=group in self._held, index=index)
                if not group and result.replayed and (result.candidate != index or result.has_ended):
                    return result  # the answer of an earlier reservation; of this one, sent twice, it is the answer
                if result.candidate < 0:
                    if group in self._held:
                        self._held.remove(group)
                    self._refused(index, group, result, first)
                    return None
                if group and group not in self._held:
                    self._held.append(group)
                found[group] = result
                cap = result.output_cap if result.output_cap is not None else cap
                if result.held_nanousd < candidate.estimate_nanousd:  # clamped, or learned
                    candidate = replace(candidate, estimate_nanousd=result.held_nanousd)
        for group, result in found.items():  # a later account left less room: no more is held than is used
            if result.held_nanousd > candidate.estimate_nanousd:
                less = replace(_within(candidate, group), clamp=None, learned=None)
                found[group] = await self._in(group, (less,), again=True, index=index)
        return self._whole(index, candidate, found, cap)

    def _whole(
        self, index: int, candidate: Candidate, found: dict[str, ReserveResult], cap: int | None
    ) -> ReserveResult:
        counters = {group: iter(result.counters) for group, result in found.items()}
        return replace(
            found[""],
            candidate=index,
            output_cap=cap,
            refusals=tuple(self._refusals),
            expired=tuple(self._expired),
            counters=tuple(next(counters[b.group]) for b in candidate.bounds),
            carried_nanousd=tuple(self._carried.get(g, 0) for g in ("", *self._request.groups))
            if self._carried
            else (),
        )

    def _refused(self, index: int, group: str, result: ReserveResult, first: bool) -> None:
        self._loop = result.loop or self._loop
        if not result.refusals:
            self._closed.add(index)
        if not first:
            return
        for refusal in result.refusals:
            bound = replace(refusal.bound, group=group)
            self._refusals.append(replace(refusal, candidate=index, bound=bound))
            if refusal.held:
                self._in_flight = result.in_flight

    async def _in(
        self, group: str, candidates: tuple[Candidate, ...], again: bool, index: int = 0
    ) -> ReserveResult:
        """Ask one account; `index` is the first candidate's number."""
        whole = self._request
        team, app = (group_account(group), whole.team) if group else (whole.team, whole.app)
        asked = replace(
            whole,
            team=team,
            app=app,
            candidates=candidates,
            repeats=None if group else whole.repeats,
            first_candidate=index,
        )
        result = await self._one(asked, again)
        if not group:
            self._expired += result.expired
        if result.carried_nanousd:
            self._carried[group] = result.carried_nanousd[0]
        return result


def _within(candidate: Candidate, group: str) -> Candidate:
    """What an account sees of a candidate: its own bounds; its window is the team's."""
    bounds = tuple(replace(b, group="") for b in candidate.bounds if b.group == group)
    if not group:
        return replace(candidate, bounds=bounds)
    return replace(
        candidate,
        bounds=bounds,
        used_from_nanousd=0,
        used_below_nanousd=UNLIMITED,
        own_nanousd=0,
        carry_parts=0,
    )
