"""Charts of the cards: altair draws them to SVG in the page's colours, from sums alone, so that 100,000 clips take no
more room than ten.
"""

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

ORDER = {split: rank for rank, split in enumerate((*SPLITS, ""))}  # "" is what belongs to no split
WIDTH, HEIGHT = 320, 150  # pixels of a chart at its own size: a phone's without the margins
LOW = 75  # of one that shares a panel with another
UNITS = ((3600.0, "hours"), (60.0, "minutes"), (1.0, "seconds"))
GRID: dict[str, Any] = {"grid": True, "gridColor": "var(--line)", "domain": False}
PERCENT = "datum.label + ' %'"
NAMED = 10  # bars with a name of their own, at most


def lasting(data: pd.DataFrame, longest: float) -> Chart:
    """A bar of speech a name in the order given, its splits in their colours: name, split, value (seconds).

    The axis goes to `longest`, of all such bars of a card: they share one scale.
    """
    second, unit = next((of, unit) for of, unit in UNITS if longest >= of or of == 1)
    data = data.assign(value=data["value"] / second)
    return _bars(data, lambda value: amount(value * second), below(unit), longest / second)


def counts(data: pd.DataFrame, unit: str) -> Chart:
    """A bar of so many of `unit` a name in the order given, its splits in their colours: name, split, value."""
    most = float(data.groupby("name")["value"].sum().max())
    return _bars(data, "{:,.0f}".format, below(unit, tickMinStep=1), most)


def _bars(data: pd.DataFrame, say: Callable[[float], str], axis: alt.Axis, most: float) -> Chart:
    import altair as alt

    of = zip(data["name"], data["split"], data["value"], strict=True)
    told = [f"{', '.join(filter(None, (name, split)))}: {say(value)}" for name, split, value in of]
    data = data.assign(told=told, rank=data["split"].map(ORDER))
    ends = data.groupby("name", sort=False, as_index=False)[["value"]].sum()
    ends["told"] = ends["value"].map(say)
    x = alt.X("value:Q", axis=axis, scale=alt.Scale(domain=[0, most], nice=False))
    parts = alt.Chart(data).mark_bar(size=8, yOffset=9, stroke="var(--panel)")
    parts = parts.encode(x, by_name(ends), colour(), alt.Order("rank:Q"), alt.Description("told:N"))
    return alt.layer(parts, *labels(ends), width=WIDTH)


def by_name(data: pd.DataFrame) -> alt.Y:
    """A row a name, in the order given."""
    import altair as alt

    return alt.Y("name:N", sort=list(data["name"].unique()), axis=None)


def labels(data: pd.DataFrame) -> list[alt.Chart]:
    """Above a bar its name, and at the right what it comes to: name, told."""
    import altair as alt

    rows = alt.Chart(data, height=alt.Step(40)).encode(by_name(data))
    return [
        rows.mark_text(align="left", baseline="bottom", limit=220).encode(x=alt.value(0), text="name:N"),
        rows.mark_text(align="right", baseline="bottom").encode(x=alt.value(WIDTH), text="told:N"),
    ]


def below(title: str | None = None, **more: Any) -> alt.Axis:
    """The axis below bars; its lines go through all of them."""
    import altair as alt

    return alt.Axis(**GRID, tickCount=5, format=",~r", title=title, **more)


def columns(data: pd.DataFrame, unit: str, most: float) -> Chart:
    """Histograms one above the other, of what `spread` gives: each clip counts as its share of its group's.

    The axis goes to `most` percent, of all histograms of a card: they share one scale.
    """
    import altair as alt

    told = [f"{row.low:g} to {row.high:g} {unit}: {row.clips:,} clips" for row in data.itertuples()]
    names = list(data["name"].unique())
    x = alt.X("low:Q", bin="binned", title=unit, axis=alt.Axis(tickCount=6, format=",~r"))
    axis = alt.Axis(**GRID, tickCount=3, labelExpr=PERCENT, title=None)
    y = alt.Y("share:Q", axis=axis, scale=alt.Scale(domain=[0, most], nice=False))
    chart = alt.Chart(data.assign(told=told), width=WIDTH - 40, height=60).mark_bar(stroke="var(--panel)")
    chart = chart.encode(x, alt.X2("high:Q"), y, colour(), alt.Description("told:N"))
    return chart.facet(row=alt.Row("name:N", sort=names, title=None), spacing=14)


def colour() -> alt.Color:
    """A split's own colour, everywhere; slate for what is of no split."""
    import altair as alt

    names = [f"var(--{name})" for name in (*SPLITS, "plain")]
    return alt.Color("split:N", scale=alt.Scale(domain=[*ORDER], range=names), legend=None)


def draw(chart: Chart) -> str:
    """The chart as SVG."""
    quiet = {"labelColor": "var(--quiet)", "titleColor": "var(--quiet)", "labelFontSize": 12, "titleFontSize": 12}
    file = io.StringIO()
    chart.configure(
        background="transparent",
        padding=1,
        font="Arial",  # to reckon with; the page sets its own
        view={"stroke": None},
        text={"fontSize": 13, "color": "var(--ink)"},
        axis={"grid": False, **quiet, "titleFontWeight": "normal", "domainColor": "var(--line)", "ticks": False},
        header={"labelOrient": "top", "labelAnchor": "start", "labelColor": "var(--ink)", "labelFontSize": 13},
        title={"color": "var(--ink)", "fontSize": 13, "fontWeight": "normal"},
    ).save(file, format="svg")
    return file.getvalue()


def top(data: pd.DataFrame) -> pd.DataFrame:
    """name, split, value, the largest name first; where there are many, the smallest are one."""
    ranked = list(data.groupby("name")["value"].sum().sort_values(ascending=False, kind="stable").index)
    if len(ranked) > NAMED:
        rest = f"{len(ranked) - NAMED + 1:,} others"
        data = data.assign(name=data["name"].where(data["name"].isin(ranked[: NAMED - 1]), rest))
        ranked = [*ranked[: NAMED - 1], rest]
    data = data.groupby(["name", "split"], as_index=False).sum().sort_values("split", key=lambda of: of.map(ORDER))
    return data.sort_values("name", key=lambda names: names.map(ranked.index), kind="stable")


def chip(split: str, name: str = "") -> str:
    """What has a split's colour."""
    return f'<span class=chip style="--chip: var(--{split})">{name or split}</span>'


def amount(seconds: float) -> str:
    """Seconds in the unit that one would say."""
    if round(seconds) < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if round(seconds / 60) < 60 else f"{seconds / 3600:,.1f}".removesuffix(".0") + " h"


def reaches(data: pd.DataFrame, most: float) -> Chart:
    """A rate a name in the order given, with its 95 % interval: name, split, wer, low, high (percent).

    The axis goes to `most` percent, of all rates of a card: they share one scale. What lies beyond says so.
    """
    import altair as alt

    told = [f"{row.wer:.1f}\u00a0%" for row in data.itertuples()]
    bounds = [f"{row.name}: {row.wer:.1f} %, {row.low:.1f} to {row.high:.1f}" for row in data.itertuples()]
    data = data.assign(told=told, bounds=bounds)
    beyond = data["wer"] > most
    y, description = by_name(data), alt.Description("bounds:N")
    scale = alt.Scale(domain=[0, most], nice=False, clamp=True)
    low = alt.X("low:Q", axis=below(labelExpr=PERCENT), scale=scale)
    layers = [
        alt.Chart(data).mark_bar(size=8, yOffset=9, opacity=0.45).encode(low, y, colour(), description, x2="high:Q"),
        alt.Chart(data[~beyond])
        .mark_point(size=55, yOffset=9, filled=True, opacity=1, stroke="var(--panel)")
        .encode(alt.X("wer:Q", scale=scale), y, colour(), description),
        *labels(data),
    ]
    if beyond.any():
        note = alt.Chart(data[beyond]).mark_text(align="right", dy=9, fontSize=12, color="var(--quiet)")
        layers.append(note.encode(y, x=alt.value(WIDTH), text=alt.value("off the scale \N{RIGHTWARDS ARROW}")))
    return alt.layer(*layers, width=WIDTH)


def lines(
    data: pd.DataFrame, steps: int, marks: pd.DataFrame | None = None, log: bool = False, long: int | None = None,
    unit: str = "", title: str | None = None, height: int = HEIGHT,
) -> Chart:  # fmt: skip
    """Values over so many steps: step, value, series, split.

    `marks` are points on them that say something: step, value, split, told, and perhaps ended (a cross instead of a
    dot), low and high (an interval). `long` is the step where batches of 30 s begin; a chart with room for it says so.
    """
    import altair as alt

    scale = alt.Scale(type="log", nice=False) if log else alt.Scale(zero=True, nice=True)
    powers = decades(data["value"]) if log else []
    ticks: dict[str, Any] = {"values": powers, "format": "~g"} if powers else {"tickCount": 4}
    along = alt.Scale(domain=[0, steps], nice=False)
    x = alt.X("step:Q", axis=alt.Axis(tickCount=5, format=",d"), scale=along, title="step")
    y = alt.Y("value:Q", axis=alt.Axis(**GRID, **ticks, labelExpr=f"datum.label + '{unit}'"), scale=scale, title=None)
    chart = alt.Chart(data).mark_line(strokeWidth=2, aria=False)
    layers: list[alt.Chart] = [chart.encode(x, y, colour(), detail="series:N", order="step:Q")]
    if long is not None and 0 < long < steps:
        rule, label = phase(long, steps, x)
        layers += [rule, label] if height > LOW else [rule]
    if marks is not None and len(marks):
        marks = marks.assign(ended=marks.get("ended", False))
        on = alt.Chart(marks)
        if "low" in marks:
            layers.append(on.mark_rule(opacity=0.6, aria=False).encode(x, alt.Y("low:Q"), colour(), y2="high:Q"))
        shape = alt.Shape("ended:N", legend=None, scale=alt.Scale(domain=[False, True], range=["circle", "cross"]))
        dots = on.mark_point(size=60, filled=True, opacity=1, stroke="var(--panel)")
        layers.append(dots.encode(x, y, colour(), shape, description=alt.Description("told:N")))
    heading: dict[str, Any] = {"title": alt.TitleParams(title, anchor="start")} if title else {}
    return alt.layer(*layers, width=WIDTH - 40, height=height, **heading)


def phase(long: int, steps: int, x: alt.X) -> tuple[alt.Chart, alt.Chart]:
    """A line at the step where batches of 30 s begin, and beside it, where there is more room, what it is."""
    import altair as alt
    import pandas as pd

    at = alt.Chart(pd.DataFrame({"step": [long], "told": [f"30 s batches from step {long:,}"]})).encode(x)
    side: dict[str, Any] = {"align": "right", "dx": -6} if 2 * long > steps else {"align": "left", "dx": 6}
    text = at.mark_text(baseline="top", fontSize=12, color="var(--quiet)", **side)
    rule = at.mark_rule(strokeDash=[3, 3], color="var(--quiet)", aria=False)
    return rule, text.encode(y=alt.value(0), text="told:N")


def decades(values: pd.Series[float]) -> list[float]:
    """Ticks of a logarithmic axis: 1, 2 and 5 times the powers of ten among the values, or the powers alone."""
    powers = range(math.floor(math.log10(values.min())), math.ceil(math.log10(values.max())) + 1)
    fine = [round(digit * 10.0**power, 9) for power in powers for digit in (1, 2, 5)]
    among = [tick for tick in fine if values.min() <= tick <= values.max()]
    return among if len(among) < 6 else [tick for tick in among if f"{tick:e}".startswith("1.0")]


def scattered(data: pd.DataFrame, name: str, log: bool, height: int = HEIGHT) -> Chart:
    """A rate for each value of a hyperparameter: value, wer (percent), split, told."""
    import altair as alt

    scale = alt.Scale(type="log", padding=12) if log else alt.Scale(zero=False, padding=12)
    axis = alt.Axis(**GRID, tickCount=4, labelExpr=PERCENT, title=None)
    return (
        alt.Chart(data, width=WIDTH - 40, height=height)
        .mark_point(size=70, filled=True, opacity=1, stroke="var(--panel)")
        .encode(
            alt.X("value:Q", scale=scale, title=name, axis=alt.Axis(tickCount=4, format="~r", labelOverlap=True)),
            alt.Y("wer:Q", axis=axis, scale=alt.Scale(zero=False)),
            colour(),
            description=alt.Description("told:N"),
        )
    )
