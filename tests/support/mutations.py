"""Bugs to plant into the ledger's scripts, each with the laws that it breaks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Mutation:
    """In `file`, `old` (which stands there exactly once) becomes `new`; some history then breaks one of `laws`."""

    name: str
    file: str
    old: str
    new: str
    laws: tuple[str, ...]
    rare: bool = False
    """It takes many histories to meet; looked for by `make histories` only."""

    def applied(self, sources: Mapping[str, str]) -> dict[str, str]:
        """The sources with the bug. Fails where the text is not as it was: then look at this list again."""
        found = sources[self.file].count(self.old)
        assert found == 1, f"{self.name}: {self.old!r} stands {found} times in {self.file}.lua"
        return {**sources, self.file: sources[self.file].replace(self.old, self.new)}


MUTATIONS = (
    Mutation(
        "the floor admits at the limit itself", "reserve",
        "committed >= bound[3] or", "committed > bound[3] or", ("bound", "told"),
    ),
    Mutation(
        "the estimate is not added to the ceiling's check", "reserve",
        "committed + need > bound[4]", "committed > bound[4]", ("bound",),
    ),
    Mutation(
        "the bounds of pattern, app and run are not looked at", "reserve",
        "    if bound[3] >= 0 then\n      local v, need", "    if bound[3] >= 0 and j < 4 then\n      local v, need",
        ("bound",), rare=True,
    ),
    Mutation(
        "holds do not count against a bound", "common",
        "tonumber(v[2] or '0'), not", "0, not",
        ("bound", "books"),
    ),
    Mutation(
        "a closed window is tried all the same", "reserve",
        "if month[1] >= c.f and (c.b < 0 or month[1] < c.b) then", "if true then", ("bound", "told"), rare=True,
    ),
    Mutation(
        "what others hold opens a window", "reserve",
        "if month[1] >= c.f and (c.b < 0 or month[1] < c.b) then",
        "if month[1] + month[2] >= c.f and (c.b < 0 or month[1] + month[2] < c.b) then", ("bound", "told", "books"),
        rare=True,
    ),
    Mutation(
        "what only holds refuse is called final", "reserve",
        "if not final and (v[1] >= bound[3] or v[1] + need > bound[4]) then final = j end", "final = final or j",
        ("told",),
    ),
    Mutation(
        "what is spent is called held", "reserve",
        "then return final, 0 end", "then return final, 1 end", ("told",),
    ),
    Mutation(
        "an estimate that alone is too large is called held", "reserve",
        "(v[1] >= bound[3] or v[1] + need > bound[4]) then final", "v[1] >= bound[3] then final", ("told",),
    ),
    Mutation(
        "a part that fits when holds end is not seen", "reserve",
        "not (c.k and part_of(c, places, 0))", "true", ("told",), rare=True,
    ),
    Mutation(
        "a refusal shows the holds of every counter", "reserve",
        "if c[1] == p[1] then", "if true then", ("told",), rare=True,
    ),
    Mutation(
        "what is admitted is told how its bounds stood without it", "reserve",
        "v[1] + settles, v[2] + holds\n", "v[1] + settles, v[2]\n", ("told",),
    ),
    Mutation(
        "the second candidate is never tried", "reserve",
        "    if only_held == 1 then waits_at = p end\n", "    do break end\n", ("bound", "told", "books"),
    ),
    Mutation(
        "a clamped hold takes more than is left", "reserve",
        "return tokens, math.min(room, c.k[1]", "return tokens, 1 + math.max(room, c.k[1]",
        ("bound", "books"), rare=True,
    ),
    Mutation(
        "a reservation holds nothing", "reserve",
        "else\n    move(p[1], p[2], settles, holds)", "else\n    move(p[1], p[2], settles, 0)", ("bound", "holds"),
    ),
    Mutation(
        "only the first counter is held", "reserve",
        "else\n    move(p[1], p[2], settles, holds)", "elseif j == 1 then\n    move(p[1], p[2], settles, holds)",
        ("bound", "holds"),
    ),
    Mutation(
        "a hold is learned from one sample", "reserve",
        "sketch.n < h[6]", "sketch.n < 1", ("learned",),
    ),
    Mutation(
        "a learned hold sinks below the input's bound", "reserve",
        "math.max(h[2], input)", "input", ("learned",),
    ),
    Mutation(
        "a learned hold leaves the fees out", "reserve",
        "h[1] + math.max", "math.max", ("learned",),
    ),
    Mutation(
        "the quantile is the least of the samples", "common",
        "if seen * 100 >= total * percent then", "if true then", ("learned", "bound"), rare=True,
    ),
    Mutation(
        "an input is held as outputs were", "reserve",
        "quantile(sketch.i, h[5])", "quantile(sketch.o, h[5])", ("learned", "bound"), rare=True,
    ),
    Mutation(
        "a learned hold that nobody settles is charged as it is", "common",
        "return math.max(tonumber(hold.w or '0'), tonumber(hold.e))", "return tonumber(hold.e)", ("books", "sums"),
        rare=True,
    ),
    Mutation(
        "a ratio falls into the bucket below", "common",
        "ratio = math.ceil(ratio / 2)", "ratio = math.floor(ratio / 2)", ("learned", "bound"), rare=True,
    ),
    Mutation(
        "the same request passes once too often", "reserve",
        "if passed >= ask.r[2] then", "if passed > ask.r[2] then", ("repeats",),
    ),
    Mutation(
        "a window begins anew with each pass", "reserve",
        "    if not window_ends then\n      window_ends = now", "    do\n      window_ends = now",
        ("repeats",), rare=True,
    ),
    Mutation(
        "a window never ends", "reserve",
        "if tonumber(ends) > now then", "if true then", ("repeats",),
    ),
    Mutation(
        "a loop in audit is refused", "reserve",
        "if ask.r[4] == 1 then", "if true then", ("repeats", "told", "bound"), rare=True,
    ),
    Mutation(
        "a stream's step passes a bound", "renew",
        "if room then step = math.min(step, room) end", "", ("learned",),
    ),
    Mutation(
        "what has flowed is not held where nothing is left", "renew",
        "step = math.max(step, flowed - held, 0)", "step = math.max(step, 0)", ("learned",),
    ),
    Mutation(
        "a hold grows without its record", "renew",
        "    redis.call('HSET', holds_key, id, cjson.encode(hold))\n", "", ("holds", "replay"),
    ),
    Mutation(
        "only one bound is looked at when a hold grows", "renew",
        "room = math.min(room or left, left)", "room = room or left", ("learned",),
    ),
    Mutation(
        "the short way holds in no counter", "reserve",
        "do move(p[1], p[2], taken_in(p, c.e)) end", "do move(p[1], p[2], 0, 0) end", ("bound", "holds"),
    ),
    Mutation(
        "the short way looks at no bound", "reserve",
        "bound[3] >= 0 and is_full(", "false and is_full(", ("bound", "told", "books"),
    ),
    Mutation(
        "the short way does not see what is overdue", "reserve",
        "'LIMIT', '0', '1')[1] then", "'LIMIT', '0', '1')[2] then", ("deadline", "books"),
    ),
    Mutation(
        "the short way does not know what has expired", "common",
        "if known[1] or known[2]", "if known[2]", ("replay", "books", "holds"), rare=True,
    ),
    Mutation(
        "the short way overwrites what is held", "reserve",
        "if redis.call('HSETNX', holds_key, ask.id, record) == 1",
        "if redis.call('HSET', holds_key, ask.id, record) < 2",
        ("replay", "books", "holds"),
    ),
    Mutation(
        "a batch leaves its holds reserved", "settle",
        "m[3] + reserved", "m[3]", ("holds", "books"),
    ),
    Mutation(
        "what is released is charged in a batch", "settle",
        "c, release and 0 or s.e", "c, s.e", ("sums", "books"),
    ),
    Mutation(
        "a batch leaves no marks", "settle",
        "  mark_all(done, now)\n", "", ("replay", "books"),
    ),
    Mutation(
        "a batch leaves its holds", "settle",
        "  redis.call('HDEL', holds_key, unpack(done))\n", "", ("holds", "books", "replay", "deadline"),
    ),
    Mutation(
        "a batch leaves its deadlines", "settle",
        "  redis.call('ZREM', due_key, unpack(done))\n", "", ("deadline",),
    ),
    Mutation(
        "a settlement leaves its hold reserved", "settle",
        "hold and -held_in(hold, c[1]) or 0)", "0)", ("holds", "books"),
    ),
    Mutation(
        "a settlement charges the estimate", "settle",
        "    charge(s, hold.c, hold.d, cost, hold)", "    charge(s, hold.c, hold.d, tonumber(hold.e), hold)",
        ("sums", "books"),
    ),
    Mutation(
        "a settlement forgets its deadline", "settle",
        "    redis.call('ZREM', due_key, s.id)\n", "", ("deadline",),
    ),
    Mutation(
        "a settlement forgets to remove the hold", "settle",
        "    redis.call('HDEL', holds_key, s.id)\n", "", ("holds", "deadline", "books"),
    ),
    Mutation(
        "a settlement counts in the day of now", "settle",
        "if not release then count_daily(hold.d, hold.a, s.m, cost, one, s.u) end\n    mark",
        "if not release then count_daily(day_id(now), hold.a, s.m, cost, one, s.u) end\n    mark", ("sums", "books"),
    ),
    Mutation(
        "a settlement leaves no mark", "settle",
        "    mark(s.id, now)\n    if s.l", "    if s.l", ("replay", "books"),
    ),
    Mutation(
        "a release is charged", "settle",
        "local cost = release and 0 or s.e", "local cost = s.e", ("sums", "books", "replay"),
    ),
    Mutation(
        "marks of yesterday are not looked at", "common",
        "math.floor(since / DAY_MS), -1 do", "math.floor(now / DAY_MS), -1 do", ("replay", "books"),
    ),
    Mutation(
        "marks of before the clock was set back are not looked at", "common",
        "math.floor(now / DAY_MS) + 1, math", "math.floor(now / DAY_MS), math", ("replay", "books"), rare=True,
    ),
    Mutation(
        "a correction forgets what was charged", "settle",
        "added_to(s, c[1], cost, hold) - charged_in(hold, c[1]), 0)", "added_to(s, c[1], cost, hold), 0)",
        ("sums", "books"), rare=True,
    ),
    Mutation(
        "a correction leaves the estimate in its cell", "settle",
        "      count_daily(hold.d, hold.a, hold.m, -held, 0 - one, {})\n", "", ("sums",), rare=True,
    ),
    Mutation(
        "a correction can be made twice", "settle",
        "    redis.call('DEL', expired_key(s.id))\n", "", ("replay", "books"), rare=True,
    ),
    Mutation(
        "an expired hold stays reserved", "common",
        "charged_in(hold, c[1]), -held_in(hold, c[1])) end", "charged_in(hold, c[1]), 0) end", ("holds", "bound"),
    ),
    Mutation(
        "an expired hold is not charged", "common",
        "move(c[1], c[2], charged_in(hold, c[1]), -held", "move(c[1], c[2], 0, -held", ("sums", "bound", "books"),
    ),
    Mutation(
        "the sweep looks at the wrong end", "common",
        "'-inf', int(now), 'LIMIT', 0, limit)", "int(now), '+inf', 'LIMIT', 0, limit)", ("deadline", "books", "bound"),
    ),
    Mutation(
        "a reservation does not sweep", "reserve",
        "local expired = sweep(now, 8)", "local expired = {}", ("deadline",),
    ),
    Mutation(
        "a renewal revives what ended", "renew",
        "  if raw then\n", "  do\n", ("deadline", "books"),
    ),
    Mutation(
        "a renewal moves no deadline", "renew",
        "    redis.call('ZADD', due_key, deadline, id)\n", "", ("deadline",), rare=True,
    ),
    Mutation(
        "a reservation sent again holds again", "reserve",
        "if first then", "if false then", ("replay", "holds", "bound", "repeats"),
    ),
    Mutation(
        "an ended exchange can be reserved again", "reserve",
        "if ended(ask.id, now, now - 600000) then", "if false then", ("replay", "books"),
    ),
    Mutation(
        "the month of a hold is that of its settlement", "reserve",
        "local counter = counter_of(bound[1], window, now, today)",
        "local counter = counter_of(bound[1], window, now + 60000)", ("bound", "holds", "books"),
    ),
    Mutation(
        "an adjustment counts in no cell", "adjust",
        "count_daily(day, ask.app, ask.m, amount,", "count_daily(day, ask.app, ask.m, 0,", ("sums",),
    ),
    Mutation(
        "an adjustment moves no counter", "adjust",
        "for _, scope in ipairs(ask.s) do move(counter_on(scope), 'month', amount, 0) end", "", ("sums",),
    ),
    Mutation(
        "an adjustment has no floor", "adjust",
        "if settled + amount < 0 then", "if false then", ("sums", "books"),
    ),
    Mutation(
        "an adjustment can be made twice", "adjust",
        "return {'replayed', old.b, month_of(old.b), ''}", "-- again", ("replay",),
    ),
    Mutation(
        "an adjustment changes a closed month", "adjust",
        "if is_closed(day) then day = today end", "", ("frozen", "books"),
    ),
    Mutation(
        "a late settlement changes a closed month", "settle",
        "    if is_closed(day) then at, day = now, day_id(now) end\n", "", ("frozen", "books"),
    ),
    Mutation(
        "a month is closed with requests in flight", "close",
        "if held > 0 then", "if false then", ("books", "frozen"), rare=True,
    ),
)  # fmt: skip
