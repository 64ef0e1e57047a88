"""The manifest of the whole corpus: parts merged, duplicates removed, and a summary; the audio stays in the shards."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from asr import InputError
from asr.corpus.rows import reason_kind
from asr.corpus.shards import PackedPart, Shard, rejected_table
from asr.corpus.splits import SPLITS
from asr.settings import Corpus

if TYPE_CHECKING:
    import pandas as pd

SPLIT_PRIORITY = {"test": 0, "validation": 1, "train": 2}  # of two conflicting clips the lower stays


@dataclass(frozen=True)
class Manifest:
    """The corpus without its audio."""

    shards: tuple[Shard, ...]  # each with its accepted clips
    rejected: pd.DataFrame  # clip, reason, split
    summary: dict[str, Any]
    reused_shards: int  # built by an earlier run


def merge_parts(parts: Sequence[PackedPart], corpus: Corpus) -> Manifest:
    """Merge the parts so that no audio and no speaker is in two splits, and no audio occurs twice in one.

    Of conflicting clips, test takes precedence over validation, and both over training.
    """
    shards = tuple(shard for part in parts for shard in part.shards)
    rejected = rejected_table(clip for part in parts for clip in part.rejected)
    reused_shards = sum(len(part.shards) for part in parts if part.is_reused)
    merged = Manifest(shards, rejected, {}, reused_shards)
    return remove_clips(merged, _find_conflicts(clip_table(shards), corpus), corpus)


def remove_clips(manifest: Manifest, reasons: pd.Series, corpus: Corpus) -> Manifest:
    """Reject some clips: `reasons` has for each clip in `clip_table(manifest.shards)` the reason, or None."""
    import pandas as pd

    clips, is_rejected = clip_table(manifest.shards), reasons.notna()
    columns = {"clip": clips["clip"], "reason": reasons, "split": clips["split"]}
    newly_rejected = pd.DataFrame({name: column[is_rejected] for name, column in columns.items()})
    rejected = manifest.rejected
    if len(newly_rejected):
        rejected = pd.concat([rejected, newly_rejected], ignore_index=True)
    accepted: dict[Any, pd.Series] = dict(iter((~is_rejected).groupby(clips["shard"]))) if len(clips) else {}
    shards = [
        dataclasses.replace(shard, clips=shard.clips[accepted[number].to_numpy()]) if number in accepted else shard
        for number, shard in enumerate(manifest.shards)
    ]
    summary = _summarize(clips[~is_rejected], rejected, shards, corpus)
    return Manifest(tuple(shards), rejected, summary, manifest.reused_shards)


def example_parts(parts: Sequence[PackedPart]) -> list[int]:
    """The number of the first part of each split, whose example clips the card plays."""
    shards = [(number, shard) for number, part in enumerate(parts) for shard in part.shards if not shard.retained]
    return sorted(set({shard.split: number for number, shard in reversed(shards)}.values()))


def clip_table(shards: Sequence[Shard]) -> pd.DataFrame:
    """A row per clip: clip, source, speaker, seconds, words, text, sound, split, retained (the language, None for the
    corpus' own) and the number of its shard."""
    import pandas as pd

    if not shards:
        columns = ["clip", "source", "speaker", "seconds", "words", "text", "sound", "split", "retained", "shard"]
        return pd.DataFrame(columns=columns)
    frames = [
        shard.clips.assign(split=shard.split, retained=shard.retained, shard=number)
        for number, shard in enumerate(shards)
    ]
    return pd.concat(frames, ignore_index=True)


def _find_conflicts(clips: pd.DataFrame, corpus: Corpus) -> pd.Series:
    """For each clip why it conflicts with another, or None."""
    import pandas as pd

    reasons = pd.Series(None, index=clips.index, dtype=object)
    remaining = clips.assign(rank=clips["split"].map(SPLIT_PRIORITY)).sort_values("rank", kind="stable")

    def reject(mask: pd.Series, reason: str) -> pd.DataFrame:
        reasons[remaining.index[mask]] = reason
        return remaining[~mask]  # a rejected clip cannot conflict with another

    remaining = reject(remaining["clip"].duplicated(), "listed twice")
    across = remaining["rank"] > remaining.groupby("sound")["rank"].transform("min")
    remaining = reject(across, "duplicate across splits")
    if not corpus.duplicates_may_stay:
        remaining = reject(remaining["sound"].duplicated(), "duplicate audio")
    if not corpus.speakers_may_cross:
        across = remaining["rank"] > remaining.groupby("speaker")["rank"].transform("min")
        reject(across, "speaker in another split")
    return reasons


def _summarize(clips: pd.DataFrame, rejected: pd.DataFrame, shards: Sequence[Shard], corpus: Corpus) -> dict[str, Any]:
    """The run's `corpus` artifact; always found = kept + rejected.

    `clips`, hours and speakers are of the corpus' own language, `retained` counts clips of the others; the rest counts
    all.
    """
    own = clips[clips["retained"].isna()]
    known_speakers, languages = own.dropna(subset="speaker"), sorted(set(corpus.retained.values()))

    def hours(part: pd.DataFrame) -> float:
        return float(part["seconds"].sum() / 3600)

    def counts(part: pd.DataFrame) -> dict[str, int]:
        return {split: int((part["split"] == split).sum()) for split in SPLITS}

    names = [source.display_name for source in corpus.all_sources]
    return {
        "found": len(clips) + len(rejected),
        "kept": len(clips),
        "rejected": len(rejected),
        "hours": hours(own),
        "fingerprint": fingerprint_shards(shards),
        "clips": counts(own),
        "split_hours": {split: hours(own[own["split"] == split]) for split in SPLITS},
        "retained": {language: counts(clips[clips["retained"] == language]) for language in languages},  # clips
        "sources": {name: hours(clips[clips["source"] == name]) for name in names},  # hours
        "speakers": int(known_speakers["speaker"].nunique()),
        "speakers_crossing": int((known_speakers.groupby("speaker")["split"].nunique() > 1).sum()),
        "reasons": dict(Counter(map(reason_kind, rejected["reason"])).most_common()),
    }


def fingerprint_shards(shards: Sequence[Shard]) -> str:
    """16 hex digits that change when any clip, text or split changes."""
    digest = hashlib.sha256()
    for shard in shards:
        digest.update(repr((shard.key, shard.clips.index.tolist())).encode())
    return digest.hexdigest()[:16]


def check_splits(manifest: Manifest, corpus: Corpus) -> None:
    """Raises `InputError` if a split has no clips, or no training clip would ever be drawn.

    A retained language needs validation only. The message lists why clips of that split were rejected, with one clip as
    an example.
    """
    needed = [(corpus.language, split, manifest.summary["clips"]) for split in SPLITS]
    needed += [(language, "validation", clips) for language, clips in manifest.summary["retained"].items()]
    for language, split, clips in needed:
        if not clips[split]:
            rejected = manifest.rejected[manifest.rejected["split"] == split]
            # With several sources, a clip's name begins with its source's.
            spoken = rejected["clip"].map(lambda clip: corpus.language_of(clip.partition("/")[0]))
            rejected = rejected[spoken == language]
            reasons = Counter(map(reason_kind, rejected["reason"]))
            counts = [f"{count} {reason}{_example(rejected, reason)}" for reason, count in reasons.most_common(3)]
            hint = ""
            if "speaker in another split" in reasons:
                hint = "; speakers_may_cross = true lets a speaker be in several splits"
            elif not reasons and any(clips.values()):  # such as a corpus of contributions to the Space
                hint = f"; combine it with a corpus that has {split} clips, each as one of [[corpus.sources]]"
            of_language = "" if language == corpus.language else f" in {language}"
            raise InputError(
                f"[corpus] no usable clip of {split}{of_language}; rejected: {', '.join(counts) or 'none'}{hint}"
            )
    drawn = {
        source.display_name
        for source in corpus.all_sources
        if source.weight and source.display_name not in corpus.retained
    }
    train_shards = (shard for shard in manifest.shards if shard.split == "train")
    if not any(shard.clips["source"].isin(drawn).any() for shard in train_shards):
        of_language = f" in {corpus.language}" if corpus.retained else ""
        raise InputError(f"[corpus] weight: every source with training clips{of_language} has the weight 0")


def _example(rejected: pd.DataFrame, kind: str) -> str:
    """A clip rejected for this kind of reason, with its details in parentheses; "" if the reason has no details."""
    for clip, reason in zip(rejected["clip"], rejected["reason"], strict=True):
        if reason.startswith(f"{kind}: "):
            return f" ({clip!r:.60}{reason.removeprefix(kind)})"
    return ""
