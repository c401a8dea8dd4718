"""Panels as data, and their making into Grafana's own typed model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Literal

from grafana_foundation_sdk.builders import (
    barchart,
    bargauge,
    common,
    gauge,
    piechart,
    prometheus,
    stat,
    table,
    timeseries,
)
from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as shapes
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models.piechart import PieChartLabels
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from spendgate.values import dataclass

Kind = Literal["barchart", "bargauge", "gauge", "piechart", "table", "timeseries", "stat"]
Json = dict[str, Any]
SOURCE = model.DataSourceRef("prometheus", "${datasource}")
TEAM = 'team=~"$team"'
"""The filter by the dashboard's variable."""

_BUILDERS: dict[Kind, Any] = {
    "barchart": barchart.Panel,
    "bargauge": bargauge.Panel,
    "gauge": gauge.Panel,
    "piechart": piechart.Panel,
    "table": table.Panel,
    "timeseries": timeseries.Panel,
    "stat": stat.Panel,
}


Steps = tuple[tuple[float | None, str], ...]
"""Colours from a value on (None: from the start)."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: the label or value that it shows (`Value #B` is that of the second query), its title, unit
    and colours."""

    field: str
    title: str
    unit: str = ""
    steps: Steps = ()


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel. `queries`: PromQL with the legend of each; `place`: width, height, x, y in Grafana's grid of
    24 columns; `steps`: colours; `every`: least step of a time series; `columns`: a table's, several queries joined by
    their labels; `sort`: the title of the column that leads, the last one unless said otherwise; `alert`: whose runbook
    is linked."""

    title: str
    kind: Kind
    description: str
    queries: tuple[tuple[str, str], ...]
    place: tuple[int, int, int, int]
    unit: str = "short"
    steps: Steps = ()
    every: str = ""
    columns: tuple[Column, ...] = ()
    sort: str = ""
    alert: str = ""
    top: float | None = None
    least: float | None = 0
    """Where the axis begins; None: wherever the numbers do."""


def _query(panel: Panel, number: int, expr: str, legend: str) -> prometheus.Dataquery:
    query = prometheus.Dataquery().expr(expr).legend_format(legend).ref_id(chr(ord("A") + number))
    query = query.datasource(SOURCE)
    if panel.kind == "timeseries":
        return query.range()
    if panel.kind in ("barchart", "table"):
        return query.instant().format(PromQueryFormat.TABLE)
    return query.instant()


def _panel(panel: Panel, runbooks: str) -> Any:
    width, height, x, y = panel.place
    out = _BUILDERS[panel.kind]().title(panel.title).description(panel.description).unit(panel.unit)
    out = out.datasource(SOURCE).grid_pos(model.GridPos(h=height, w=width, x=x, y=y))
    if panel.least is not None:
        out = out.min(panel.least)
    for number, (expr, legend) in enumerate(panel.queries):
        out = out.with_target(_query(panel, number, expr, legend))
    if panel.steps:
        out = out.thresholds(_thresholds(panel.steps))
        out = out.color_scheme(build.FieldColor().mode(model.FieldColorModeId.THRESHOLDS))
    if panel.top is not None:
        out = out.max(panel.top)
    if panel.every:
        out = out.interval(panel.every)
    if panel.alert and runbooks:
        link = build.DashboardLink(f"Runbook: {panel.alert}").url(f"{runbooks.rstrip('/')}/{panel.alert}.md")
        out = out.links([link.type(model.DashboardLinkType.LINK).target_blank(True)])
    out = _as_its_kind(out, panel)
    if panel.columns:
        out = _with_columns(out, panel)
    if panel.kind == "table":
        leads = panel.sort or panel.columns[-1].title
        out = out.sort_by([common.TableSortByFieldState().display_name(leads).desc(True)])
    return out


def _as_its_kind(out: Any, panel: Panel) -> Any:
    """What only panels of one kind are told."""
    if panel.kind in ("bargauge", "gauge", "piechart", "stat"):
        out = out.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).values(False))
    if panel.kind == "piechart":
        out = out.display_labels([PieChartLabels.NAME, PieChartLabels.PERCENT])
    if panel.kind == "timeseries":
        tooltip = common.VizTooltipOptions().mode(shapes.TooltipDisplayMode.MULTI)
        below = common.VizLegendOptions().display_mode(shapes.LegendDisplayMode.LIST).show_legend(True)
        out = out.tooltip(tooltip.sort(shapes.SortOrder.DESCENDING))
        out = out.legend(below.placement(shapes.LegendPlacement.BOTTOM).calcs([]))
    if panel.kind == "bargauge":
        out = out.orientation(shapes.VizOrientation.HORIZONTAL).display_mode(shapes.BarGaugeDisplayMode.BASIC)
    if panel.kind == "barchart":
        out = out.x_field(panel.columns[0].title)
    return out


def _thresholds(steps: Steps) -> build.ThresholdsConfig:
    found = [model.Threshold(value, color) for value, color in steps]
    return build.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(found)


def _with_columns(out: Any, panel: Panel) -> Any:
    if len(panel.queries) > 1:  # one row for all that is said of the same labels
        out = out.with_transformation(model.DataTransformerConfig(id_val="merge", options={}))
    options = {
        "excludeByName": {"Time": True},
        "indexByName": {c.field: i for i, c in enumerate(panel.columns)},
        "renameByName": {c.field: c.title for c in panel.columns},
    }
    out = out.with_transformation(model.DataTransformerConfig(id_val="organize", options=options))
    for column in panel.columns:
        properties = [model.DynamicConfigValue("unit", column.unit)] if column.unit else []
        if column.steps:
            properties += [
                model.DynamicConfigValue("thresholds", _thresholds(column.steps).build()),
                model.DynamicConfigValue("custom.cellOptions", {"type": "color-background", "mode": "basic"}),
            ]
        if properties:
            out = out.override_by_name(column.title, properties)
    return out


@dataclass(frozen=True, slots=True)
class Shown:
    """What a dashboard opens at: the begin of its range, how often it asks again, whether months are to choose."""

    begin: str
    refresh: str
    months: bool


def _months() -> list[Any]:
    """The month is the dashboard's time range; these choose it."""
    return [
        build.DashboardLink(title)
        .type(model.DashboardLinkType.LINK)
        .url(f"?from={begin}&to={end}")
        .include_vars(True)
        for title, begin, end in (
            ("This month", "now/M", "now"),
            ("Last month", "now-1M/M", "now-1M/M"),
            ("The month before", "now-2M/M", "now-2M/M"),
        )
    ]


def dashboard(
    uid: str,
    title: str,
    description: str,
    tags: Sequence[str],
    panels: Sequence[Panel],
    shown: Shown,
    runbooks: str = "",
) -> Json:
    """A dashboard as Grafana imports it: UTC, one datasource, the teams to choose from.

    `runbooks`: URL under which docs/runbooks is published; empty: no links.
    """
    source = build.DatasourceVariable("datasource").label("Data source").type("prometheus")
    teams = (
        build.QueryVariable("team")
        .label("Team")
        .datasource(SOURCE)
        .query('label_values({__name__=~"spendgate_spend_usd|llm_budget_utilization_ratio"}, team)')
        .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(model.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .current(model.VariableOption(selected=True, text="All", value="$__all"))
    )
    out = (
        build.Dashboard(title)
        .uid(uid)
        .description(description)
        .tags(list(tags))
        .timezone("utc")
        .time(shown.begin, "now")
        .refresh(shown.refresh)
        .tooltip(model.DashboardCursorSync.CROSSHAIR)
        .links(_months() if shown.months else [])
        .with_variable(source)
        .with_variable(teams)
    )
    for number, panel in enumerate(panels, start=1):
        out = out.with_panel(_panel(panel, runbooks).id(number))
    document: Json = json.loads(json.dumps(out.build(), cls=JSONEncoder))
    return document


def as_json(document: Json) -> str:
    """Print it as it is checked in."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
