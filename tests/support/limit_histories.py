"""Random histories of two teams of one group, with limits of money, requests and tokens, periods of a zone and a rest
that is carried over: the real scripts against a model in plain Python that shares nothing with them.

Laws, each of which can fail (tests/integration/ledger/test_limit_histories.py plants the bugs):

bound     what is admitted fits every bound of team and group, what is refused fits not all; the first is named, with
          its numbers and whether only holds keep it out
requests  a request is counted once, when it is admitted, and held never
tokens    tokens are held and settled as money is
group     a group's account has what its teams have, in its own bounds
books     every true cost once, in the window of its reservation, nothing below zero
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import redis as sync_redis

from spendgate.budget.bounds import Bound, Candidate, Carry
from spendgate.budget.calendar import Calendar, periods
from spendgate.ledger.exchanges import GroupShare, ReserveRequest, Settlement, group_account
from spendgate.ledger.redis.codec import reserve_argument, reserve_result, settle_argument, team_prefix, text
from spendgate.months import month_key

START = 1_795_992_600_000
"""2026-11-29T22:50Z: ten minutes before Berlin's Monday, a day before its December."""
TEAMS, USERS, GROUP = ("red", "blue"), ("ann", "bob"), "dept"
BERLIN = Calendar("Europe/Berlin")
ACCOUNTS = (*TEAMS, GROUP)
LAWS = ("bound", "requests", "tokens", "group", "books")
HOUR_MS, DAY_MS = 3_600_000, 86_400_000
LAST_MONTH = "202610"


class LawBroken(AssertionError):
    """`law` is one of those above."""

    def __init__(self, law: str, detail: object) -> None:
        super().__init__(f"{law}: {detail}")
        self.law = law


@dataclass(frozen=True)
class Rules:
    """The policy of one history."""

    month: int
    overshoot: int
    rollover: int
    user_requests: int
    team_tokens: int
    user_usd: int
    group: int
    group_requests: int

    @classmethod
    def drawn(cls, dice: random.Random) -> Rules:
        return cls(
            month=dice.choice([60, 120, 200]),
            overshoot=dice.choice([0, 5, 50]),
            rollover=dice.choice([0, 0, 30, 100]),
            user_requests=dice.choice([1, 3, 9]),
            team_tokens=dice.choice([40, 90, 400]),
            user_usd=dice.choice([30, 80, 500]),
            group=dice.choice([50, 150, 400]),
            group_requests=dice.choice([4, 50]),
        )

    def bounds(self, user: str, told_ms: int) -> tuple[Bound, ...]:
        def usd(scope: str, window: str, floor: int, **more: Any) -> Bound:
            return Bound(scope, window, floor, floor + floor * self.overshoot // 100, "r", **more)

        def limit(per: str, unit: str, window: str, most: int, value: str, group: str = "") -> Bound:
            base = f"limit:{unit}:{per}:{window}::"
            ceiling = most + most * self.overshoot // 100 if unit == "usd" else most
            return Bound(
                base + value, window, most, ceiling, "limit_exceeded", unit=unit,  # type: ignore[arg-type]
                group=group, periods=periods(window, BERLIN, told_ms), values_of=base if value in USERS else "",
            )  # fmt: skip

        share = self.month * self.rollover // 100
        carry = Carry(self.month, share, 10_000, 10_000 + 100 * self.overshoot) if self.rollover else None
        return (
            usd("month", "month", self.month, carry=carry),
            limit("user", "requests", "day", self.user_requests, user),
            limit("team", "tokens", "week", self.team_tokens, "it"),
            limit("user", "usd", "total", self.user_usd, user),
            usd("month", "month", self.group, group=GROUP),
            limit("user", "requests", "week", self.group_requests, user, GROUP),
        )


def window_of(scope: str, at_ms: int) -> str:
    """The window's name, worked out anew: Berlin is UTC+1 all through these histories."""
    if ":day:" in scope or ":week:" in scope:
        local = at_ms + HOUR_MS
        day = local // DAY_MS
        if ":week:" in scope:
            day -= (day + 3) % 7  # 1970-01-01 was a Thursday
        length = 7 if ":week:" in scope else 1
        start = (day * DAY_MS - HOUR_MS) // 1000
        return f"{start}-{start + length * 86_400}"
    return "total" if ":total:" in scope else "month"


def counter(scope: str, at_ms: int) -> str:
    window = window_of(scope, at_ms)
    key = {"month": month_key(at_ms), "total": "-"}.get(window, window.partition("-")[0])
    return f"{scope}:{key}"


@dataclass
class Held:
    team: str
    at: int
    due: int
    usd: int
    tokens: int
    places: list[tuple[str, str]]
    """(account, counter)"""
    swept: set[str] = field(default_factory=set)
    """Accounts in which it expired."""

    def part(self, name: str) -> int:
        return self.tokens if name.startswith("limit:tokens") else 0 if is_requests(name) else self.usd


def is_requests(name: str) -> bool:
    return name.startswith("limit:requests")


@dataclass
class Model:
    """What the books must say."""

    settled: Counter[tuple[str, str]] = field(default_factory=Counter)
    reserved: Counter[tuple[str, str]] = field(default_factory=Counter)
    holds: dict[str, Held] = field(default_factory=dict)
    expired: dict[str, Held] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)

    def sweep(self, accounts: tuple[str, ...], now: int) -> None:
        """Each account by itself: the team's part and the group's expire when somebody looks there."""
        for i, hold in list(self.holds.items()):
            if hold.due > now:
                continue
            for place in hold.places:
                if place[0] in accounts and place[0] not in hold.swept:
                    self.reserved[place] -= hold.part(place[1])
                    self.settled[place] += hold.part(place[1])
            hold.swept.update(accounts)
            if hold.swept >= {a for a, _ in hold.places}:
                self.expired[i] = self.holds.pop(i)

    def settle(self, i: str, cost: int, tokens: int, release: bool) -> None:
        """In each account what is held ends, and what expired is corrected; a clock that was set back leaves both."""
        was = self.holds.pop(i, None) or self.expired.pop(i)
        for place in was.places:
            name = place[1]
            true = tokens if name.startswith("limit:tokens") else 0 if is_requests(name) else cost
            true = 0 if release else true
            if place[0] in was.swept:
                self.settled[place] += true - was.part(name)
            else:
                self.reserved[place] -= was.part(name)
                self.settled[place] += true
        self.ended.add(i)


class History:
    """One of them."""

    def __init__(self, client: sync_redis.Redis, shas: Mapping[str, str], seed: int) -> None:
        self.client, self.shas, self.dice = client, shas, random.Random(seed)
        client.flushall()
        self.model, self.now, self.names = Model(), START, 0
        self.rules = Rules.drawn(self.dice)
        self.rest: dict[str, int] = {}
        for team in TEAMS:  # what October settled, or nothing is known of it
            if self.dice.random() < 0.7:
                spent = self.dice.choice([0, self.rules.month // 2, self.rules.month * 2])
                client.hset(f"{team_prefix(team)}b:month:{LAST_MONTH}", mapping={"s": spent})
                self.rest[team] = spent
                self.model.settled[team, f"month:{LAST_MONTH}"] = spent

    def run(self, steps: int) -> None:
        for _ in range(steps):
            self.dice.choice([self.reserve, self.reserve, self.reserve, self.settle, self.settle, self.expire,
                              self.replay, self.time])()  # fmt: skip
            self.books()

    def time(self) -> None:
        self.now += self.dice.choice([1_000, 1_000, 15 * 60_000, 7 * HOUR_MS, -60_000])

    def eval(self, verb: str, accounts: tuple[str, ...], *arguments: Any) -> Any:
        keys = [team_prefix(group_account(a) if a == GROUP else a) + "holds" for a in accounts]
        return self.client.evalsha(self.shas[verb], len(keys), *keys, *arguments)

    def reserve(self) -> None:
        dice, model = self.dice, self.model
        team, user = dice.choice(TEAMS), dice.choice(USERS)
        estimate, tokens = dice.choice([0, 10, 30, 50]), dice.choice([0, 10, 40])
        self.names += 1
        name = f"x{self.names}"
        told_ms = self.now + dice.choice([0, 0, -HOUR_MS, HOUR_MS])  # a gateway's clock is not Redis'
        bounds = self.rules.bounds(user, told_ms)
        ttl = dice.choice([2_000, 10 * HOUR_MS])
        request = ReserveRequest(name, team, "app", ttl, (Candidate("m", estimate, bounds, tokens=tokens),))
        model.sweep((team, GROUP), self.now)
        reply = self.eval("reserve", (team, GROUP), reserve_argument(request, self.now))
        result = reserve_result(request, reply)
        expected = self._judged(team, bounds, estimate, tokens)
        named = [(bounds.index(replace(r.bound, floor_nanousd=b.floor_nanousd, ceiling_nanousd=b.ceiling_nanousd)),
                  r.settled_nanousd, r.reserved_nanousd, r.held)
                 for r in result.refusals for b in bounds if b.key == r.bound.key]  # fmt: skip
        check("bound", named == expected, (named, expected, self.rules, request))
        check("bound", (result.candidate < 0) == bool(expected), (result, expected))
        if expected:
            return
        places = [(b.group or team, counter(b.scope, self.now)) for b in bounds]
        hold = model.holds[name] = Held(team, self.now, self.now + ttl, estimate, tokens, places)
        for place in places:
            if is_requests(place[1]):
                model.settled[place] += 1
            else:
                model.reserved[place] += hold.part(place[1])

    def _judged(
        self, team: str, bounds: tuple[Bound, ...], estimate: int, tokens: int
    ) -> list[tuple[int, int, int, bool]]:
        """The refusal that is due; none where it fits."""
        refusing, final = None, None
        for j, b in enumerate(bounds):
            place = (b.group or team, counter(b.scope, self.now))
            need = {"usd": estimate, "tokens": tokens, "requests": 1}[b.unit]
            floor, ceiling = b.floor_nanousd, b.ceiling_nanousd
            if b.carry is not None:
                last = self._last_month(team)
                more = 0 if last is None else min(max(self.rules.month - last, 0), b.carry.most_nanousd)
                floor, ceiling = floor + more, ceiling + more * (100 + self.rules.overshoot) // 100
            spent, held = self.model.settled[place], self.model.reserved[place]
            if spent + held >= floor or spent + held + need > ceiling:
                refusing = refusing or (j, spent, held)
                if spent >= floor or spent + need > ceiling:
                    final = final or (j, spent, held)
        chosen = final or refusing
        return [] if chosen is None else [(*chosen, final is None)]

    def _last_month(self, team: str) -> int | None:
        if month_key(self.now) == "202611":
            return self.rest.get(team)
        name = (team, "month:202611")
        known = self.client.exists(f"{team_prefix(team)}b:month:202611")
        return self.model.settled[name] if known else None

    def settle(self) -> None:
        model = self.model
        known = [*model.holds, *model.expired]
        if not known:
            return
        name = self.dice.choice(known)
        hold = model.holds.get(name) or model.expired[name]
        release = self.dice.random() < 0.2
        cost, tokens = self.dice.choice([0, 5, 30, 60]), self.dice.choice([0, 7, 40])
        self.expire()
        self._send(name, hold, cost, tokens, release)
        model.settle(name, cost, tokens, release)

    def _send(self, name: str, hold: Held, cost: int, tokens: int, release: bool) -> list[str]:
        share = GroupShare(GROUP, ())
        s = Settlement(
            name, hold.team, "app", "m", cost, {}, hold.at, release, groups=(share,), tokens=tokens
        )
        words = []
        for account, one in ((hold.team, s), (GROUP, s.of_group(share, group_account(GROUP)))):
            words.append(text(self.eval("settle", (account,), self.now, settle_argument(one))[0]))
        self.last = (name, hold)
        return words

    def replay(self) -> None:
        """What ended changes nothing, whatever comes again."""
        last = getattr(self, "last", None)
        if last is not None and last[0] in self.model.ended:
            name, hold = last
            words = self._send(name, hold, 50, 50, False)
            check("books", set(words) == {"replayed"}, words)

    def expire(self) -> None:
        for account in ACCOUNTS:
            self.eval("expire", (account,), self.now, 100)
        self.model.sweep(ACCOUNTS, self.now)

    def books(self) -> None:
        """Every counter of every account is what the model says."""
        for account in ACCOUNTS:
            prefix = team_prefix(group_account(account) if account == GROUP else account)
            for value, expected in (("s", self.model.settled), ("r", self.model.reserved)):
                found = {
                    text(k).removeprefix(prefix + "b:"): int(n)
                    for k in self.client.keys(prefix.replace("[", r"\[") + "b:*")
                    if (n := self.client.hget(k, value)) and int(n)
                }
                wanted = {name: n for (a, name), n in expected.items() if a == account and n}
                if found != wanted:
                    odd = next(n for n in {**found, **wanted} if found.get(n) != wanted.get(n))
                    law = "requests" if is_requests(odd) else "tokens" if "limit:tokens" in odd else "books"
                    law = "group" if account == GROUP and law == "books" else law
                    raise LawBroken(law, (account, value, odd, found.get(odd), wanted.get(odd)))


def check(law: str, holds: bool, detail: object) -> None:
    if not holds:
        raise LawBroken(law, detail)


def run_limit_histories(
    client: sync_redis.Redis, lua_files: Mapping[str, str], seeds: range, steps: int = 25
) -> None:
    """Run them. Raises LawBroken for the first that breaks a law, with its seed."""
    shas = {
        verb: client.script_load(lua_files["common"] + lua_files[verb])
        for verb in ("reserve", "settle", "expire")
    }
    for seed in seeds:
        try:
            History(client, shas, seed).run(steps)
        except LawBroken as broken:
            raise LawBroken(broken.law, (seed, *broken.args)) from broken
