"""What a run learns from: the cards of `collect` and `preprocess`.

`clips` has a row a clip that was kept (clip, split, source, speaker or None, seconds, words, text, retained) and
`rejected` one a clip that was not (clip, reason, split).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise, zip_longest
from typing import TYPE_CHECKING, Any

from asr.cards.drawing import NAMED, ORDER, amount, chip, columns, counts, draw, lasting, top
from asr.cards.page import audio, facts, panel, rows, safe, shown, stack, tiles
from asr.corpus import text
from asr.corpus.rows import reason_kind
from asr.corpus.splits import SPLITS

if TYPE_CHECKING:
    import pandas as pd

    from asr.corpus.clips import Clip

LISTED = 8  # rejected clips, by name
BINS = 30  # of a histogram, at most
STEPS = [digit * 10.0**power for power in range(-2, 6) for digit in (1, 2, 5)]  # widths of its bins
EDGES = (0, 10, 30, 60, 120, 300, 600, 1200, 3600, 7200, 18_000, 36_000, math.inf)  # seconds a speaker


@shown
def collect(
    clips: pd.DataFrame, rejected: pd.DataFrame, summary: Mapping[str, Any], taken: int, examples: Sequence[Clip]
) -> str:
    """What the run learns from: how much there is, who speaks, how it sounds, what was rejected."""
    own = clips[clips["retained"].isna()]
    voices, crossing = own["speaker"].nunique(), summary["speakers_crossing"]
    several = f"<em>{crossing} in more than one split</em>"
    apart = {None: "", 0: "each in one split only"}.get(crossing, several) if voices else ""
    made = f"{taken:,} shard{'s' * (taken > 1)} reused" if taken else ""
    head = [
        *figures(summary["kept"], summary["rejected"], clips["seconds"]),
        ("Speakers", f"{voices:,}" if voices else "unknown", apart),
        ("Fingerprint", f"<code>{safe(summary['fingerprint'])}</code>", made),
    ]
    return tiles("Corpus", head) + stack(speech(own) + retained(clips) + rejects(rejected)) + listen(examples)


@shown
def preprocess(clips: pd.DataFrame, rejected: pd.DataFrame, examples: Sequence[Clip]) -> str:
    """The same of one shard, at small."""
    head = figures(len(clips), len(rejected), clips["seconds"])
    return tiles("Shard", head) + stack(rejects(rejected)) + listen(examples)


def figures(kept: int, rejected: int, seconds: pd.Series[float]) -> list[tuple[str, str, str]]:
    """The tiles every card of clips begins with."""
    found = kept + rejected
    return [
        ("Clips kept", f"{kept:,}", f"of {found:,} found"),
        ("Rejected", f"{rejected:,}", f"{100 * rejected / found:.1f}\u00a0%" if rejected else ""),
        ("Speech", amount(seconds.sum()), f"{seconds.mean():.1f} s per clip" if kept else ""),
    ]


def speech(clips: pd.DataFrame) -> list[str]:
    """The panels on the clips that were kept."""
    if clips.empty:
        return [panel("Speech", "<p>There is no usable clip.</p>")]
    sources, pace = sums(clips, "source"), clips["words"] / clips["seconds"]
    longest = float(sources.groupby("name")["value"].sum().max())
    lengths, paces = spread(clips["seconds"], clips["split"], " s"), spread(pace, pace.map(lambda _: ""))
    tallest = max(lengths["share"].max(), paces["share"].max())
    told = "<p>Each bar is a share of its split's clips.</p>"
    return [
        panel("Speech by source", draw(lasting(top(sources), longest)), key(clips)),
        speakers(clips, longest),
        panel("Clip length", draw(columns(lengths, "seconds", tallest)), told),
        panel("Speaking rate", draw(columns(paces, "words per second", tallest)), "<p>All splits together.</p>"),
        *asides(clips),
    ]


def retained(clips: pd.DataFrame) -> list[str]:
    """A panel on the languages that the model is to keep, where there are such."""
    lines = [
        (safe(language), amount(part["seconds"].sum()), *(f"{(part['split'] == split).sum():,}" for split in SPLITS))
        for language, part in clips.groupby("retained")
    ]
    return [panel("Retained languages", rows(("", "speech", *SPLITS), lines))] if lines else []


def asides(clips: pd.DataFrame) -> list[str]:
    """A panel on what the texts note and nobody says, where they do."""
    count = int(clips["text"].map(text.has_aside).sum())
    told = f"{count:,} of {len(clips):,} clips have an aside in their text, such as [skratt], (viskar) or ♪ la la ♪."
    hint = 'A model learns to write them; "asides" in [text] writing leaves them out.'
    return [panel("Asides", f"<p>{told} {hint}</p>")] if count else []


def speakers(clips: pd.DataFrame, longest: float) -> str:
    """Who speaks: a few by name, many by how much they say, and what stands out."""
    named = clips[clips["speaker"].notna()]
    if named.empty:
        return panel("Speech by speaker", "<p>The corpus names no speakers.</p>")
    nameless = len(clips) - len(named)
    told = f"<p>{nameless:,} clips name no speaker.</p>" if nameless else ""
    each = sums(named, "speaker")
    totals = each.groupby("name")["value"].sum().sort_values(ascending=False)
    if len(totals) <= NAMED:
        return panel("Speech by speaker", draw(lasting(top(each), longest)), told)
    half, most = int((totals.cumsum() < totals.sum() / 2).sum()) + 1, 100 * totals.iloc[0] / totals.sum()
    who = f"<p>{half:,} of {len(totals):,} speakers make up half of the speech, one alone {most:.0f}\u00a0%.</p>"
    return panel("Speakers by amount of speech", draw(counts(brackets(each), "speakers")), who, told)


def rejects(rejected: pd.DataFrame) -> list[str]:
    """The panels on the clips that were not kept."""
    if rejected.empty:
        return [panel("Rejected clips", "<p>No clip was rejected.</p>")]
    kinds = rejected["reason"].map(reason_kind)
    reasons = rejected.groupby(kinds).size().rename_axis("name").reset_index(name="value").assign(split="")
    turn = rejected.groupby(kinds).cumcount()  # one of every reason before a second of any
    some = rejected.assign(turn=turn).sort_values("turn", kind="stable").head(LISTED)
    lines = [f"<li>{safe(row.clip)}<span>{safe(row.reason)}</span>" for row in some.itertuples()]
    return [
        panel("Rejected clips by reason", draw(counts(top(reasons), "clips"))),
        panel("Examples of rejected clips", "<ul>", *lines, "</ul>"),
    ]


def sums(clips: pd.DataFrame, column: str) -> pd.DataFrame:
    """Seconds by a column and split: name, split, value."""
    found = clips.groupby([column, "split"], as_index=False)[["seconds"]].sum()
    return found.set_axis(["name", "split", "value"], axis="columns")


def brackets(data: pd.DataFrame) -> pd.DataFrame:
    """How many names have how many seconds: name (as "1 min to 2 min"), split, value."""
    import pandas as pd

    names = [f"{amount(low)} to {amount(high)}" for low, high in pairwise(EDGES[:-1])] + [f"over {amount(EDGES[-2])}"]
    of = pd.cut(data["value"], list(EDGES), labels=False, right=False)
    every = pd.MultiIndex.from_product([range(of.min(), of.max() + 1), SPLITS], names=["name", "split"])
    found = data.groupby([of, data["split"]]).size().reindex(every, fill_value=0).reset_index(name="value")
    return found.assign(name=found["name"].map(names.__getitem__))


def spread(values: pd.Series[float], groups: pd.Series[str], unit: str = "") -> pd.DataFrame:
    """A histogram a group: name (with its median), split (the group), low, high, clips, share (of its clips, percent).

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
        bins = {"low": edges[:-1], "high": edges[1:], "clips": clips, "share": 100 * clips / len(of)}
        parts.append(pd.DataFrame({"name": name, "split": group, **bins}))
    return pd.concat(parts, ignore_index=True)


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
    told = facts((clip.speaker or "", f"{clip.seconds:.1f} s", clip.clip))
    return panel(chip(clip.split), f"<blockquote>{safe(clip.text)}</blockquote>", audio(clip.flac), f"<p>{told}</p>")
