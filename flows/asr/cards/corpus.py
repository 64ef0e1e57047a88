"""The cards of `preprocess` and `collect`: the training corpus.

`clips` has a row per accepted clip (clip, split, source, speaker or None, seconds, words, text, retained), `rejected`
one per rejected clip (clip, reason, split).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise, zip_longest
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from asr.cards.charts import (
    MAX_BARS,
    SPLIT_ORDER,
    count_bars,
    duration_bars,
    format_duration,
    histograms,
    keep_largest,
    render_svg,
    split_chip,
)
from asr.cards.page import audio_player, card_part, escape, html_table, join_facts, panel, panel_columns, stat_tiles
from asr.corpus import text
from asr.corpus.rows import reason_kind
from asr.corpus.splits import SPLITS

if TYPE_CHECKING:
    from asr.corpus.clips import Clip

MAX_REJECTED = 8  # rejected clips that are listed
MAX_BINS = 30  # of a histogram
BIN_WIDTHS = [digit * 10.0**power for power in range(-2, 6) for digit in (1, 2, 5)]  # of a histogram
SPEAKER_EDGES = (0, 10, 30, 60, 120, 300, 600, 1200, 3600, 7200, 18_000, 36_000, math.inf)  # seconds per speaker


@card_part
def collect(
    clips: pd.DataFrame,
    rejected: pd.DataFrame,
    summary: Mapping[str, Any],
    reused_shards: int,
    examples: Sequence[Clip],
) -> str:
    """The whole corpus: its size, speakers, durations, rejected clips, and examples."""
    own = clips[clips["retained"].isna()]
    speakers, crossing = own["speaker"].nunique(), summary["speakers_crossing"]
    warning = f"<em>{crossing} in more than one split</em>"
    note = {None: "", 0: "each in one split only"}.get(crossing, warning) if speakers else ""
    reused = f"{reused_shards:,} shard{'s' * (reused_shards > 1)} reused" if reused_shards else ""
    head = [
        *clip_tiles(summary["kept"], summary["rejected"], clips["seconds"]),
        ("Speakers", f"{speakers:,}" if speakers else "unknown", note),
        ("Fingerprint", f"<code>{escape(summary['fingerprint'])}</code>", reused),
    ]
    return (
        stat_tiles("Corpus", head)
        + panel_columns(speech_panels(own) + retained_panel(clips) + rejected_panels(rejected))
        + example_players(examples)
    )


@card_part
def preprocess(clips: pd.DataFrame, rejected: pd.DataFrame, examples: Sequence[Clip]) -> str:
    """One shard: its size, rejected clips, and examples."""
    head = clip_tiles(len(clips), len(rejected), clips["seconds"])
    return stat_tiles("Shard", head) + panel_columns(rejected_panels(rejected)) + example_players(examples)


def clip_tiles(accepted: int, rejected: int, seconds: pd.Series[float]) -> list[tuple[str, str, str]]:
    """The tiles at the head of both cards."""
    total = accepted + rejected
    return [
        ("Clips accepted", f"{accepted:,}", f"of {total:,} found"),
        ("Rejected", f"{rejected:,}", f"{100 * rejected / total:.1f}\u00a0%" if rejected else ""),
        ("Speech", format_duration(seconds.sum()), f"{seconds.mean():.1f} s per clip" if accepted else ""),
    ]


def speech_panels(clips: pd.DataFrame) -> list[str]:
    """The panels about accepted clips."""
    if clips.empty:
        return [panel("Speech", "<p>There is no usable clip.</p>")]
    sources, pace = sum_seconds(clips, "source"), clips["words"] / clips["seconds"]
    longest = float(sources.groupby("name")["value"].sum().max())
    lengths, paces = (
        histogram_table(clips["seconds"], clips["split"], " s"),
        histogram_table(pace, pace.map(lambda _: "")),
    )
    tallest = max(lengths["share"].max(), paces["share"].max())
    note = "<p>Each bar is a share of its split's clips.</p>"
    return [
        panel("Speech by source", render_svg(duration_bars(keep_largest(sources), longest)), split_table(clips)),
        speakers_panel(clips, longest),
        panel("Clip length", render_svg(histograms(lengths, "seconds", tallest)), note),
        panel(
            "Speaking rate", render_svg(histograms(paces, "words per second", tallest)), "<p>All splits together.</p>"
        ),
        *asides_panel(clips),
    ]


def retained_panel(clips: pd.DataFrame) -> list[str]:
    """A panel about retained languages, if there are any."""
    lines = [
        (
            escape(language),
            format_duration(part["seconds"].sum()),
            *(f"{(part['split'] == split).sum():,}" for split in SPLITS),
        )
        for language, part in clips.groupby("retained")
    ]
    return [panel("Retained languages", html_table(("", "speech", *SPLITS), lines))] if lines else []


def asides_panel(clips: pd.DataFrame) -> list[str]:
    """A panel about asides in the transcripts, if there are any."""
    count = int(clips["text"].map(text.has_aside).sum())
    finding = f"{count:,} of {len(clips):,} clips have an aside in their text, such as [skratt], (viskar) or ♪ la la ♪."
    hint = 'A model learns to write them; "asides" in [text] writing leaves them out.'
    return [panel("Asides", f"<p>{finding} {hint}</p>")] if count else []


def speakers_panel(clips: pd.DataFrame, longest: float) -> str:
    """Speech by speaker: few speakers by name, many in brackets of how much they speak."""
    with_speaker = clips[clips["speaker"].notna()]
    if with_speaker.empty:
        return panel("Speech by speaker", "<p>The corpus names no speakers.</p>")
    missing = len(clips) - len(with_speaker)
    note = f"<p>{missing:,} clips name no speaker.</p>" if missing else ""
    sums = sum_seconds(with_speaker, "speaker")
    totals = sums.groupby("name")["value"].sum().sort_values(ascending=False)
    if len(totals) <= MAX_BARS:
        return panel("Speech by speaker", render_svg(duration_bars(keep_largest(sums), longest)), note)
    half, most = int((totals.cumsum() < totals.sum() / 2).sum()) + 1, 100 * totals.iloc[0] / totals.sum()
    summary = f"<p>{half:,} of {len(totals):,} speakers make up half of the speech, one alone {most:.0f}\u00a0%.</p>"
    return panel(
        "Speakers by amount of speech", render_svg(count_bars(bracket_speakers(sums), "speakers")), summary, note
    )


def rejected_panels(rejected: pd.DataFrame) -> list[str]:
    """The panels about rejected clips."""
    if rejected.empty:
        return [panel("Rejected clips", "<p>No clip was rejected.</p>")]
    kinds = rejected["reason"].map(reason_kind)
    reasons = rejected.groupby(kinds).size().rename_axis("name").reset_index(name="value").assign(split="")
    turn = rejected.groupby(kinds).cumcount()  # an example of each reason before a second of any
    some = rejected.assign(turn=turn).sort_values("turn", kind="stable").head(MAX_REJECTED)
    lines = [f"<li>{escape(row.clip)}<span>{escape(row.reason)}</span>" for row in some.itertuples()]
    return [
        panel("Rejected clips by reason", render_svg(count_bars(keep_largest(reasons), "clips"))),
        panel("Examples of rejected clips", "<ul>", *lines, "</ul>"),
    ]


def sum_seconds(clips: pd.DataFrame, column: str) -> pd.DataFrame:
    """Seconds by a column and split: name, split, value."""
    sums = clips.groupby([column, "split"], as_index=False)[["seconds"]].sum()
    return sums.set_axis(["name", "split", "value"], axis="columns")


def bracket_speakers(data: pd.DataFrame) -> pd.DataFrame:
    """The number of speakers per bracket of duration: name (as "1 min to 2 min"), split, value."""
    names = [f"{format_duration(low)} to {format_duration(high)}" for low, high in pairwise(SPEAKER_EDGES[:-1])] + [
        f"over {format_duration(SPEAKER_EDGES[-2])}"
    ]
    brackets = pd.cut(data["value"], list(SPEAKER_EDGES), labels=False, right=False)
    every = pd.MultiIndex.from_product([range(brackets.min(), brackets.max() + 1), SPLITS], names=["name", "split"])
    counts = data.groupby([brackets, data["split"]]).size().reindex(every, fill_value=0).reset_index(name="value")
    return counts.assign(name=counts["name"].map(names.__getitem__))


def histogram_table(values: pd.Series[float], groups: pd.Series[str], unit: str = "") -> pd.DataFrame:
    """A histogram per group: name (with its median), split (the group), low, high, clips, share (percent of its clips).

    The last bin includes the largest half percent of the values, which would stretch the axis.
    """
    reach = float(values.quantile(0.995))
    step = next(step for step in BIN_WIDTHS if step * MAX_BINS >= reach)
    edges = step * np.arange(max(1, math.ceil(reach / step)) + 1)
    parts = []
    for group in (group for group in SPLIT_ORDER if (groups == group).any()):
        of = values[groups == group]
        name = f"{group}, median {of.median():.1f}{unit}".removeprefix(", ")
        clips = np.histogram(of.clip(upper=edges[-1]), edges)[0]
        bins = {"low": edges[:-1], "high": edges[1:], "clips": clips, "share": 100 * clips / len(of)}
        parts.append(pd.DataFrame({"name": name, "split": group, **bins}))
    return pd.concat(parts, ignore_index=True)


def split_table(clips: pd.DataFrame) -> str:
    """The colour and the size of each split."""
    lines = "<tr><th><th>speech<th>clips<th>speakers"
    for split in SPLITS:
        of = clips[clips["split"] == split]
        voices = of["speaker"].nunique() or "\N{EN DASH}"
        lines += f"<tr><td>{split_chip(split)}<td>{format_duration(of['seconds'].sum())}<td>{len(of):,}<td>{voices}"
    return f"<table>{lines}</table>"


def example_players(examples: Sequence[Clip]) -> str:
    """Clips to play, ordered so that each split has a column of its own."""
    columns = [[example for example in examples if example.split == split] for split in SPLITS]
    players = [clip_player(example) for row in zip_longest(*columns) for example in row if example]
    return f"<h2>Listen</h2><div class=clips>{''.join(players)}</div>" if players else ""


def clip_player(clip: Clip) -> str:
    note = join_facts((clip.speaker or "", f"{clip.seconds:.1f} s", clip.clip))
    return panel(
        split_chip(clip.split),
        f"<blockquote>{escape(clip.text)}</blockquote>",
        audio_player(clip.flac),
        f"<p>{note}</p>",
    )
