"""Hostile corpora: never a traceback, a lost clip, or a read outside of the folder."""

import csv
import io
import json
import os
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from asr import InputError
from asr.corpus import clips, sources
from asr.settings import Settings
from asr.store import Store
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

RATE = 16_000
SECRET = 1234  # Hz, of a recording next to the corpus, with the text "hemligt"
NAMES = ["a.wav", "b.flac", "c.mp3", "d.m4a", "e.txt", "deep/f.ogg", "åäö.webm", "g", "h.raw", "i #1.m3u8"]
BAD_NAMES = [
    "", ".", "..", "../../secret.wav", "{root}/secret.wav", "/etc/passwd", "link.wav", "way/secret.wav", "loop.wav",
    "a.wav\0", "\0", "x" * 300, "./a.wav", "deep/../a.wav", "deep", "a.wav/", "~/a.wav", "gs://a/b", "../test/a.wav",
]  # fmt: skip
TRANSCRIPTS = {
    "good.srt": "1\n00:00:00,000 --> 00:00:00,300\nHej!\n\n2\n00:00:00,300 --> 00:00:00,500\nJa.\n",
    "late.vtt": "WEBVTT\n\n00:00.100 --> 00:00.400\nHej!\n\n01:00.000 --> 01:00.500\nSedan.\n",
    "odd.tsv": "start\tend\ttext\nnan\tinf\tHej\n-1\t2\tJa\n0.2\t0.1\tNej\n0\t1e9\tLänge\n",
    "bad.srt": "1\n00:00:00,000 -->\nHej!\n",
}
BAD_TRANSCRIPTS = ["../../secret.srt", "link.srt", "gone.vtt", "{root}/secret.srt", "\0", "deep"]


@pytest.fixture(scope="module")
def sample_files(tone, encoded, tmp_path_factory):
    """A folder with a file of each kind that may be in a corpus, named by its kind, and with `secret`."""
    folder = tmp_path_factory.mktemp("samples")

    def write(name, sound, rate=RATE, form="WAV", subtype=None):
        soundfile.write(folder / name, sound, rate, format=form, subtype=subtype)

    def with_sample(value):
        sound = tone(0.6)
        sound[5_000] = value
        return sound

    def encode(name, suffix, codec, **options):
        encoded(folder / f"a.{suffix}", tone(0.6, rate=48_000), 48_000, codec, **options).rename(folder / name)

    write("wav", tone(0.6))
    write("flac of 24 bits", tone(0.6, rate=44_100), 44_100, "FLAC", "PCM_24")
    write("ogg", tone(0.6), form="OGG")
    write("eight channels at 96 kHz", tone(0.5, rate=96_000, channels=8), 96_000, subtype="FLOAT")
    write("nan", with_sample(np.nan), subtype="FLOAT")
    write("inf", with_sample(np.inf), subtype="FLOAT")
    write("no samples", np.zeros(0))
    write("silence", np.zeros(9_000), form="FLAC")
    write("secret", tone(0.6, SECRET))
    encode("mp3", "mp3", "libmp3lame", layout="stereo")
    encode("m4a", "m4a", "aac")
    encode("webm", "webm", "libopus")
    encode("film", "mp4", "aac", film=True)
    (folder / "nothing").write_bytes(b"")
    (folder / "text").write_bytes(b"This is no sound. " * 50)
    (folder / "playlist").write_text("#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n../../secret.wav\n#EXT-X-ENDLIST\n")
    (folder / "playlist of a link").write_text("ffconcat version 1.0\nfile link.wav\n")
    return folder


SAMPLE_FILES = [
    "wav", "flac of 24 bits", "ogg", "mp3", "m4a", "webm", "film", "eight channels at 96 kHz", "nan", "inf",
    "no samples", "silence", "nothing", "text", "playlist", "playlist of a link",
]  # fmt: skip
CONTENT = st.tuples(
    st.sampled_from(SAMPLE_FILES),
    st.sampled_from([1.0, 1.0, 0.99, 0.6, 0.1]),  # the share of the file that is left
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=3),  # changed bytes
)
FILES = st.fixed_dictionaries(dict.fromkeys(NAMES, CONTENT))
WORDS = st.sampled_from(["Hej!", "Åsa", "", "♪", "ett " * 30, "h\udc80j", "Ж", 'a"b,c\nd']) | st.text(max_size=12)
ROWS = st.fixed_dictionaries(
    {"file_name": st.sampled_from(NAMES) | st.sampled_from(BAD_NAMES) | st.text(max_size=8)},
    optional={
        "text": WORDS,
        "speaker_id": st.sampled_from(["Åsa", "Bo", "", "A\u030asa"]),
        "transcript_file": st.sampled_from([*TRANSCRIPTS, *BAD_TRANSCRIPTS, ""]),
    },
)
FORMS = st.sampled_from(
    ["csv utf-8", "csv utf-16", "tsv utf-8", "jsonl utf-8-sig", "jsonl utf-16", "parquet", "parquet of lists"]
)


def lay_out(root, files, sample_files):
    """Write the corpus with valid validation and test clips, and next to it files that must not be read."""
    (root / "secret.wav").write_bytes((sample_files / "secret").read_bytes())
    (root / "secret.srt").write_text(TRANSCRIPTS["good.srt"].replace("Hej", "hemligt"))
    train = root / "corpus" / "train"
    (train / "deep").mkdir(parents=True)
    (train / "link.wav").symlink_to("../../secret.wav")
    (train / "link.srt").symlink_to("../../secret.srt")
    (train / "loop.wav").symlink_to("loop.wav")
    (train / "way").symlink_to("../..")
    for name, text in TRANSCRIPTS.items():
        (train / name).write_text(text, encoding="utf-8")
    for name, (kind, share, changes) in files.items():
        content = bytearray((sample_files / kind).read_bytes())
        content = content[: round(share * len(content))]
        for position, value in changes if content else ():
            content[int(position * len(content))] = value
        (train / name).write_bytes(content)
    for split in ("validation", "test"):
        (root / "corpus" / split).mkdir()
        (root / "corpus" / split / "a.wav").write_bytes((sample_files / "wav").read_bytes())
        (root / "corpus" / split / "metadata.csv").write_text("file_name,text\na.wav,hej\n")
    return train


def metadata(rows, form):
    """The name and the content of a metadata file; a row keeps the values that its format can hold."""
    kind, _, variant = form.partition(" ")
    columns = ["file_name", "text", "speaker_id", "transcript_file"]
    if kind == "jsonl":
        return "metadata.jsonl", "\n".join(map(json.dumps, rows)).encode(variant)
    rows = [{name: row.get(name, "").encode("utf-8", "replace").decode() for name in columns} for row in rows]
    if kind in ("csv", "tsv"):
        file, separator = io.StringIO(newline=""), "," if kind == "csv" else "\t"
        table = csv.DictWriter(file, columns, quoting=csv.QUOTE_ALL, lineterminator="\n", delimiter=separator)
        table.writeheader()
        table.writerows(rows)
        return f"metadata.{kind}", file.getvalue().encode(variant)
    if variant:
        rows = [{**row, "text": [row["text"]], "speaker_id": {"name": row["speaker_id"]}} for row in rows]
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), file)
    return "metadata.parquet", file.getvalue()


def loudest(flac):
    sound = soundfile.read(io.BytesIO(flac))[0]
    return np.fft.rfftfreq(len(sound), 1 / RATE)[np.abs(np.fft.rfft(sound)).argmax()]


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.large_base_example])
@given(FILES, st.lists(ROWS, min_size=1, max_size=8), FORMS)
def test_every_row_of_a_hostile_corpus_is_accepted_or_rejected(sample_files, preprocess, read_clips, files, rows, form):
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        train = lay_out(root, files, sample_files)
        rows = [{"text": "hej", **rows[0]}, *rows[1:]]  # a table without a text column is refused
        rows = [{**row, "file_name": row["file_name"].replace("{root}", folder)} for row in rows]
        name, content = metadata(rows, form)
        (train / name).write_bytes(content)
        profile = Settings.model_validate(
            {"corpus": {"source": "folder", "path": f"{folder}/corpus", "shard_clips": 3}}
        )
        store = Store.in_folder(root / "store")
        row_count = sum(len(part.rows) for part in sources.list_parts(profile.corpus))
        _, joined = preprocess(profile, store)
        summary, table = joined.summary, read_clips(joined, store, root / "shards")
    assert row_count >= len(rows) + 2
    assert summary["found"] == summary["kept"] + summary["rejected"] == row_count
    assert summary["kept"] == sum(len(shard.clips) for shard in joined.shards)
    assert joined.rejected["reason"].str.len().min() > 3 if len(joined.rejected) else True
    f"{joined.rejected.to_csv()}{summary}".encode()
    assert [clip for clip, flac in table["audio"].items() if abs(loudest(flac["bytes"]) - SECRET) < 20] == []
    assert not table["text"].str.contains("hemligt").any()


@settings(max_examples=60)
@given(
    st.sampled_from(["csv utf-8", "csv utf-16", "tsv utf-8", "jsonl utf-8", "jsonl utf-16", "parquet"]),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=6),
    st.sampled_from([1.0, 1.0, 1.0, 0.9, 0.5]),
)
def test_damaged_metadata_are_read_or_refused_in_one_line(form, changes, share):
    rows = [{"file_name": f"{at}.wav", "text": f"hej {at}", "speaker_id": "Åsa"} for at in range(5)]
    name, content = metadata(rows, form)
    damaged = bytearray(content[: int(share * len(content))])
    for position, value in changes:
        damaged[int(position * len(damaged))] = value
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, name).write_bytes(damaged)
        profile = Settings.model_validate({"corpus": {"source": "folder", "path": folder}})
        try:
            parts = sources.list_parts(profile.corpus)
        except InputError as error:
            assert str(error).startswith("[corpus] path: ")
            assert len(str(error).split("\n")) == 1
        else:
            assert all(row.problem for part in parts for row in part.rows)  # no audio file exists


def test_file_names_that_are_not_utf_8_are_handled(tmp_path, tone, preprocess, store):
    """File names are bytes, and not always valid UTF-8."""
    root = tmp_path / "corpus"
    for split in ("train", "validation", "test"):
        (root / split).mkdir(parents=True)
        for at, name in enumerate([b"a", b"\xe5\xff", b"new\nline", b"'\"$(x)"]):
            sound = clips.encode_flac(clips.to_pcm16(tone(hertz=300 + at)))
            (root / split / os.fsdecode(name + b".wav")).write_bytes(sound)
            (root / split / os.fsdecode(name + b".srt")).write_text(TRANSCRIPTS["good.srt"])
    _, joined = preprocess(Settings.model_validate({"corpus": {"source": "folder", "path": str(root)}}), store)
    assert joined.summary["found"] == joined.summary["kept"] + joined.summary["rejected"] == 12
    assert joined.summary["reasons"] == {"duplicate across splits": 6, "missing file": 3}
