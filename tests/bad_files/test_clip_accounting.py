"""Every clip that is found is kept or rejected once, through preprocessing, joining and the limits of training."""

import json
import random
import tempfile
from pathlib import Path

from asr import InputError
from asr.corpus import manifest, shards, sources
from asr.corpus.splits import SPLITS
from asr.settings import Settings
from asr.store import Store
from asr.training import token_limit
from hypothesis import given, settings
from hypothesis import strategies as st

from bad_files.odd_audio import flac, half, mp3, wav

TOO_MANY_TOKENS = "".join(random.Random(0).choices([chr(at) for at in range(0x400, 0x520)], k=600))
TEXTS = ["klockan är sju", "", "♪", "ord " * 200, TOO_MANY_TOKENS, "Достоевский läser", 'ett "citat', "två\nrader"]
AUDIO_FILES = {
    "a.wav": wav(), "b.flac": flac, "c.mp3": mp3, "half.mp3": half(mp3), "empty.wav": b"",
    "joined.wav": wav() + wav(), "silent.wav": wav()[:44] + bytes(80_000), "short.wav": wav()[:400],
}  # fmt: skip
row = st.tuples(
    st.sampled_from(SPLITS),
    st.sampled_from([*AUDIO_FILES, "missing.wav", "../outside.wav", ""]),
    st.sampled_from(TEXTS),
    st.sampled_from(["Åsa", "Bo", None]),
)


@settings(max_examples=20)
@given(st.lists(row, max_size=12))
def test_every_clip_is_kept_or_rejected_once_at_every_step(rows):
    profile = Settings.model_validate({
        "corpus": {"speakers_may_cross": True, "duplicates_may_stay": True, "max_words_per_second": 1e6,
                   "max_foreign_letters": 1_000},
        "model": {"vocabulary": 300},
    })  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "corpus"
        listed = [*rows, *((split, "a.wav", "klockan är sju", None) for split in SPLITS)]
        for split in SPLITS:
            (root / split).mkdir(parents=True)
            for name, content in AUDIO_FILES.items():
                (root / split / name).write_bytes(content)
            lines = [
                json.dumps({"file_name": name, "text": text, "speaker_id": speaker})
                for clip_split, name, text, speaker in listed
                if clip_split == split
            ]
            (root / split / "metadata.jsonl").write_text("\n".join(lines), encoding="utf-8")
        store = Store.in_folder(Path(folder) / "store")
        corpus = profile.corpus.model_copy(update={"source": "folder", "path": str(root)})
        profile = profile.model_copy(update={"corpus": corpus})
        packed = [shards.build_part(part, profile, store)[0] for part in sources.list_parts(corpus)]
        joined = manifest.merge_parts(packed, corpus)
        assert_balanced(joined, len(listed))
        try:
            manifest.check_splits(joined, corpus)
            assert_balanced(token_limit.reject_long_texts(joined, profile), len(listed))
        except InputError as error:  # a split without a usable clip
            assert "\n" not in str(error)


def assert_balanced(joined, clip_count):
    table = manifest.clip_table(joined.shards)
    summary = joined.summary
    assert summary["found"] == clip_count == summary["kept"] + summary["rejected"]
    assert (len(table), len(joined.rejected)) == (summary["kept"], summary["rejected"])
    assert sum(summary["reasons"].values()) == summary["rejected"]
    assert joined.rejected["reason"].astype(bool).all()
