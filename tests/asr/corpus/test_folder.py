"""A folder of recordings: its metadata, its transcripts, and what is refused."""

import json
import os
import unicodedata

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from asr.corpus import folder, transcripts

SPLITS = ("train", "validation", "test")
METADATA = ["metadata.csv", "metadata.jsonl", "metadata.parquet"]
SWEDISH = ["Åsa köper ägg på lördag.", 'Hon sade: "Hej, du!"', "noll", "NA", "007", "rad\u2028rad"]
SRT = "1\n00:00:00,000 --> 00:00:00,400\nHej!\n\n2\n00:00:00,500 --> 00:00:01,000\nKlockan är åtta.\n"


def in_each_split(names=("a.flac",), **cells):
    """The same rows in each of train, validation and test."""
    return {split: [{"file_name": name, "transcription": "hej", **cells} for name in names] for split in SPLITS}


@pytest.fixture
def rows(tmp_path):
    """A function that lists the rows of a folder, by default `tmp_path`."""
    return lambda settings=None: folder.list_rows(settings.corpus.path if settings else tmp_path, 30.0)


@pytest.fixture
def read_cells(tmp_path, tone):
    """A function that writes these cells as metadata next to a.flac and b.flac, and returns the rows of the folder."""

    def make(*cells, metadata="metadata.jsonl"):
        for name in ("a.flac", "b.flac"):
            soundfile.write(tmp_path / name, tone(), 16_000)
        if metadata.endswith("jsonl"):
            (tmp_path / metadata).write_text("\n".join(map(json.dumps, cells)), encoding="utf-8")
        else:
            pq.write_table(pa.Table.from_pylist(list(cells)), tmp_path / metadata)
        return folder.list_rows(tmp_path, 30.0)

    return make


def problems(rows):
    return {row.clip: row.problem for row in rows}


@pytest.mark.parametrize("metadata", [*METADATA, "metadata.tsv"])
def test_metadata_is_read_unchanged_from_csv_jsonl_parquet_and_tsv(audiofolder, rows, metadata):
    parts = in_each_split(speaker_id="kvinna 1")
    parts["train"] = [
        {"file_name": f"{at}.flac", "transcription": text, "speaker_id": "17"} for at, text in enumerate(SWEDISH)
    ]
    listed = rows(audiofolder(parts, metadata))
    assert [row.text for row in listed if row.split == "train"] == SWEDISH
    assert {(row.split, row.speaker) for row in listed} == {
        ("train", "17"), ("validation", "kvinna 1"), ("test", "kvinna 1"),
    }  # fmt: skip
    assert all(row.audio.is_file() and row.problem is None for row in listed)
    assert {"train/0.flac", "test/a.flac"} < {row.clip for row in listed}


@pytest.mark.parametrize("column", ["transcription", "sentence", "text"])
def test_the_text_column_may_have_any_usual_name(audiofolder, rows, column):
    assert {row.text for row in rows(audiofolder({"": [{"file_name": "a.flac", column: "hej på dig"}]}))} == {
        "hej på dig"
    }


@pytest.mark.parametrize("metadata", METADATA[:2])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_metadata_may_have_any_unicode_encoding_with_a_byte_order_mark(audiofolder, rows, metadata, encoding):
    parts = {"": [{"file_name": f"{at}.flac", "text": text} for at, text in enumerate(SWEDISH)]}
    assert [row.text for row in rows(audiofolder(parts, metadata, encoding))] == SWEDISH


@pytest.mark.parametrize(
    "names", [("valid", "test"), ("dev", "eval"), ("val", "testing"), ("validation", "evaluation")]
)
def test_splits_may_have_the_names_known_to_the_hub(audiofolder, rows, names):
    parts = dict(
        zip(("training", *names, "notes"), [*in_each_split().values(), [{"file_name": "b.flac"}]], strict=True)
    )
    assert [row.split for row in sorted(rows(audiofolder(parts)), key=lambda row: SPLITS.index(row.split))] == [*SPLITS]


def test_clips_may_be_in_subfolders(audiofolder, rows):
    listed = rows(audiofolder(in_each_split(["åäö/1.flac"])))
    assert listed[-1].audio.is_file()
    assert {row.clip for row in listed} == {f"{split}/åäö/1.flac" for split in SPLITS}


@pytest.mark.parametrize("metadata", METADATA)
@pytest.mark.parametrize("empty", [None, ""])
def test_an_empty_cell_of_a_speaker_is_no_speaker(audiofolder, rows, metadata, empty):
    """Otherwise all clips without a speaker would count as one person's."""
    parts = in_each_split(speaker_id=empty)
    parts["train"].append({"file_name": "b.flac", "transcription": "hej", "speaker_id": "Åsa"})
    assert {row.speaker for row in rows(audiofolder(parts, metadata))} == {None, "Åsa"}
    assert {row.speaker for row in rows(audiofolder({"": in_each_split()["train"]}, folder_name="other"))} == {None}


@pytest.mark.parametrize("metadata", METADATA[1:])
@pytest.mark.parametrize("number", [17, 17.0, 2**60 + 1])
def test_a_speaker_number_is_the_same_beside_an_empty_cell(read_cells, metadata, number):
    """Tables turn 17 into 17.0 there: the speaker could be in two splits, and no `exclude` would match."""
    rows = read_cells(
        {"file_name": "a.flac", "text": "x", "speaker_id": number}, {"file_name": "b.flac"}, metadata=metadata
    )
    assert [row.speaker for row in rows] == [str(int(number)), None]


@pytest.mark.parametrize("cell", [None, [], ["hej"], {"sv": "hej"}, float("nan")])
@pytest.mark.parametrize("metadata", METADATA[1:])
def test_cells_without_text_become_empty_text(read_cells, metadata, cell):
    [row] = read_cells({"file_name": "a.flac", "text": cell, "speaker_id": cell}, metadata=metadata)
    assert (row.text, row.speaker, row.problem) == ("", None, None)
    [row] = read_cells({"file_name": cell, "text": "hej"}, metadata=metadata)
    assert (row.clip, row.audio, row.problem) == ("", None, "missing file")


def test_an_invalid_character_affects_only_its_own_row(read_cells, tmp_path):
    first, second, third = read_cells(
        {"file_name": "a.flac", "text": "h\udc80j", "speaker_id": "\ud800"},
        {"file_name": "\ud800.flac", "text": "hej"},
        {"file_name": "b.flac", "text": "hej"},
    )  # fmt: skip
    assert (first.problem, second.problem, third.problem) == (None, "missing file", None)
    (tmp_path / "metadata.jsonl").unlink()
    broken = pa.array([b"a.flac", b"\xe5.flac", b"b.flac"]).view(pa.string())
    pq.write_table(pa.table({"file_name": broken, "text": ["a", "b", "c"]}), tmp_path / "metadata.parquet")
    assert [row.problem for row in folder.list_rows(tmp_path, 30.0)] == [None, "missing file", None]
    for row in (first, second, third, *folder.list_rows(tmp_path, 30.0)):
        f"{row.clip}{row.text}{row.speaker}".encode()


BAD_NAMES = {
    "none.flac": "missing file",
    "": "missing file",
    "x" * 300: "missing file",
    "folder": "missing file",
    "../secret.flac": "outside the folder",
    "../../../../etc/passwd": "outside the folder",
    "/etc/passwd": "outside the folder",
    "way/secret.flac": "outside the folder",
    "link.flac": "outside the folder",
    "..": "outside the folder",
    ".": "outside the folder",
    "a.flac\0": "outside the folder",
    "loop.flac": "missing file",
    "gs://bucket/a.flac": "missing file",
    "https://example.org/a.flac": "missing file",
}


@pytest.fixture
def corpus_with_bad_names(audiofolder, tmp_path, tone):
    """A corpus with good clips, and every kind of bad name in its metadata."""
    settings = audiofolder(in_each_split())
    train = tmp_path / "corpus" / "train"
    soundfile.write(tmp_path / "secret.flac", tone(hertz=1234), 16_000)
    (train / "folder").mkdir()
    (train / "link.flac").symlink_to(tmp_path / "secret.flac")
    (train / "way").symlink_to(tmp_path)
    (train / "loop.flac").symlink_to("loop.flac")
    with (train / "metadata.csv").open("a") as file:
        file.writelines(f'"{name}",hej\n' for name in BAD_NAMES)
    return settings


@pytest.mark.parametrize("index", range(len(BAD_NAMES)), ids=BAD_NAMES)
def test_a_name_without_a_clip_gets_a_problem(corpus_with_bad_names, rows, index):
    listed = [row for row in rows(corpus_with_bad_names) if row.split == "train"][1:]
    assert len(listed) == len(BAD_NAMES)
    assert (listed[index].problem, listed[index].audio) == (list(BAD_NAMES.values())[index], None)


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_a_name_is_found_in_either_unicode_form(tmp_path, tone, form):
    """File names from macOS have å as two code points, and the table often has one, or the reverse."""
    soundfile.write(tmp_path / unicodedata.normalize(form, "två.flac"), tone(), 16_000)
    (tmp_path / unicodedata.normalize(form, "två.srt")).write_text(SRT)
    other = unicodedata.normalize("NFD" if form == "NFC" else "NFC", "två")
    (tmp_path / "metadata.csv").write_text(f"file_name,transcript_file\n{other}.flac,{other}.srt\n{other}.flac,\n")
    rows = folder.list_rows(tmp_path, 30.0)
    assert [row.problem for row in rows] == [None, None]
    assert all(row.audio.is_file() for row in rows)


def test_a_training_row_cannot_name_a_test_clip(audiofolder, rows):
    parts = in_each_split()
    parts["train"].append({"file_name": "../test/a.flac", "transcription": "hej"})
    assert problems(rows(audiofolder(parts)))["../test/a.flac"] == "outside the folder"


def test_a_missing_folder_is_refused(tmp_path, refusal):
    assert str(tmp_path / "nowhere") in refusal(folder.list_rows, tmp_path / "nowhere", 30.0)


def test_a_folder_without_metadata_and_transcripts_is_refused(tmp_path, tone, refusal):
    soundfile.write(tmp_path / "a.wav", tone(), 16_000)
    (tmp_path / "metadata.csv").mkdir()
    line = refusal(folder.list_rows, tmp_path, 30.0)
    assert "metadata.csv" in line
    assert str(tmp_path) in line


UNREADABLE = {
    "empty": b"",
    "noise": b"\xff\xfe\x00 neither \xe5 nor {",
    "latin-1": "file_name,text\na.flac,åäö\n".encode("latin-1"),
    "half utf-16": "file_name,text\na.flac,hej\n".encode("utf-16")[:-1],
    "utf-16 without a mark": "file_name,text\na.flac,hej\n".encode("utf-16-le"),
    "an open quotation mark": b'file_name,text\n"a.flac,hej\nb.flac,hej\n',
    "too many values": b"file_name,text\na.flac,hej, du\n",
    "no object": b'{"file_name": "a.flac", "text": "hej"}\n[1, 2]\n',
    "a torn line": b'{"file_name": "a.flac", "text": "hej"}\n{"file_name": "b.fl',
    "no end": b'{"file_name": ' + b"[" * 100_000,
    "torn parquet": b"PAR1" + bytes(40) + b"PAR1",
}


@pytest.mark.parametrize("content", UNREADABLE.values(), ids=UNREADABLE)
@pytest.mark.parametrize("metadata", [*METADATA, "metadata.tsv"])
def test_metadata_that_cannot_be_read_is_refused(audiofolder, refusal, tmp_path, metadata, content):
    settings = audiofolder(in_each_split(), metadata)
    (tmp_path / "corpus" / "train" / metadata).write_bytes(content)
    line = refusal(folder.list_rows, settings.corpus.path, 30.0)
    assert line.startswith("[corpus] path: ")
    assert f"train/{metadata} " in line


def test_a_broken_line_of_json_is_named(tmp_path, refusal):
    (tmp_path / "metadata.jsonl").write_bytes(UNREADABLE["a torn line"])
    assert "line 2: " in refusal(folder.list_rows, tmp_path, 30.0)


@pytest.fixture
def read_metadata(tmp_path, tone):
    """A function from the text of metadata to (clip, text, problem) of each row; a, b, c, d and e.wav exist."""

    def read(text, metadata="metadata.csv"):
        for name in "abcde":
            soundfile.write(tmp_path / f"{name}.wav", tone(), 16_000)
        (tmp_path / metadata).write_text(text, encoding="utf-8", newline="")
        return [(row.clip, row.text, row.problem) for row in folder.list_rows(tmp_path, 30.0)]

    return read


OPEN_QUOTES = {
    "one row is taken in": ('file_name,text\na.wav,hej\nb.wav,"hej\nc.wav,"ja"\nd.wav,nej\n', 3),
    "several are": ('file_name,text\nb.wav,"hej\nc.wav,ja\nd.wav,nej\ne.wav,"nå"\n', 2),
    "after a good one of several lines": ('file_name,text\na.wav,"hej\n\ndu"\nb.wav,"hej\nc.wav,"ja"\n', 5),
    "beside a good one": ('file_name,speaker_id,text\na.wav,"A\nB","hej\nb.wav,C,"ja"\n', 3),
    "the name comes last": ('text,file_name\nhej,a.wav\n"hej,b.wav\n"ja",c.wav\n', 3),
    "commas before the name": ('text,file_name\n"hej, du,b.wav\n"ja",c.wav\n', 2),
    "the row is torn as well": ('file_name,text,speaker_id\na.wav,"hej\ndu,A\nb.wav,"ja",B\n', 2),
    "all is quoted": ('"file_name","text"\n"a.wav","hej\n"b.wav","ja"\n', 2),
    "with the line ends of Windows": ('file_name,text\r\na.wav,"hej\r\nb.wav,"ja"\r\n', 2),
    "nothing closes it": ('file_name,text\na.wav,"hej\ndu"\nb.wav,"hej\nc.wav,ja\n', 4),
    "nothing closes the last": ('file_name,text\na.wav,hej\nb.wav,"hej', 3),
    "files of no known suffix": ('file_name,text\nfil,"hej\nfil,"ja"\n', 2),
}


@pytest.mark.parametrize(("text", "line"), OPEN_QUOTES.values(), ids=OPEN_QUOTES)
def test_a_quotation_mark_that_swallows_other_rows_is_refused_where_it_opens(
    read_metadata, refusal, tmp_path, text, line
):
    (tmp_path / "fil").write_bytes(b"")
    assert f"metadata.csv cannot be read: line {line}: the quotation mark that opens here " in refusal(
        read_metadata, text
    )


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r\r\n", "\r"])
@pytest.mark.parametrize("first", [True, False])
def test_a_quoted_text_may_have_several_lines_commas_and_quotation_marks(read_metadata, first, end):
    texts = ['Hej,\ndu, "där", b', "\n\n- Ja.\n- Nej, c.\n", "Hör a.wav,\noch b.wav är bra, du", "", '"']
    rows = [(f"{name}.wav", '"' + text.replace('"', '""') + '"') for name, text in zip("abcde", texts, strict=True)]
    lines = [",".join(row if first else row[::-1]) for row in [("file_name", "text"), *rows]]
    assert read_metadata(end.join(lines).replace("\n", end)) == [
        (f"{name}.wav", text, None) for name, text in zip("abcde", texts, strict=True)
    ]


def test_too_many_values_are_refused_with_their_line(read_metadata, refusal):
    line = refusal(read_metadata, 'file_name,text\na.wav,"hej\ndu"\nb.wav,hej, du\n')
    assert line.endswith("line 4 has 3 values for 2 columns; quote what holds a comma")


BROKEN = {
    "the last column": ("file_name,text", "b.wav,hej\ndu", ["b"]),
    "and often": ("file_name,text", "b.wav,hej\ndu\n\ndär", ["b"]),
    "at its start": ("file_name,text", "b.wav,\nhej", ["b"]),
    "a column within": ("file_name,text,speaker_id", "b.wav,hej\ndu,B", ["b"]),
    "the first column": ("text,file_name", "hej\ndu,b.wav", ["b"]),
    "the first of three": ("text,file_name,speaker_id", "hej\ndu,b.wav,B", ["a", "b"]),
    "the last of three": ("speaker_id,file_name,text", "B,b.wav,hej\ndu", ["b", "c"]),
}


@pytest.mark.parametrize("metadata", ["metadata.csv", "metadata.tsv"])
@pytest.mark.parametrize(("header", "broken", "rejected"), BROKEN.values(), ids=BROKEN)
def test_a_row_that_a_line_feed_broke_is_one_row_and_rejected(read_metadata, metadata, header, broken, rejected):
    """If the piece may belong to either row, both are rejected: half a sentence must not be trained on."""
    cells = {"text": "hej", "speaker_id": "A"}
    complete = [
        ",".join({**cells, "file_name": f"{name}.wav"}[column] for column in header.split(",")) for name in "acd"
    ]
    text = "\n".join([header, complete[0], broken, *complete[1:]])
    listed = read_metadata(text if metadata.endswith("csv") else text.replace(",", "\t"), metadata)
    assert [clip for clip, _, _ in listed] == ["a.wav", "b.wav", "c.wav", "d.wav"]
    assert [clip[0] for clip, _, problem in listed if problem == "broken by a line feed"] == rejected
    assert {problem for _, _, problem in listed} == {None, "broken by a line feed"}


@pytest.mark.parametrize("metadata", ["metadata.csv", "metadata.tsv"])
def test_a_short_row_is_rejected_and_its_neighbours_stay(read_metadata, metadata):
    text = "file_name,text,speaker_id\na.wav,hej\nb.wav\nc.wav,hej,\nd.wav,hej,D\ne.wav,he"
    listed = read_metadata(text if metadata.endswith("csv") else text.replace(",", "\t"), metadata)
    few = "fewer values than columns"
    assert [problem for _, _, problem in listed] == [few, few, None, None, few]


def test_a_quotation_mark_in_a_tsv_does_not_quote(read_metadata):
    texts = ['"Hej', 'Hej"', 'Hon sade: "Hej', '"Hej", sade hon. "Du!"', "5'11\" lång"]
    rows = [f"{name}.wav\t{text}" for name, text in zip("abcde", texts, strict=True)]
    listed = read_metadata("\n".join(["file_name\ttext", *rows]), "metadata.tsv")
    assert [(text, problem) for _, text, problem in listed] == [(text, None) for text in texts]


def test_an_extra_tab_rejects_a_row_of_a_tsv(read_metadata):
    listed = read_metadata("file_name\ttext\na.wav\thej\tdu\nb.wav\thej\n", "metadata.tsv")
    assert [problem for _, _, problem in listed] == ["more values than columns", None]


@pytest.mark.parametrize("quote", ["", '"'])
@pytest.mark.parametrize(
    ("separator", "metadata", "advice"),
    [
        (";", "metadata.csv", "semicolons separate its columns, not commas; save it as CSV with commas"),
        ("|", "metadata.csv", "pipes separate its columns, not commas; save it as CSV with commas"),
        ("\t", "metadata.csv", "tabs separate its columns, not commas; call it metadata.tsv"),
        (",", "metadata.tsv", "commas separate its columns, not tabs; call it metadata.csv"),
        (";", "metadata.tsv", "semicolons separate its columns, not tabs; save it as CSV with commas"),
    ],
)
def test_another_separator_is_refused_with_advice(read_metadata, refusal, separator, metadata, advice, quote):
    rows = [("file_name", "transcription"), ("a.wav", "Hej, du; där")]
    text = "\n".join(separator.join(f"{quote}{cell}{quote}" for cell in row) for row in rows)
    assert refusal(read_metadata, text, metadata).endswith(f"{metadata} cannot be read: {advice}")


@pytest.mark.parametrize("metadata", [*METADATA, "metadata.tsv"])
@pytest.mark.parametrize("template", ["{}", "audio/{}/0"])
def test_metadata_at_the_top_takes_the_split_from_the_clips_folder(audiofolder, rows, metadata, template):
    names = [f"{template.format(folder)}/a.flac" for folder in ("training", "dev", "test")]
    listed = rows(audiofolder({"": [{"file_name": f"./{name}", "text": "hej"} for name in names]}, metadata))
    assert [(row.clip, row.split, row.problem) for row in listed] == [
        (name, split, None) for name, split in zip(names, SPLITS, strict=True)
    ]


def test_a_clip_outside_the_folders_of_the_splits_is_rejected(audiofolder, rows):
    """It must not be added to a test set that somebody chose."""
    names = ["train/a.flac", *(f"more/{at}.flac" for at in range(20)), "test.flac"]
    listed = rows(audiofolder({"": [{"file_name": name, "text": "hej"} for name in names]}))
    assert [row.problem for row in listed] == [None, *["in no split's folder"] * 21]
    assert {row.split for row in listed} == {"train"}


def test_clips_in_other_folders_are_split_by_speaker(audiofolder, rows, tmp_path):
    (tmp_path / "corpus" / "test").mkdir(parents=True)
    (tmp_path / "corpus" / "test" / "notes.txt").write_text("Ingenting här.")
    listed = rows(audiofolder({"": [{"file_name": f"clips/{at}.flac", "text": "hej"} for at in range(50)]}))
    assert {row.problem for row in listed} == {None}
    assert {row.split for row in listed} == {*SPLITS}


def test_metadata_of_the_splits_takes_precedence_over_metadata_at_the_top(audiofolder, rows):
    parts = {split: [{"file_name": "a.flac", "text": "nära"}] for split in SPLITS}
    top = [{"file_name": f"{split}/a.flac", "text": "fjärran"} for split in SPLITS]
    assert {row.text for row in rows(audiofolder({**parts, "": top}))} == {"nära"}


def test_metadata_that_is_a_link_out_of_the_folder_is_not_read(tmp_path, refusal):
    (tmp_path / "secret.csv").write_text("file_name,words\nsecret.flac,hemligt\n")
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "metadata.csv").symlink_to("../secret.csv")
    line = refusal(folder.list_rows, tmp_path / "corpus", 30.0)
    assert "leads out of the folder" in line
    assert "words" not in line


def test_a_missing_column_is_refused_with_the_available_ones(audiofolder, refusal):
    settings = audiofolder({split: [{"file_name": "a.flac", "words": "hej"}] for split in SPLITS})
    line = refusal(folder.list_rows, settings.corpus.path, 30.0)
    assert "transcription or sentence or text" in line
    assert "file_name, words" in line


def test_the_file_name_column_may_be_the_index_of_a_pandas_table(read_cells, tmp_path):
    """As pandas writes it after `set_index("file_name")`."""
    import pandas as pd

    read_cells({"file_name": "a.flac", "text": ""}, metadata="metadata.parquet")
    pd.DataFrame({"text": ["hej"]}, index=pd.Index(["a.flac"], name="file_name")).to_parquet(
        tmp_path / "metadata.parquet"
    )
    assert [(row.clip, row.text) for row in folder.list_rows(tmp_path, 30.0)] == [("a.flac", "hej")]


@pytest.fixture
def recording(tmp_path, tone):
    """A function that writes text files next to two seconds of sound, and returns the rows of the folder."""

    def make(longest=30.0, **files):
        soundfile.write(tmp_path / "möte.flac", tone(2), 16_000)
        for name, text in files.items():
            (tmp_path / name.replace("__", ".")).write_text(text, encoding="utf-8")
        return folder.list_rows(tmp_path, longest)

    return make


def test_a_recording_is_cut_by_the_transcript_that_metadata_name(recording):
    rows = recording(metadata__csv="file_name,transcript_file,speaker_id\nmöte.flac,t.srt,Åsa\n", t__srt=SRT)
    assert [(row.clip, row.start, row.end, row.text, row.speaker) for row in rows] == [
        ("möte.flac#0.00-1.00", 0.0, 1.0, "Hej! Klockan är åtta.", "Åsa")
    ]
    assert [(segment.start, segment.end, segment.text) for segment in rows[0].segments] == [
        (0.0, 0.4, "Hej!"), (0.5, 1.0, "Klockan är åtta."),
    ]  # fmt: skip


def test_a_recording_is_cut_no_longer_than_a_clip_may_be(recording):
    rows = recording(longest=0.6, möte__srt=SRT)
    assert [row.clip for row in rows] == ["möte.flac#0.00-0.40", "möte.flac#0.50-1.00"]


FORMATS = {
    "möte__srt": SRT,
    "möte__vtt": "WEBVTT\n\n00:00.000 --> 00:00.400\nHej!\n\n00:00.500 --> 00:01.000\nKlockan är åtta.\n",
    "möte__tsv": "start\tend\ttext\n0.0\t0.4\tHej!\n0.5\t1.0\tKlockan är åtta.\n",
    "möte__TextGrid": '"ooTextFile"\n"TextGrid"\n0\n2\n<exists>\n1\n"IntervalTier"\n"ord"\n0\n2\n2\n'
    '0\n0.4\n"Hej!"\n0.5\n1\n"Klockan är åtta."\n',
}


@pytest.mark.parametrize("name", FORMATS)
def test_without_metadata_a_recording_is_cut_by_the_transcript_of_its_name(recording, name):
    rows = recording(**{name: FORMATS[name]})
    assert [(row.clip, row.text) for row in rows] == [("möte.flac#0.00-1.00", "Hej! Klockan är åtta.")]


@pytest.mark.parametrize(
    ("names", "used"),
    [
        (["talk [x1].sv.vtt"], "talk [x1].sv.vtt"),
        (["talk [x1].en.vtt", "talk [x1].sv-orig.vtt", "talk [x1].sv.vtt"], "talk [x1].sv.vtt"),
        (["talk [x1].sv-SE.srt", "talk [x1].swedish.vtt"], "talk [x1].sv-SE.srt"),
        (["talk [x1].en.vtt", "talk [x1].m4a.srt"], "talk [x1].m4a.srt"),
        (["talk [x1].sv.vtt", "talk [x1].srt", "talk [x1].tsv"], "talk [x1].srt"),
        (["talk [x1].json", "talk [x1].srt", "talk [x1].tsv", "talk [x1].vtt"], "talk [x1].vtt"),
        (["talk [x1].transcript.vtt"], "talk [x1].transcript.vtt"),
    ],
)
def test_one_transcript_in_the_corpus_language_is_used_per_recording(tmp_path, names, used):
    (tmp_path / "talk [x1].m4a").touch()
    for name in names:
        start = "WEBVTT\n\n" if name.endswith("vtt") else ""
        (tmp_path / name).write_text(f"{start}00:00:00.000 --> 00:00:01.000\n{name}\n")
    [row] = folder.list_rows(tmp_path, 30.0, "sv")
    assert (row.text, row.problem) == (used, None)


def test_a_translation_is_not_used_and_the_missing_transcript_is_named(tmp_path):
    for name in ("talk.webm", "talk.en.vtt", "borta.de.vtt", "borta.sv.vtt", "å.it.wav", "å.it.srt"):
        (tmp_path / name).write_text(SRT)
    assert problems(folder.list_rows(tmp_path, 30.0, "sv")) == {
        "talk.webm": "missing transcript: 'talk.sv.vtt'",
        "borta": "missing file",
        "å.it.wav#0.00-1.00": None,
    }


def test_a_recording_without_transcript_or_the_reverse_is_not_lost(recording, tmp_path, tone):
    soundfile.write(tmp_path / "ensam.wav", tone(), 16_000)
    rows = recording(möte__srt=SRT, borta__vtt=FORMATS["möte__vtt"], README__txt="Om mötet.", möte__txt="Dagordning.")
    assert problems(rows) == {
        "möte.flac#0.00-1.00": None,
        "ensam.wav": "missing transcript: 'ensam.vtt'",
        "borta": "missing file",
    }


@pytest.mark.parametrize(
    ("transcript_name", "problem"),
    [
        ("gone.srt", "missing transcript: 'gone.srt'"), ("../t.srt", "missing transcript: '../t.srt'"),
        ("/etc/passwd", "missing transcript: '/etc/passwd'"), ("link.srt", "missing transcript: 'link.srt'"),
        ("bad.srt", "unreadable transcript: line 2 is no time of a caption: '0 --> x'"),
        ("t.ass", f"unreadable transcript: a transcript is one of {', '.join(transcripts.SUFFIXES)}, not '.ass'"),
    ],
)  # fmt: skip
def test_a_recording_with_an_unusable_transcript_gets_a_problem(recording, tmp_path, transcript_name, problem):
    (tmp_path / "link.srt").symlink_to("/etc/hostname")
    rows = recording(
        metadata__csv=f"file_name,transcript_file\nmöte.flac,{transcript_name}\n", bad__srt="1\n0 --> x\n", t__ass=""
    )
    assert problems(rows) == {"möte.flac": problem}


def test_speakers_of_the_transcript_are_kept_and_a_recording_stays_in_one_split(recording):
    lines = [f"{at}.0\t{at}.9\tHej.\tTalare {at}" for at in range(9)]
    rows = recording(möte__tsv="\n".join(["start\tend\ttext\tspeaker", *lines]))
    assert [row.speaker for row in rows] == [f"Talare {at}" for at in range(9)]
    assert len({row.split for row in rows}) == 1


def test_a_diarizers_label_is_another_speaker_in_each_recording(recording, tmp_path, tone):
    soundfile.write(tmp_path / "two.flac", tone(2), 16_000)
    labelled = SRT.replace("Hej!", "[SPEAKER_00]: Hej!")
    other = SRT.replace("Hej!", "Speaker 1: Hej!").replace("Klockan", "Speaker 1: Klockan")
    rows = recording(möte__srt=labelled, two__srt=other)
    assert [(row.text, row.speaker) for row in rows] == [
        ("Hej!", "möte.flac#SPEAKER_00"), ("Klockan är åtta.", None), ("Hej! Klockan är åtta.", "two.flac#Speaker 1"),
    ]  # fmt: skip


def test_a_name_that_is_not_unicode_is_missing_and_not_lost(recording, tmp_path):
    for suffix in (".flac", ".srt"):
        (tmp_path / os.fsdecode(b"\xe5" + suffix.encode())).write_text(SRT)
    assert problems(recording(möte__srt=SRT)) == {"möte.flac#0.00-1.00": None, "\\udce5.flac": "missing file"}


@pytest.fixture
def refuse_metadata(tmp_path, refusal):
    """A function that writes a metadata file and returns the error with which the folder is refused."""

    def refuse(name, write):
        write(tmp_path / name)
        return refusal(folder.list_rows, tmp_path, 30.0)

    return refuse


def parquet_of(**columns):
    return lambda file: pq.write_table(pa.table(columns), file)


def test_millions_of_constant_rows_are_refused_by_their_number(refuse_metadata):

    constant = pa.DictionaryArray.from_arrays(pa.array(np.zeros(3_000_001, np.int8)), pa.array(["a.wav"]))
    line = refuse_metadata("metadata.parquet", parquet_of(file_name=constant, text=constant))
    assert "it has 3,000,001 rows" in line


def test_a_cell_that_every_row_repeats_is_refused_before_it_is_decoded(refuse_metadata, monkeypatch):

    same = pa.DictionaryArray.from_arrays(pa.array(np.zeros(2_000, np.int8)), pa.array(["a" * 900_000]))
    line = refuse_metadata("metadata.parquet", parquet_of(file_name=same, text=same))
    assert "its cells hold more than 1,073,741,824 bytes" in line
    line = refuse_metadata("metadata.parquet", parquet_of(file_name=["a.wav"], text=["a" * 20_000_000]))
    assert "a cell of text has 20,000,000 bytes" in line


def test_other_columns_are_not_read(tmp_path):

    unused = pa.DictionaryArray.from_arrays(pa.array(np.zeros(2_000, np.int8)), pa.array(["a" * 9_000_000]))
    names = [f"{at}.wav" for at in range(2_000)]
    parquet_of(file_name=names, text=names, unused=unused, speaker_id=[[1]] * 2_000)(tmp_path / "metadata.parquet")
    assert [row.speaker for row in folder.list_rows(tmp_path, 30.0)] == [None] * 2_000


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.tsv", "metadata.jsonl", "metadata.parquet"])
def test_metadata_of_gigabytes_are_refused_before_they_are_read(refuse_metadata, name):
    def write(file):
        file.touch()
        os.truncate(file, 1 << 33)

    assert "8,589,934,592 bytes" in refuse_metadata(name, write)


def test_a_transcript_of_gigabytes_rejects_its_recording(tmp_path):
    (tmp_path / "a.wav").touch()
    (tmp_path / "a.srt").touch()
    os.truncate(tmp_path / "a.srt", 1 << 31)
    [row] = folder.list_rows(tmp_path, 30.0)
    assert "2,147,483,648 bytes" in row.problem
