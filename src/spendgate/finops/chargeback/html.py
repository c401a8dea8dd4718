"""A chargeback as one printable page: no scripts, nothing fetched, charts as inline SVG. Pure.

Amounts have two decimals (four below a dollar), and the exact one in their title.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape

from spendgate.finops.chargeback.chargeback import RULE, Chargeback, GroupSum, Line
from spendgate.finops.chargeback.charts import bars, columns, label
from spendgate.finops.chargeback.groups import GROUP_RULE
from spendgate.finops.chargeback.render import BUDGET, NUMBERS
from spendgate.money import nano_to_usd, usd_cell, usd_text
from spendgate.months import month_last_ms, month_text, utc

_STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #59636e; --line: #d1d9e0; --bg: #fff;
  --s0: #2f6fb3; --s1: #d9822b; --s2: #3a8f5c; --s3: #8b5fbf; --s4: #c2497a; --s5: #4aa3a3; --s6: #8a8f98 }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6edf3; --soft: #9aa4af; --line: #3d444d; --bg: #0d1117;
    --s0: #6cb0f5; --s1: #f0a860; --s2: #6cc394; --s3: #b794e6; --s4: #ec86ab; --s5: #7fd0d0; --s6: #9aa4af } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--bg); margin: 2rem auto;
  max-width: 60rem; padding: 0 1rem }
h1 { font-size: 1.6rem; margin: 0 } h2 { font-size: 1.15rem; margin: 2.2rem 0 .4rem }
p { color: var(--soft); margin: .2rem 0 1rem } .scroll { overflow-x: auto }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
th, td { padding: .3rem .6rem; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top }
th { font-weight: 600; color: var(--soft); font-size: .85rem }
td.n, th.n { text-align: right; white-space: nowrap } tr.sum td { font-weight: 600 }
tr.kind td { color: var(--soft); font-size: .85rem; border-bottom-style: dotted; padding-left: 1.6rem }
td { overflow-wrap: anywhere } td:first-child { min-width: 7rem } svg { max-width: 100%; height: auto }
line { stroke: var(--line) }
text { fill: var(--ink); font-size: 13px } text.axis { fill: var(--soft); font-size: 12px }
.s0 { fill: var(--s0) } .s1 { fill: var(--s1) } .s2 { fill: var(--s2) } .s3 { fill: var(--s3) }
.s4 { fill: var(--s4) } .s5 { fill: var(--s5) } .s6 { fill: var(--s6) }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; list-style: none; margin: .3rem 0 0; padding: 0 }
.legend svg { vertical-align: -1px }
@page { size: A4; margin: 15mm }
@media print {
  :root { color-scheme: light; --ink: #000; --soft: #444; --line: #bbb; --bg: #fff;
    --s0: #2f6fb3; --s1: #d9822b; --s2: #3a8f5c; --s3: #8b5fbf; --s4: #c2497a; --s5: #4aa3a3; --s6: #8a8f98 }
  body { margin: 0; max-width: none; font-size: 11px } tr, svg { break-inside: avoid } h2 { break-after: avoid }
  .scroll { overflow: visible }
  rect { print-color-adjust: exact; -webkit-print-color-adjust: exact } }
"""


def to_html(report: Chargeback, limits: Mapping[str, int] | None = None) -> str:
    """The whole page. `limits` are the teams' budgets of the month (nano-USD), where they are known."""
    month = month_text(report.month)
    teams = {t: sum(x.cost_nanousd for x in lines) for t, lines in report.teams.items()}
    models: dict[str, int] = {}
    for line in report.lines:
        models[line.model] = models.get(line.model, 0) + line.cost_nanousd
    parts = [
        "<!doctype html>",
        f'<html lang="en"><head><meta charset="utf-8"><title>Chargeback {month}</title>',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<style>{_STYLE}</style></head><body><main>",
        f"<h1>Chargeback {month}</h1>",
        f"<p>{usd_text(report.cost_nanousd, 2)} for {report.requests:,} requests. "
        f"Routing saved {usd_text(report.saved_nanousd, 2)}; {report.refused:,} requests were refused. "
        f"Source: {escape(report.source)}. Amounts in USD; days and months are UTC.</p>",
    ]
    if not report.lines:
        parts.append("<p>Nothing was spent in this month.</p>")
    else:
        last_day = utc(month_last_ms(report.month)).day
        parts += ["<h2>By day</h2>", columns(report.days, last_day, "Spend by day and team")]
        parts += ["<h2>By team</h2>", bars(teams.items(), "Spend by team")]
        parts += ["<h2>By model</h2>", bars(((m, n) for m, n in models.items() if n), "Spend by model")]
        known = limits or {}
        parts += ["<h2>Teams</h2>", *_table(("Team",), (*NUMBERS, *BUDGET) if known else NUMBERS)]
        for team, lines in report.teams.items():
            parts.append(
                _row("", (label(team),), _numbers(lines) + _budget(lines, known.get(team), bool(known)))
            )
        whole = sum(n for t, n in known.items() if t in report.teams)
        parts.append(
            _row("sum", ("Total",), _numbers(report.lines) + _budget((), whole or None, bool(known))) + _END
        )
        if report.groups:
            parts += ["<h2>Groups</h2>", *_groups(report.groups)]
        for team, lines in report.teams.items():
            parts += _team(team, lines, report.by)
        parts += [f"<p>{escape(note)}.</p>" for note in (*report.notes, RULE)]
    return "\n".join([*parts, "</main></body></html>", ""])


_END = "</tbody></table></div>"


def _table(names: Sequence[str], values: Sequence[str] = NUMBERS) -> Iterable[str]:
    """The head of a table."""
    heads = [f'<th scope="col">{n}</th>' for n in names]
    heads += [f'<th scope="col" class="n">{n[0].upper()}{n[1:]}</th>' for n in values]
    yield f'<div class="scroll"><table><thead><tr>{"".join(heads)}</tr></thead><tbody>'


def _groups(groups: Sequence[GroupSum]) -> Iterable[str]:
    yield from _table(("Group", "Teams"), (*NUMBERS, *BUDGET))
    for g in groups:
        names = label(g.name), ", ".join(map(label, g.teams)) or "–"
        yield _row("", names, _numbers(g.lines) + _budget(g.lines, g.limit_nanousd, True))
    yield _END
    yield f"<p>{GROUP_RULE[0].upper()}{GROUP_RULE[1:]}.</p>"


def _team(team: str, lines: list[Line], by: str) -> Iterable[str]:
    yield f"<h2>{label(team)}</h2>"
    yield from _table(("App" if by == "app" else escape(by), "Model"))
    for x in lines:
        yield _row("", (label(x.app), label(x.model)), _numbers([x]))
        for k in x.kinds:
            counts = ("", f"{k.tokens:,}", _usd(k.cost_nanousd), "", "")
            yield _row("kind", (escape(k.kind), ""), counts)
    yield _row("sum", ("Total", ""), _numbers(lines)) + _END


def _numbers(lines: Sequence[Line]) -> tuple[str, ...]:
    """The sums of lines in the order of `NUMBERS`, as cells."""
    return (
        f"{sum(x.requests for x in lines):,}",
        f"{sum(x.tokens for x in lines):,}",
        _usd(sum(x.cost_nanousd for x in lines)),
        _usd(sum(x.saved_nanousd for x in lines)),
        f"{sum(x.refused for x in lines):,}",
    )


def _budget(lines: Sequence[Line], limit: int | None, shown: bool) -> tuple[str, ...]:
    """A budget and what of it is used, as cells; none where no budget is known at all."""
    if not shown:
        return ()
    if limit is None:
        return "–", "–"
    spent = sum(x.cost_nanousd for x in lines)
    return _usd(limit), f"{spent * 100 / limit:.1f} %" if limit and lines else ""


def _usd(nano: int) -> str:
    return f'<span title="{nano_to_usd(nano)}">{escape(usd_cell(nano))}</span>'


def _row(kind: str, names: Sequence[str], values: Sequence[str]) -> str:
    cells = "".join(f"<td>{n}</td>" for n in names) + "".join(f'<td class="n">{v}</td>' for v in values)
    return f'<tr class="{kind}">{cells}</tr>'
