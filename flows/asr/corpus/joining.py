"""The whole corpus: what only shows when every part is there, and what is known of it in the end."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from asr import InputError
from asr.corpus.rows import SPLITS, kind
from asr.corpus.shards import Packed, Shard, rejects
from asr.settings import Corpus

if TYPE_CHECKING:
    import pandas as pd

RANK = {"test": 0, "validation": 1, "train": 2}  # of two clips that may not both stay, the one that scores does


@dataclass(frozen=True)
class Joined:
    """The corpus without its audio."""

    shards: tuple[Shard, ...]  # each with the clips that stay
    rejected: pd.DataFrame  # clip, reason, split
    summary: dict[str, Any]
    taken_over: int  # shards that an earlier run made


def join(packed: Sequence[Packed], corpus: Corpus) -> Joined:
    """The parts as one corpus: no sound and no speaker in two splits, and no sound twice in one.

    Of clips that may not both stay, that of test goes before that of validation, and both before training's.
    """
    shards = [shard for one in packed for shard in one.shards]
    listed = rejects(one for part in packed for one in part.rejected)
    taken_over = sum(len(one.shards) for one in packed if one.taken_over)
    whole = Joined(tuple(shards), listed, {}, taken_over)
    return without(whole, _reasons(table(shards), corpus), corpus)


def without(joined: Joined, reasons: pd.Series, corpus: Corpus) -> Joined:
    """The corpus less some clips: `reasons` says of each clip in `table(joined.shards)` why it goes, or is None."""
    import pandas as pd

    clips, gone = table(joined.shards), reasons.notna()
    more = pd.DataFrame({"clip": clips["clip"][gone], "reason": reasons[gone], "split": clips["split"][gone]})
    listed = pd.concat([joined.rejected, more], ignore_index=True) if len(more) else joined.rejected
    stays: dict[Any, pd.Series] = dict(iter((~gone).groupby(clips["shard"]))) if len(clips) else {}
    shards = [
        dataclasses.replace(shard, clips=shard.clips[stays[at].to_numpy()]) if at in stays else shard
        for at, shard in enumerate(joined.shards)
    ]
    return Joined(tuple(shards), listed, _summary(clips[~gone], listed, shards, corpus), joined.taken_over)


def first(packed: Sequence[Packed]) -> list[int]:
    """The first part of each split: those whose clips stand for the corpus where somebody listens."""
    shards = [(at, shard) for at, one in enumerate(packed) for shard in one.shards if not shard.retained]
    return sorted(set({shard.split: at for at, shard in reversed(shards)}.values()))


def table(shards: Sequence[Shard]) -> pd.DataFrame:
    """Every clip of the shards: clip, source, speaker, seconds, words, text, sound, split, retained (the language that
    is not to be forgotten, None of the corpus' own) and its shard's number."""
    import pandas as pd

    if not shards:
        columns = ["clip", "source", "speaker", "seconds", "words", "text", "sound", "split", "retained", "shard"]
        return pd.DataFrame(columns=columns)
    frames = [one.clips.assign(split=one.split, retained=one.retained, shard=at) for at, one in enumerate(shards)]
    return pd.concat(frames, ignore_index=True)


def _reasons(clips: pd.DataFrame, corpus: Corpus) -> pd.Series:
    """For each clip why it cannot stay beside the others, or None."""
    import pandas as pd

    reasons = pd.Series(None, index=clips.index, dtype=object)
    left = clips.assign(rank=clips["split"].map(RANK)).sort_values("rank", kind="stable")

    def set_aside(these: pd.Series, reason: str) -> pd.DataFrame:
        reasons[left.index[these]] = reason
        return left[~these]  # none of which goes for the sake of a clip that has gone itself

    left = set_aside(left["clip"].duplicated(), "listed twice")
    across = left["rank"] > left.groupby("sound")["rank"].transform("min")
    left = set_aside(across, "duplicate across splits")
    if not corpus.duplicates_may_stay:
        left = set_aside(left["sound"].duplicated(), "duplicate audio")
    if not corpus.speakers_may_cross:
        across = left["rank"] > left.groupby("speaker")["rank"].transform("min")
        set_aside(across, "speaker in another split")
    return reasons


def _summary(clips: pd.DataFrame, rejected: pd.DataFrame, shards: Sequence[Shard], corpus: Corpus) -> dict[str, Any]:
    """The run's `corpus` artifact; found = kept + rejected, always.

    `clips`, hours and speakers are of the corpus' own language, `retained` counts clips of the others; the rest is of
    all.
    """
    own = clips[clips["retained"].isna()]
    known, languages = own.dropna(subset="speaker"), sorted(set(corpus.retained.values()))

    def hours(part: pd.DataFrame) -> float:
        return float(part["seconds"].sum() / 3600)

    def counts(part: pd.DataFrame) -> dict[str, int]:
        return {split: int((part["split"] == split).sum()) for split in SPLITS}

    return {
        "found": len(clips) + len(rejected),
        "kept": len(clips),
        "rejected": len(rejected),
        "hours": hours(own),
        "fingerprint": fingerprint(shards),
        "clips": counts(own),
        "split_hours": {split: hours(own[own["split"] == split]) for split in SPLITS},
        "retained": {language: counts(clips[clips["retained"] == language]) for language in languages},  # clips
        "sources": {
            one.display_name: hours(clips[clips["source"] == one.display_name]) for one in corpus.all_sources
        },  # in hours
        "speakers": int(known["speaker"].nunique()),
        "speakers_crossing": int((known.groupby("speaker")["split"].nunique() > 1).sum()),
        "reasons": dict(Counter(map(kind, rejected["reason"])).most_common()),
    }


def fingerprint(shards: Sequence[Shard]) -> str:
    """16 hex digits that change when any clip, text or split does."""
    told = hashlib.sha256()
    for shard in shards:
        told.update(repr((shard.key, shard.clips.index.tolist())).encode())
    return told.hexdigest()[:16]


def check(joined: Joined, corpus: Corpus) -> None:
    """Raises `InputError` where a split is left without a clip, or no training clip would ever be drawn.

    A retained language must have validation. Of a split it tells why its own clips were set aside, and of a reason that
    has particulars those of one clip.
    """
    needed = [(corpus.language, split, joined.summary["clips"]) for split in SPLITS]
    needed += [(language, "validation", clips) for language, clips in joined.summary["retained"].items()]
    for language, split, clips in needed:
        if not clips[split]:
            gone = joined.rejected[joined.rejected["split"] == split]
            # Where there are several sources, a clip's name begins with its source's.
            gone = gone[gone["clip"].map(lambda clip: corpus.language_of(clip.partition("/")[0])) == language]
            reasons = Counter(map(kind, gone["reason"]))
            told = ", ".join(f"{count} {reason}{_such_as(gone, reason)}" for reason, count in reasons.most_common(3))
            hint = ""
            if "speaker in another split" in reasons:
                hint = "; speakers_may_cross = true lets a speaker stand in several splits"
            elif not reasons and any(clips.values()):  # such as what visitors of the Space gave
                hint = f"; put it beside a corpus that has {split} clips, each as one of [[corpus.sources]]"
            raise InputError(
                f"[corpus] no clip of {split}{'' if language == corpus.language else f' in {language}'} is fit to use; "
                f"set aside: {told or 'none'}{hint}"
            )
    drawn = {
        source.display_name
        for source in corpus.all_sources
        if source.weight and source.display_name not in corpus.retained
    }
    if not any(shard.split == "train" and shard.clips["source"].isin(drawn).any() for shard in joined.shards):
        among = f" in {corpus.language}" if corpus.retained else ""
        raise InputError(f"[corpus] weight: every source with training clips{among} has the weight 0")


def _such_as(gone: pd.DataFrame, reason: str) -> str:
    for clip, told in zip(gone["clip"], gone["reason"], strict=True):
        if told.startswith(f"{reason}: "):
            return f" ({clip!r:.60}{told.removeprefix(reason)})"
    return ""
