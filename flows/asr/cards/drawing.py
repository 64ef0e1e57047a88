"""Charts of the cards: altair draws them to SVG in the page's colours, from sums alone, so that 100,000 clips take no
more room than ten.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from asr.corpus.rows import SPLITS

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

    Chart = alt.Chart | alt.LayerChart | alt.FacetChart

ORDER = {split: rank for rank, split in enumerate((*SPLITS, ""))}  # "" is what belongs to no split
WIDTH = 320  # pixels of a chart at its own size: a phone's without the margins
NAMED = 10  # bars with a name of their own, at most


def bars(data: pd.DataFrame, say: Callable[[float], str]) -> Chart:
    """A bar a name in the order given, its splits in their colours: name, split, value."""
    import altair as alt

    of = zip(data["name"], data["split"], data["value"], strict=True)
    told = [f"{', '.join(filter(None, (name, split)))}: {say(value)}" for name, split, value in of]
    data = data.assign(told=told, rank=data["split"].map(ORDER))
    ends = data.groupby("name", sort=False, as_index=False)[["value"]].sum()
    ends["told"] = ends["value"].map(say)
    y = alt.Y("name:N", sort=list(ends["name"]), axis=None)
    x = alt.X("value:Q", axis=None, scale=alt.Scale(nice=False))
    rows = alt.Chart(ends, height=alt.Step(40)).encode(y)
    parts = alt.Chart(data).mark_bar(size=8, yOffset=9, stroke="var(--panel)")
    return alt.layer(
        rows.mark_bar(size=8, yOffset=9, fill="var(--track)", aria=False).encode(x=alt.value(0), x2=alt.value(WIDTH)),
        parts.encode(x, y, colour(), alt.Order("rank:Q"), alt.Description("told:N")),
        rows.mark_text(align="left", baseline="bottom", limit=220).encode(x=alt.value(0), text="name:N"),
        rows.mark_text(align="right", baseline="bottom").encode(x=alt.value(WIDTH), text="told:N"),
        width=WIDTH,
    )


def columns(data: pd.DataFrame, unit: str) -> Chart:
    """Histograms one above the other, each to its own height, for their shapes to be compared: what `spread` gives."""
    import altair as alt

    told = [f"{row.low:g} to {row.high:g} {unit}: {row.clips:,} clips" for row in data.itertuples()]
    names = list(data["name"].unique())
    x = alt.X("low:Q", bin="binned", title=unit, axis=alt.Axis(tickCount=6))
    chart = alt.Chart(data.assign(told=told), width=WIDTH, height=120 if len(names) == 1 else 60)
    chart = chart.mark_bar(stroke="var(--panel)")
    chart = chart.encode(x, alt.X2("high:Q"), alt.Y("clips:Q", axis=None), colour(), alt.Description("told:N"))
    return chart.facet(row=alt.Row("name:N", sort=names, title=None), spacing=10).resolve_scale(y="independent")


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
        axis={**quiet, "titleFontWeight": "normal", "domainColor": "var(--line)", "ticks": False, "grid": False},
        header={"labelOrient": "top", "labelAnchor": "start", "labelColor": "var(--ink)", "labelFontSize": 13},
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


def reaches(data: pd.DataFrame) -> Chart:
    """A rate a name in the order given, with its 95 % interval: name, split, wer, low, high (percent)."""
    import altair as alt

    told = [f"{row.wer:.1f}\u00a0%" for row in data.itertuples()]
    bounds = [f"{row.name}: {row.wer:.1f} %, {row.low:.1f} to {row.high:.1f}" for row in data.itertuples()]
    data = data.assign(told=told, bounds=bounds)
    y = alt.Y("name:N", sort=list(data["name"]), axis=None)
    scale = alt.Scale(domain=[0, max(1.0, float(data["high"].max()))], nice=False)
    rows = alt.Chart(data, height=alt.Step(40)).encode(y)
    wer, low = alt.X("wer:Q", axis=None, scale=scale), alt.X("low:Q", axis=None, scale=scale)
    track = rows.mark_bar(size=8, yOffset=9, fill="var(--track)", aria=False)
    reach = rows.mark_bar(size=8, yOffset=9, opacity=0.45, minBandSize=2)
    return alt.layer(
        track.encode(x=alt.value(0), x2=alt.value(WIDTH)),
        reach.encode(low, x2="high:Q", color=colour(), description=alt.Description("bounds:N")),
        rows.mark_point(size=55, yOffset=9, filled=True, opacity=1, stroke="var(--panel)").encode(
            wer, color=colour(), description=alt.Description("bounds:N")
        ),
        rows.mark_text(align="left", baseline="bottom", limit=220).encode(x=alt.value(0), text="name:N"),
        rows.mark_text(align="right", baseline="bottom").encode(x=alt.value(WIDTH), text="told:N"),
        width=WIDTH,
    )


def lines(data: pd.DataFrame, steps: int, marks: pd.DataFrame | None = None, log: bool = False) -> Chart:
    """Values over so many steps: step, value, series, split.

    `marks` are points on them that say something: step, value, split, told, and perhaps ended (a cross in the stead of
    a dot), low and high (an interval).
    """
    import altair as alt

    scale = alt.Scale(type="log", nice=False) if log else alt.Scale(zero=False, nice=True)
    powers = decades(data["value"]) if log else []
    ticks = {"values": powers, "format": "~g"} if powers else {"tickCount": 4}
    axis = alt.Axis(grid=True, gridColor="var(--line)", domain=False, **ticks)
    along = alt.Scale(domain=[0, steps], nice=False)
    x = alt.X("step:Q", axis=alt.Axis(tickCount=5, format=",d"), scale=along, title="step")
    y = alt.Y("value:Q", axis=axis, scale=scale, title=None)
    chart = alt.Chart(data).mark_line(strokeWidth=2, aria=False)
    layers: list[alt.Chart] = [chart.encode(x, y, colour(), detail="series:N", order="step:Q")]
    if marks is not None and len(marks):
        marks = marks.assign(ended=marks.get("ended", False))
        on = alt.Chart(marks)
        if "low" in marks:
            layers.append(on.mark_rule(opacity=0.6, aria=False).encode(x, alt.Y("low:Q"), colour(), y2="high:Q"))
        shape = alt.Shape("ended:N", legend=None, scale=alt.Scale(domain=[False, True], range=["circle", "cross"]))
        dots = on.mark_point(size=60, filled=True, opacity=1, stroke="var(--panel)")
        layers.append(dots.encode(x, y, colour(), shape, description=alt.Description("told:N")))
    return alt.layer(*layers, width=WIDTH - 40, height=150)


def decades(values: pd.Series[float]) -> list[float]:
    """Ticks of a logarithmic axis: 1, 2 and 5 times the powers of ten among the values, or the powers alone."""
    powers = range(math.floor(math.log10(values.min())), math.ceil(math.log10(values.max())) + 1)
    fine = [round(digit * 10.0**power, 9) for power in powers for digit in (1, 2, 5)]
    among = [tick for tick in fine if values.min() <= tick <= values.max()]
    return among if len(among) < 6 else [tick for tick in among if f"{tick:e}".startswith("1.0")]


def scattered(data: pd.DataFrame, name: str, log: bool) -> Chart:
    """A WER for each value of a hyperparameter: value, wer, split, told."""
    import altair as alt

    scale = alt.Scale(type="log", padding=12) if log else alt.Scale(zero=False, padding=12)
    axis = alt.Axis(tickCount=4, grid=True, gridColor="var(--line)", domain=False)
    return (
        alt.Chart(data, width=WIDTH - 40, height=150)
        .mark_point(size=70, filled=True, opacity=1, stroke="var(--panel)")
        .encode(
            alt.X("value:Q", scale=scale, title=name, axis=alt.Axis(tickCount=4, format="~g", labelOverlap=True)),
            alt.Y("wer:Q", axis=axis, scale=alt.Scale(zero=False), title=None),
            colour(),
            description=alt.Description("told:N"),
        )
    )
