"""What the Metaflow cards show.

A card is a page of ours: it reads the same offline, on a phone, in light and in dark, and its security policy lets it
ask nothing of anyone. altair draws the charts to SVG in the page's colours, from sums alone, so that 100,000 clips take
no more room than ten. Below `@card(type=charts.PAGE)` a step says

    current.card.append(charts.corpus(clips, rejected, summary, taken, examples))

where `clips` has a row a clip that was kept (clip, split, source, speaker or None, seconds, words, text) and `rejected`
one a clip that was set aside (clip, reason); `taken` is the number of shards that an earlier run made.
"""

from __future__ import annotations

import io
import math
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise, zip_longest
from typing import TYPE_CHECKING, Any

from asr.corpus.rows import SPLITS
from asr.page import PAGE as PAGE
from asr.page import panel, safe, shown, stack, tiles

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

    from asr.corpus.clips import Clip

    Chart = alt.LayerChart | alt.FacetChart

ORDER = {split: rank for rank, split in enumerate((*SPLITS, ""))}  # "" is what belongs to no split
WIDTH = 320  # pixels of a chart at its own size: a phone's without the margins
NAMED = 10  # bars with a name of their own, at most
LISTED = 8  # clips that were set aside, by name
BINS = 30  # of a histogram, at most
STEPS = [digit * 10.0**power for power in range(-2, 6) for digit in (1, 2, 5)]  # widths of its bins
EDGES = (0, 10, 30, 60, 120, 300, 600, 1200, 3600, 7200, 18_000, 36_000, math.inf)  # seconds a speaker


@shown
def corpus(
    clips: pd.DataFrame, rejected: pd.DataFrame, summary: Mapping[str, Any], taken: int, examples: Sequence[Clip]
) -> str:
    """What the run learns from: how much there is, who speaks, how it sounds, what was set aside."""
    voices, crossing = clips["speaker"].nunique(), summary["speakers_crossing"]
    apart = {None: "", 0: "none in two splits"}.get(crossing, f"<em>{crossing} in two splits</em>") if voices else ""
    made = f"{taken:,} shard{'s' * (taken > 1)} taken over" if taken else ""
    head = [
        *figures(summary["kept"], summary["rejected"], clips["seconds"]),
        ("Speakers", f"{voices:,}" if voices else "unknown", apart),
        ("Fingerprint", f"<code>{safe(summary['fingerprint'])}</code>", made),
    ]
    return tiles("Corpus", head) + stack(speech(clips) + set_aside(rejected)) + listen(examples)


@shown
def shard(clips: pd.DataFrame, rejected: pd.DataFrame, examples: Sequence[Clip]) -> str:
    """The same of one shard, at small."""
    head = figures(len(clips), len(rejected), clips["seconds"])
    return tiles("Shard", head) + stack(set_aside(rejected)) + listen(examples)


def figures(kept: int, rejected: int, seconds: pd.Series[float]) -> list[tuple[str, str, str]]:
    """The tiles every card of clips begins with."""
    found = kept + rejected
    return [
        ("Clips kept", f"{kept:,}", f"of {found:,} found"),
        ("Set aside", f"{rejected:,}", f"{100 * rejected / found:.1f}\u00a0%" if rejected else ""),
        ("Speech", amount(seconds.sum()), f"{seconds.mean():.1f} s a clip" if kept else ""),
    ]


def speech(clips: pd.DataFrame) -> list[str]:
    """The panels on the clips that were kept."""
    if clips.empty:
        return [panel("Speech", "<p>No clip is fit to use.</p>")]
    pace = clips["words"] / clips["seconds"]
    lengths, paces = spread(clips["seconds"], clips["split"], " s"), spread(pace, pace.map(lambda _: ""))
    return [
        panel("Speech by source and split", draw(bars(top(sums(clips, "source")), amount)), key(clips)),
        speakers(clips),
        panel("Length of a clip", draw(columns(lengths, "seconds"))),
        panel("Words a second", draw(columns(paces, "words a second"))),
    ]


def speakers(clips: pd.DataFrame) -> str:
    """Who speaks: a few by name, many by how much they say, and what stands out."""
    named = clips[clips["speaker"].notna()]
    if named.empty:
        return panel("Speech by speaker", "<p>The corpus does not say who speaks.</p>")
    nameless = len(clips) - len(named)
    told = f"<p>{nameless:,} clips name no speaker.</p>" if nameless else ""
    each = sums(named, "speaker")
    totals = each.groupby("name")["value"].sum().sort_values(ascending=False)
    if len(totals) <= NAMED:
        return panel("Speech by speaker", draw(bars(top(each), amount)), told)
    half, most = int((totals.cumsum() < totals.sum() / 2).sum()) + 1, 100 * totals.iloc[0] / totals.sum()
    who = f"<p>Half of the speech is by {half:,} of {len(totals):,} speakers, {most:.0f}\u00a0% by one of them.</p>"
    return panel("Speakers by how much they say", draw(bars(brackets(each), "{:,.0f}".format)), who, told)


def set_aside(rejected: pd.DataFrame) -> list[str]:
    """The panels on the clips that were not kept."""
    if rejected.empty:
        return [panel("Set aside", "<p>Nothing was set aside.</p>")]
    reasons = rejected.groupby("reason").size().rename_axis("name").reset_index(name="value").assign(split="")
    turn = rejected.groupby("reason").cumcount()  # one of every reason before a second of any
    some = rejected.assign(turn=turn).sort_values("turn", kind="stable").head(LISTED)
    lines = [f"<li>{safe(row.clip)}<span>{safe(row.reason)}</span>" for row in some.itertuples()]
    return [
        panel("Set aside, by reason", draw(bars(top(reasons), "{:,.0f}".format))),
        panel("Some of those set aside", "<ul>", *lines, "</ul>"),
    ]


def sums(clips: pd.DataFrame, column: str) -> pd.DataFrame:
    """Seconds by a column and split: name, split, value."""
    found = clips.groupby([column, "split"], as_index=False)[["seconds"]].sum()
    return found.set_axis(["name", "split", "value"], axis="columns")


def top(data: pd.DataFrame) -> pd.DataFrame:
    """name, split, value, the largest name first; where there are many, the smallest are one."""
    ranked = list(data.groupby("name")["value"].sum().sort_values(ascending=False, kind="stable").index)
    if len(ranked) > NAMED:
        rest = f"{len(ranked) - NAMED + 1:,} others"
        data = data.assign(name=data["name"].where(data["name"].isin(ranked[: NAMED - 1]), rest))
        ranked = [*ranked[: NAMED - 1], rest]
    data = data.groupby(["name", "split"], as_index=False).sum().sort_values("split", key=lambda of: of.map(ORDER))
    return data.sort_values("name", key=lambda names: names.map(ranked.index), kind="stable")


def brackets(data: pd.DataFrame) -> pd.DataFrame:
    """How many names have how many seconds: name (as "1 min to 2 min"), split, value."""
    import pandas as pd

    names = [f"{amount(low)} to {amount(high)}" for low, high in pairwise(EDGES[:-1])] + [f"over {amount(EDGES[-2])}"]
    of = pd.cut(data["value"], list(EDGES), labels=False, right=False)
    every = pd.MultiIndex.from_product([range(of.min(), of.max() + 1), SPLITS], names=["name", "split"])
    found = data.groupby([of, data["split"]]).size().reindex(every, fill_value=0).reset_index(name="value")
    return found.assign(name=found["name"].map(names.__getitem__))


def spread(values: pd.Series[float], groups: pd.Series[str], unit: str = "") -> pd.DataFrame:
    """A histogram a group: name (with its median), split (the group), low, high, clips.

    The last bin also holds the half percent that would stretch the axis.
    """
    import numpy as np
    import pandas as pd

    reach = float(values.quantile(0.995))
    step = next(step for step in STEPS if step * BINS >= reach)
    edges = step * np.arange(max(1, math.ceil(reach / step)) + 1)
    parts = []
    for group in (group for group in ORDER if (groups == group).any()):
        of = values[groups == group]
        name = f"{group}, median {of.median():.1f}{unit}".removeprefix(", ")
        clips = np.histogram(of.clip(upper=edges[-1]), edges)[0]
        parts.append(pd.DataFrame({"name": name, "split": group, "low": edges[:-1], "high": edges[1:], "clips": clips}))
    return pd.concat(parts, ignore_index=True)


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


def key(clips: pd.DataFrame) -> str:
    """Which colour is which split, and how much it holds."""
    lines = "<tr><th><th>speech<th>clips<th>speakers"
    for split in SPLITS:
        of = clips[clips["split"] == split]
        voices = of["speaker"].nunique() or "\N{EN DASH}"
        lines += f"<tr><td>{chip(split)}<td>{amount(of['seconds'].sum())}<td>{len(of):,}<td>{voices}"
    return f"<table>{lines}</table>"


def listen(examples: Sequence[Clip]) -> str:
    """Clips to play, dealt so that a split keeps its column where there are three."""
    hands = [[example for example in examples if example.split == split] for split in SPLITS]
    dealt = [player(example) for turn in zip_longest(*hands) for example in turn if example]
    return f"<h2>Listen</h2><div class=clips>{''.join(dealt)}</div>" if dealt else ""


def player(clip: Clip) -> str:
    told = " · ".join(safe(part) for part in (clip.speaker, f"{clip.seconds:.1f} s", clip.clip) if part)
    sound = f"data:audio/flac;base64,{b64encode(clip.flac).decode()}"
    text = f"<blockquote>{safe(clip.text)}</blockquote>"
    return panel(chip(clip.split), text, f'<audio controls preload="metadata" src="{sound}"></audio><p>{told}</p>')


def chip(split: str) -> str:
    return f'<span class=chip style="--chip: var(--{split})">{split}</span>'


def amount(seconds: float) -> str:
    """Seconds in the unit that one would say."""
    if round(seconds) < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if round(seconds / 60) < 60 else f"{seconds / 3600:,.1f}".removesuffix(".0") + " h"
