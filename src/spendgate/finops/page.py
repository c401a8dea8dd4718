"""A chargeback as one printable page: no scripts, nothing fetched, charts as inline SVG. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from spendgate.finops.chargeback import RULE, Chargeback, Line
from spendgate.money import nano_to_usd
from spendgate.months import month_text

BARS_MAX = 12
"""Bars of a chart; what is smaller adds up to one more."""
_STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #59636e; --line: #d1d9e0; --bar: #2f6fb3; --bg: #fff }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6edf3; --soft: #9aa4af; --line: #3d444d; --bar: #6cb0f5; --bg: #0d1117 } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--bg); margin: 2rem auto;
  max-width: 60rem; padding: 0 1rem }
h1 { font-size: 1.6rem; margin: 0 } h2 { font-size: 1.15rem; margin: 2.2rem 0 .4rem }
p { color: var(--soft); margin: .2rem 0 1rem } .scroll { overflow-x: auto }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
th, td { padding: .3rem .6rem; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top }
th { font-weight: 600; color: var(--soft); font-size: .85rem }
td.n, th.n { text-align: right; white-space: nowrap } tr.sum td { font-weight: 600 }
tr.kind td { color: var(--soft); font-size: .85rem; border-bottom-style: dotted; padding-left: 1.6rem }
td { overflow-wrap: anywhere } svg { max-width: 100%; height: auto } rect { fill: var(--bar) }
text { fill: var(--ink); font-size: 13px }
@page { margin: 15mm }
@media print {
  :root { color-scheme: light; --ink: #000; --soft: #444; --line: #bbb; --bar: #2f6fb3; --bg: #fff }
  body { margin: 0; max-width: none } tr { break-inside: avoid } h2 { break-after: avoid }
  rect { print-color-adjust: exact; -webkit-print-color-adjust: exact } }
"""


def to_html(report: Chargeback) -> str:
    """The whole page."""
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
        f"<p>${nano_to_usd(report.cost_nanousd)} for {report.requests:,} requests. "
        f"Source: {escape(report.source)}. Amounts in USD, exact; days and months are UTC.</p>",
    ]
    if not report.lines:
        parts.append("<p>Nothing was spent in this month.</p>")
    else:
        parts += ["<h2>By team</h2>", bars(teams.items(), "Spend by team")]
        parts += ["<h2>By model</h2>", bars(models.items(), "Spend by model")]
        for team, lines in report.teams.items():
            parts += _team(team, lines)
        parts.append(f"<p>{escape(RULE)}.</p>")
    return "\n".join([*parts, "</main></body></html>", ""])


def _team(team: str, lines: list[Line]) -> Iterable[str]:
    yield f"<h2>{_name(team)}</h2>"
    yield '<div class="scroll"><table><thead><tr><th scope="col">App</th><th scope="col">Model</th>'
    yield "".join(f'<th scope="col" class="n">{h}</th>' for h in ("Requests", "Tokens", "Cost, USD"))
    yield "</tr></thead><tbody>"
    for x in lines:
        yield _row("", _name(x.app), _name(x.model), f"{x.requests:,}", x.tokens, x.cost_nanousd)
        for k in x.kinds:
            yield _row("kind", escape(k.kind), "", "", k.tokens, k.cost_nanousd)
    requests, tokens = sum(x.requests for x in lines), sum(x.tokens for x in lines)
    yield _row("sum", "Total", "", f"{requests:,}", tokens, sum(x.cost_nanousd for x in lines))
    yield "</tbody></table></div>"


def _row(kind: str, app: str, model: str, requests: str, tokens: int, cost: int) -> str:
    numbers = "".join(f'<td class="n">{n}</td>' for n in (requests, f"{tokens:,}", nano_to_usd(cost)))
    return f'<tr class="{kind}"><td>{app}</td><td>{model}</td>{numbers}</tr>'


def bars(amounts: Iterable[tuple[str, int]], title: str) -> str:
    """A bar chart of nano-USD by name, the largest first; every bar has its name and amount as text."""
    ordered = sorted(amounts, key=lambda a: (-a[1], a[0]))
    if len(ordered) > BARS_MAX + 1:
        rest = ordered[BARS_MAX:]
        ordered = [*ordered[:BARS_MAX], (f"{len(rest)} others", sum(n for _, n in rest))]
    top = max((n for _, n in ordered), default=0)
    step, left, width = 26, 230, 440
    out = [
        f'<svg viewBox="0 0 860 {step * len(ordered) + 4}" width="860" role="img" '
        f'aria-label="{escape(title)}">'
    ]
    for i, (name, nano) in enumerate(ordered):
        y = i * step
        length = max(0, nano) * width // top if top > 0 else 0
        shown = name if len(name) <= 30 else f"{name[:29]}…"
        out.append(
            f"<g><title>{_name(name)}: ${nano_to_usd(nano)}</title>"
            f'<text x="{left - 10}" y="{y + 18}" text-anchor="end">{_name(shown)}</text>'
            f'<rect x="{left}" y="{y + 4}" width="{length}" height="18" rx="2"/>'
            f'<text x="{left + length + 8}" y="{y + 18}">{nano_to_usd(nano)}</text></g>'
        )
    return "".join([*out, "</svg>"])


def _name(name: str) -> str:
    return escape(name) or "(unnamed)"
