"""Charts of the cards: SVG by altair in the page's colours, from aggregates, so that their size is bounded."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from asr.corpus.splits import SPLITS

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

    Chart = alt.Chart | alt.LayerChart | alt.FacetChart

SPLIT_ORDER = {split: rank for rank, split in enumerate((*SPLITS, ""))}  # "" is for values without a split
WIDTH, HEIGHT = 320, 150  # pixels: the width of a phone without margins
SMALL_HEIGHT = 75  # of a chart that shares a panel with another
TIME_UNITS = ((3600.0, "hours"), (60.0, "minutes"), (1.0, "seconds"))
GRID_AXIS: dict[str, Any] = {"grid": True, "gridColor": "var(--line)", "domain": False}
PERCENT = "datum.label + ' %'"
MAX_BARS = 10  # the rest is combined into one


def duration_bars(data: pd.DataFrame, longest: float) -> Chart:
    """A bar of speech duration per name, in the given order, coloured by split.

    Args:
        data: with the columns name, split, value (seconds).
        longest: the end of the axis, which all such charts of a card share.
    """
    second, unit = next((seconds, unit) for seconds, unit in TIME_UNITS if longest >= seconds or seconds == 1)
    data = data.assign(value=data["value"] / second)
    return _stacked_bars(data, lambda value: format_duration(value * second), value_axis(unit), longest / second)


def count_bars(data: pd.DataFrame, unit: str) -> Chart:
    """A bar of a count per name, in the given order, coloured by split; data has name, split, value."""
    most = float(data.groupby("name")["value"].sum().max())
    return _stacked_bars(data, "{:,.0f}".format, value_axis(unit, tickMinStep=1), most)


def _stacked_bars(data: pd.DataFrame, label: Callable[[float], str], axis: alt.Axis, most: float) -> Chart:
    import altair as alt

    rows = zip(data["name"], data["split"], data["value"], strict=True)
    labels = [f"{', '.join(filter(None, (name, split)))}: {label(value)}" for name, split, value in rows]
    data = data.assign(label=labels, rank=data["split"].map(SPLIT_ORDER))
    ends = data.groupby("name", sort=False, as_index=False)[["value"]].sum()
    ends["label"] = ends["value"].map(label)
    x = alt.X("value:Q", axis=axis, scale=alt.Scale(domain=[0, most], nice=False))
    parts = alt.Chart(data).mark_bar(size=8, yOffset=9, stroke="var(--panel)")
    parts = parts.encode(x, name_axis(ends), split_colour(), alt.Order("rank:Q"), alt.Description("label:N"))
    return alt.layer(parts, *bar_labels(ends), width=WIDTH)


def name_axis(data: pd.DataFrame) -> alt.Y:
    """A row per name, in the given order."""
    import altair as alt

    return alt.Y("name:N", sort=list(data["name"].unique()), axis=None)


def bar_labels(data: pd.DataFrame) -> list[alt.Chart]:
    """The name above each bar, and its total at the right; data has name, label."""
    import altair as alt

    rows = alt.Chart(data, height=alt.Step(40)).encode(name_axis(data))
    return [
        rows.mark_text(align="left", baseline="bottom", limit=220).encode(x=alt.value(0), text="name:N"),
        rows.mark_text(align="right", baseline="bottom").encode(x=alt.value(WIDTH), text="label:N"),
    ]


def value_axis(title: str | None = None, **more: Any) -> alt.Axis:
    """The axis below bars, with grid lines."""
    import altair as alt

    return alt.Axis(**GRID_AXIS, tickCount=5, format=",~r", title=title, **more)


def histograms(data: pd.DataFrame, unit: str, highest: float) -> Chart:
    """Histograms one above the other, as shares of each group's clips.

    Args:
        data: as from `corpus.histogram_table`.
        unit: of the values.
        highest: percent; the end of the axis, which all histograms of a card share.
    """
    import altair as alt

    labels = [f"{row.low:g} to {row.high:g} {unit}: {row.clips:,} clips" for row in data.itertuples()]
    names = list(data["name"].unique())
    x = alt.X("low:Q", bin="binned", title=unit, axis=alt.Axis(tickCount=6, format=",~r"))
    axis = alt.Axis(**GRID_AXIS, tickCount=3, labelExpr=PERCENT, title=None)
    y = alt.Y("share:Q", axis=axis, scale=alt.Scale(domain=[0, highest], nice=False))
    chart = alt.Chart(data.assign(label=labels), width=WIDTH - 40, height=60).mark_bar(stroke="var(--panel)")
    chart = chart.encode(x, alt.X2("high:Q"), y, split_colour(), alt.Description("label:N"))
    return chart.facet(row=alt.Row("name:N", sort=names, title=None), spacing=14)


def split_colour() -> alt.Color:
    """The colour of each split, the same on all cards; slate without a split."""
    import altair as alt

    names = [f"var(--{name})" for name in (*SPLITS, "plain")]
    return alt.Color("split:N", scale=alt.Scale(domain=[*SPLIT_ORDER], range=names), legend=None)


def render_svg(chart: Chart) -> str:
    """The chart as SVG."""
    import vl_convert  # noqa: F401  where it cannot be loaded, for want of memory, Altair would say it is not installed

    quiet = {"labelColor": "var(--quiet)", "titleColor": "var(--quiet)", "labelFontSize": 12, "titleFontSize": 12}
    file = io.StringIO()
    chart.configure(
        background="transparent",
        padding=1,
        font="Arial",  # for measuring text; the page sets its own
        view={"stroke": None},
        text={"fontSize": 13, "color": "var(--ink)"},
        axis={"grid": False, **quiet, "titleFontWeight": "normal", "domainColor": "var(--line)", "ticks": False},
        header={"labelOrient": "top", "labelAnchor": "start", "labelColor": "var(--ink)", "labelFontSize": 13},
        title={"color": "var(--ink)", "fontSize": 13, "fontWeight": "normal"},
    ).save(file, format="svg")
    return file.getvalue()


def keep_largest(data: pd.DataFrame) -> pd.DataFrame:
    """name, split, value by the size of the name's total; if there are many names, the smallest are combined."""
    ranked = list(data.groupby("name")["value"].sum().sort_values(ascending=False, kind="stable").index)
    if len(ranked) > MAX_BARS:
        rest = f"{len(ranked) - MAX_BARS + 1:,} others"
        data = data.assign(name=data["name"].where(data["name"].isin(ranked[: MAX_BARS - 1]), rest))
        ranked = [*ranked[: MAX_BARS - 1], rest]
    data = (
        data.groupby(["name", "split"], as_index=False).sum().sort_values("split", key=lambda of: of.map(SPLIT_ORDER))
    )
    return data.sort_values("name", key=lambda names: names.map(ranked.index), kind="stable")


def split_chip(split: str, name: str = "") -> str:
    """A label in a split's colour."""
    return f'<span class=chip style="--chip: var(--{split})">{name or split}</span>'


def format_duration(seconds: float) -> str:
    """A duration in a suitable unit."""
    if round(seconds) < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if round(seconds / 60) < 60 else f"{seconds / 3600:,.1f}".removesuffix(".0") + " h"


def interval_chart(data: pd.DataFrame, most: float) -> Chart:
    """An error rate per name, in the given order, with its 95 % interval.

    Args:
        data: with the columns name, split, wer, low, high (percent).
        most: percent; the end of the axis, which all such charts of a card share. Larger rates are marked.
    """
    import altair as alt

    labels = [f"{row.wer:.1f}\u00a0%" for row in data.itertuples()]
    bounds = [f"{row.name}: {row.wer:.1f} %, {row.low:.1f} to {row.high:.1f}" for row in data.itertuples()]
    data = data.assign(label=labels, bounds=bounds)
    beyond = data["wer"] > most
    y, description = name_axis(data), alt.Description("bounds:N")
    scale = alt.Scale(domain=[0, most], nice=False, clamp=True)
    low = alt.X("low:Q", axis=value_axis(labelExpr=PERCENT), scale=scale)
    layers = [
        alt.Chart(data)
        .mark_bar(size=8, yOffset=9, opacity=0.45)
        .encode(low, y, split_colour(), description, x2="high:Q"),
        alt.Chart(data[~beyond])
        .mark_point(size=55, yOffset=9, filled=True, opacity=1, stroke="var(--panel)")
        .encode(alt.X("wer:Q", scale=scale), y, split_colour(), description),
        *bar_labels(data),
    ]
    if beyond.any():
        note = alt.Chart(data[beyond]).mark_text(align="right", dy=9, fontSize=12, color="var(--quiet)")
        layers.append(note.encode(y, x=alt.value(WIDTH), text=alt.value("off the scale \N{RIGHTWARDS ARROW}")))
    return alt.layer(*layers, width=WIDTH)


def line_chart(
    data: pd.DataFrame, steps: int, marks: pd.DataFrame | None = None, log: bool = False,
    padded_from: int | None = None, unit: str = "", title: str | None = None, height: int = HEIGHT,
) -> Chart:  # fmt: skip
    """Values over training steps.

    Args:
        data: with the columns step, value, series, split.
        steps: the end of the axis.
        marks: labelled points: step, value, split, label, and optionally ended (a cross instead of a dot), low and high
            (an interval).
        log: whether the axis of values is logarithmic.
        padded_from: the step from which on some batches are padded to 30 s; a chart with enough space is labelled.
        unit: of the values.
        title: above the chart.
        height: pixels.
    """
    import altair as alt

    scale = alt.Scale(type="log", nice=False) if log else alt.Scale(zero=True, nice=True)
    powers = log_ticks(data["value"]) if log else []
    ticks: dict[str, Any] = {"values": powers, "format": "~g"} if powers else {"tickCount": 4}
    along = alt.Scale(domain=[0, steps], nice=False)
    x = alt.X("step:Q", axis=alt.Axis(tickCount=5, format=",d"), scale=along, title="step")
    y = alt.Y(
        "value:Q", axis=alt.Axis(**GRID_AXIS, **ticks, labelExpr=f"datum.label + '{unit}'"), scale=scale, title=None
    )
    chart = alt.Chart(data).mark_line(strokeWidth=2, aria=False)
    layers: list[alt.Chart] = [chart.encode(x, y, split_colour(), detail="series:N", order="step:Q")]
    if padded_from is not None and 0 < padded_from < steps:
        rule, label = phase_rule(padded_from, steps, x)
        layers += [rule, label] if height > SMALL_HEIGHT else [rule]
    if marks is not None and len(marks):
        marks = marks.assign(ended=marks.get("ended", False))
        points = alt.Chart(marks)
        if "low" in marks:
            layers.append(
                points.mark_rule(opacity=0.6, aria=False).encode(x, alt.Y("low:Q"), split_colour(), y2="high:Q")
            )
        shape = alt.Shape("ended:N", legend=None, scale=alt.Scale(domain=[False, True], range=["circle", "cross"]))
        dots = points.mark_point(size=60, filled=True, opacity=1, stroke="var(--panel)")
        layers.append(dots.encode(x, y, split_colour(), shape, description=alt.Description("label:N")))
    heading: dict[str, Any] = {"title": alt.TitleParams(title, anchor="start")} if title else {}
    return alt.layer(*layers, width=WIDTH - 40, height=height, **heading)


def phase_rule(padded_from: int, steps: int, x: alt.X) -> tuple[alt.Chart, alt.Chart]:
    """A line at the step from which on batches are padded to 30 s, and its label on the wider side."""
    import altair as alt
    import pandas as pd

    data = pd.DataFrame({"step": [padded_from], "label": [f"30 s batches from step {padded_from:,}"]})
    base = alt.Chart(data).encode(x)
    side: dict[str, Any] = {"align": "right", "dx": -6} if 2 * padded_from > steps else {"align": "left", "dx": 6}
    text = base.mark_text(baseline="top", fontSize=12, color="var(--quiet)", **side)
    rule = base.mark_rule(strokeDash=[3, 3], color="var(--quiet)", aria=False)
    return rule, text.encode(y=alt.value(0), text="label:N")


def log_ticks(values: pd.Series[float]) -> list[float]:
    """Ticks of a logarithmic axis: 1, 2 and 5 times the powers of ten within the values, or only the powers."""
    powers = range(math.floor(math.log10(values.min())), math.ceil(math.log10(values.max())) + 1)
    fine = [round(digit * 10.0**power, 9) for power in powers for digit in (1, 2, 5)]
    ticks = [tick for tick in fine if values.min() <= tick <= values.max()]
    return ticks if len(ticks) < 6 else [tick for tick in ticks if f"{tick:e}".startswith("1.0")]


def scatter_chart(data: pd.DataFrame, name: str, log: bool, height: int = HEIGHT) -> Chart:
    """An error rate per value of a hyperparameter; data has value, wer (percent), split, label."""
    import altair as alt

    scale = alt.Scale(type="log", padding=12) if log else alt.Scale(zero=False, padding=12)
    axis = alt.Axis(**GRID_AXIS, tickCount=4, labelExpr=PERCENT, title=None)
    return (
        alt.Chart(data, width=WIDTH - 40, height=height)
        .mark_point(size=70, filled=True, opacity=1, stroke="var(--panel)")
        .encode(
            alt.X("value:Q", scale=scale, title=name, axis=alt.Axis(tickCount=4, format="~r", labelOverlap=True)),
            alt.Y("wer:Q", axis=axis, scale=alt.Scale(zero=False)),
            split_colour(),
            description=alt.Description("label:N"),
        )
    )
