"""The picture of a release's training curve."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any, Literal

from asr.corpus.text import RATES
from asr.release.markdown import percent

CURVE_FILE = "training.png"  # in the release folder
INTERVAL = "95\u00a0% interval"
BLUE, INK, GREY, GRID = "#2563eb", "#16202e", "#556275", "#dfe4ec"  # on white, on any page


def render_curve(record: Mapping[str, Any]) -> bytes:
    """A PNG of the winner's validation WER (or CER) over its steps, 640 pixels wide at double density."""
    import altair as alt
    import pandas as pd
    import vl_convert  # noqa: F401  where it cannot be loaded, for want of memory, Altair would say it is not installed

    points = pd.DataFrame(record["curve"], columns=["step", "validation_wer", "low", "high"]).astype(float).dropna()
    best = points.sort_values(["validation_wer", "step"]).head(1)
    best = best.assign(label=[percent(wer) for wer in best["validation_wer"]])
    last_step = max([1.0, *points["step"]])
    scale = alt.Scale(domain=[0, last_step], nice=False)
    side: Literal["left", "right"] = "left" if (best["step"] < last_step / 2).any() else "right"
    x = alt.X("step:Q", title="step", scale=scale, axis=alt.Axis(format=",d", tickCount=6, tickMinStep=1, grid=False))
    y = alt.Y("validation_wer:Q", title=f"validation {RATES[record.get('unit', 'word')]} in %, with its {INTERVAL}")
    base, low, high = alt.Chart(points).encode(x), alt.Y("low:Q"), alt.Y("high:Q")
    chart = alt.layer(
        base.mark_area(color=BLUE, opacity=0.14).encode(low, y2="high:Q"),
        base.mark_rule(color=BLUE, opacity=0.5, strokeWidth=1.5).encode(low, y2="high:Q"),
        base.mark_line(color=BLUE, strokeWidth=2.5).encode(y),
        base.mark_point(color=BLUE, filled=True, opacity=1, size=60, stroke="white").encode(y),
        alt.Chart(best).mark_text(color=INK, fontSize=14, dy=-11, align=side).encode(x, high, text="label:N"),
        width=640, height=300, autosize=alt.AutoSizeParams(type="fit", contains="padding"),
    )  # fmt: skip
    colours = {"labelColor": GREY, "titleColor": GREY, "titleFontWeight": "normal", "domain": False, "ticks": False}
    sizes = {"labelFontSize": 12, "titleFontSize": 12, "titlePadding": 10}
    # vl-convert includes this font, so the picture is the same on every machine.
    chart = chart.configure(background="white", padding=12, view={"stroke": None}, font="Liberation Sans")
    chart = chart.configure_axis(gridColor=GRID, **colours, **sizes)
    file = io.BytesIO()
    chart.save(file, format="png", scale_factor=2)
    return file.getvalue()
