"""The page's parts without a browser: what it tells of a model, what it keeps, how Live decides."""

import csv
import shutil
import time
from dataclasses import dataclass

import about
import live
import numpy as np
import pages
import pytest
import results
import sounds
import teaching
import wording
from asr.corpus import folder

RATE = 16_000


@pytest.mark.parametrize(
    ("release", "said"),
    [
        ({}, "Nobody has measured"),
        ({"test_wer": 0.4}, "fewer than 1 wrong."),
        ({"test_wer": 130.0, "test_wer_ci": [90.0, 180.0]}, "With other clips"),
        ({"test_wer": 20.0, "baseline_wer": 61.7}, "Before training it was 61.7"),
        ({"test_wer": 2, "test_wer_ci": [1, 3], "baseline_wer": 139.4}, "<span>200\u00a0%</span>"),
        ({"test_wer": 20.0, "test_wer_ci": [18, 22], "baseline_wer": 61.7}, "<span>100\u00a0%</span>"),
        ({"test_wer": 20.0, "baseline_wer": 61.7}, "Före träningen var det 61,7"),
        ({"test_wer": 20.0, "test_wer_ci": [18, 22], "baseline_wer": 61.7, "baseline_wer_ci": None}, "bar base"),
        ({"test_wer": 8.2, "unit": "character"}, "Of 100 characters it gets about 8 wrong"),
        ({"test_wer": 8.2, "unit": "character"}, "Av 100 tecken blir ungefär 8 fel"),
        ({"test_wer": 8.2, "unit": "character"}, "character error rate"),
        ({"test_wer": 8.2, "unit": "word"}, "Of 100 words it gets about 8 wrong"),
        ({"name": "<script>"}, "&lt;script&gt;"),
        ({"licences": ["CC0-1.0", "CC-BY-4.0"]}, "CC0-1.0, CC-BY-4.0"),
        ({"licences": {"sample": "CC0-1.0"}}, "sample: CC0-1.0"),
        ({"sources": {"sample": 1.0871180555555555}}, '(<span lang="en">1.1 hours</span><span lang="sv">1,1 timmar'),
        ({"sources": ["common_voice"]}, "<dd>common_voice</dd>"),
        ({"hours": 1.2, "split_hours": {"train": 0.88, "test": 0.14}}, '<span lang="en">0.9 hours</span>'),
        ({"test_wer": 5.0, "served_wer": 5.4}, '<strong><span lang="en">5.4\u00a0%'),
        ({"test_wer": 5.0, "served_wer": 5.4}, "Before it was made 8-bit"),
        ({"test_wer": 5, "served_wer": 5.4, "served_wer_ci": [4, 7]}, "most likely be 4.0 to 7.0"),
    ],
)
def test_the_page_tells_what_a_release_knows_and_no_more(release, said):
    told = about.model(release)
    assert said in told
    assert "None" not in told


def test_every_wording_has_both_languages_with_the_same_values():
    import string

    for key, (english, swedish) in wording.WORDS.items():
        fields = [{field for _, field, *_ in string.Formatter().parse(text)} - {None} for text in (english, swedish)]
        assert fields[0] == fields[1], key
        assert english.strip() and swedish.strip(), key


def test_a_growing_result_is_only_ever_added_to():
    @dataclass
    class Word:
        text: str
        confidence: float
        start: float = 0.25
        end: float = 0.5

    @dataclass
    class Part:
        start: float
        end: float
        text: str
        words: tuple

    part = Part(0.0, 1.0, "a <b>", (Word("a", 0.99), Word("<b>", 0.3)))
    told = results.segment(part)
    assert '<span class="u3" data-at="0.25" data-to="0.50" data-sure="0.300">&lt;b&gt;</span>' in told
    assert "<b>" not in told
    assert 'src="gradio_api/file=/tmp/%C3%A5%20b.wav"' in results.opening("/tmp/å b.wav", "x")


def test_what_is_given_is_read_by_the_flow_whatever_was_typed(tmp_path):
    lessons = teaching.Lessons(tmp_path)
    typed = ['Hej, "du"!', "=1+1", "två\nrader\x00", "å ä ö, 日本"]
    names = [lessons.keep(np.full(RATE, 0.5, np.float32), text) for text in typed]
    rows = folder.list_rows(tmp_path, longest=30.0)
    assert [row.text for row in rows] == ['Hej, "du"!', "1+1", "två rader", "å ä ö, 日本"]  # no formula
    assert [row.clip for row in rows] == [f"train/{name}" for name in names]
    assert all(row.problem is None and row.split == "train" for row in rows)
    with (tmp_path / "train" / "metadata.csv").open(newline="") as table:
        assert next(csv.reader(table)) == ["file_name", "transcription"]


def test_a_full_folder_takes_no_more(tmp_path, monkeypatch):
    monkeypatch.setattr(teaching, "CLIPS", 1)
    lessons = teaching.Lessons(tmp_path)
    lessons.keep(np.zeros(RATE, np.float32), "ett")
    with pytest.raises(OSError, match="enough"):
        lessons.keep(np.zeros(RATE, np.float32), "två")


def test_who_has_the_code_takes_a_clip_back_and_nothing_else(tmp_path):
    lessons = teaching.Lessons(tmp_path)
    assert not lessons.take_back("3f2a9c81d04e.wav")  # nothing was ever given
    names = [lessons.keep(np.zeros(RATE, np.float32), text) for text in ("ett", 'två, "2"', "tre")]
    for wrong in ("", "file_name", "../train/" + names[0], "*", names[0][:6]):
        assert not lessons.take_back(wrong)
    assert lessons.take_back(f" {names[1].removesuffix('.wav')} ")
    assert not lessons.take_back(names[1])
    assert [(row.clip, row.text) for row in folder.list_rows(tmp_path, longest=30.0)] == [
        (f"train/{names[0]}", "ett"), (f"train/{names[2]}", "tre"),
    ]  # fmt: skip
    assert sorted(path.name for path in (tmp_path / "train").glob("*.wav")) == sorted([names[0], names[2]])


def test_the_code_of_a_clip_is_what_the_flow_leaves_it_out_by(tmp_path):
    name = teaching.Lessons(tmp_path).keep(np.zeros(RATE, np.float32), "ett")
    (row,) = folder.list_rows(tmp_path, longest=30.0)
    assert name in row.names


def test_a_space_without_a_data_set_keeps_nothing(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name in ("TEACH_REPO", "TEACH_FOLDER", "SPACE_ID"):
        monkeypatch.delenv(name, raising=False)
    kept = teaching.lessons()
    assert kept and kept.folder == tmp_path / "taught" and not kept.folder.exists()
    monkeypatch.setenv("SPACE_ID", "me/space")
    assert teaching.lessons() is None


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A data set of the Hub that has a row already; tells what was asked of it."""
    import huggingface_hub

    class Scheduler:
        private = True

        def __init__(self, **asked):
            import threading

            hub.asked, self.lock, self.repo_id, self.api = asked, threading.Lock(), asked["repo_id"], self

        def repo_info(self, *_, **__):
            return self

        def stop(self):
            hub.stopped = True

        def delete_file(self, path, repo, repo_type):
            hub.deleted = (path, repo, repo_type)

    class hub:
        scheduler = Scheduler

    there = tmp_path / "there.csv"
    there.write_text("file_name,transcription\nold.wav,gammal\n")
    monkeypatch.setattr(huggingface_hub, "CommitScheduler", Scheduler)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *_, **__: str(there))
    monkeypatch.setenv("TEACH_REPO", "me/taught")
    monkeypatch.setenv("TEACH_FOLDER", str(tmp_path / "taught"))
    return hub


def test_a_data_set_of_the_hub_keeps_its_earlier_rows_when_a_space_starts_anew(hub, tmp_path):
    kept = teaching.lessons()
    assert (hub.asked["repo_type"], hub.asked["private"], kept.repo) == ("dataset", True, "me/taught")
    name = kept.keep(np.zeros(RATE, np.float32), "ny")
    table = (tmp_path / "taught" / "train" / "metadata.csv").read_text().splitlines()
    assert table == ["file_name,transcription", "old.wav,gammal", f"{name},ny"]
    assert kept.take_back("old")
    assert hub.deleted == ("train/old.wav", "me/taught", "dataset")


def test_a_public_data_set_is_given_no_voices(hub):
    hub.scheduler.private = False
    with pytest.raises(ValueError, match="TEACH_REPO=me/taught cannot be used: it is public"):
        teaching.lessons()
    assert hub.stopped


def test_a_length_is_counted_since_a_header_may_be_missing_or_lie(tmp_path, monkeypatch):
    import soundfile

    monkeypatch.setattr(sounds, "MINUTES", 0.1)
    file = tmp_path / "long.wav"
    soundfile.write(file, np.full(10 * RATE, 0.1), RATE)
    wav = bytearray(file.read_bytes())
    wav[40:44] = (1000).to_bytes(4, "little")  # the data chunk says it is short
    for name, content in (
        ("honest.wav", file.read_bytes()),
        ("stream.wav", bytes(wav[:40]) + b"\xff" * 4 + bytes(wav[44:])),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(sounds.Unheard, match="too_long"):
            sounds.hear(tmp_path / name)


def test_what_is_readable_of_a_damaged_recording_is_heard(tmp_path, speech):
    import soundfile

    file = tmp_path / "speech.flac"
    soundfile.write(file, speech[0], RATE)
    content = bytearray(file.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 200] = bytes(200)
    file.write_bytes(content[: len(content) - 500])
    heard = sounds.hear(file)
    assert RATE < len(heard.samples) <= len(speech[0]) + 8000
    assert heard.fault


@dataclass
class Word:
    text: str
    start: float
    end: float


@dataclass
class Segment:
    words: list


class Engine:
    """Hears a word in each half second of what is said, and is as slow as it is told.

    It knows the words by their place in the sound `said`. A word that is not whole at the end is heard wrong, and each
    hearing tells its times a little otherwise.
    """

    longest = 30.0

    def __init__(self, said=None, cost=0.0):
        self.said, self.cost, self.lengths = said, cost, []

    def segments(self, sound, **_):
        self.lengths.append(len(sound) / RATE)
        time.sleep(self.cost)
        at, off, words = self.where(sound), 0.1 * (-1) ** len(self.lengths), []
        for number in range(int(at * 2), int((at + len(sound) / RATE) * 2 + 0.99)):
            start, end = number / 2 - at, number / 2 + 0.5 - at
            if start > -0.25:  # half of it at least
                text = f"ord{number}" if end < len(sound) / RATE + 0.01 else f"half{len(self.lengths)}"
                words.append(Word(text, max(0, start + off), max(0, end + off)))
        return [Segment(words)]

    def where(self, sound):
        if self.said is None:
            return 0.0
        piece = sound[:400].tobytes()
        return (self.said.tobytes().find(piece) // 4) / RATE


def say(session, speech, seconds):
    for start in range(0, int(seconds * RATE), RATE // 2):
        session.add(speech[start % len(speech) :][: RATE // 2])
        if session._hearing:
            session._hearing.join()


def test_words_that_may_be_said_reach_the_engine_for_every_file_once(clip, tmp_path):
    from transcriber import Decoding

    asked = []

    class Listener:
        language, joint, release, longest = "sv", " ", {}, 30.0

        def segments(self, sound, decoding, **_):
            asked.append(decoding)
            return iter([])

    hints = Decoding(hotwords=("Kiruna",))
    copied = shutil.copy(clip, tmp_path)
    pictures = list(pages._show(Listener(), [str(clip), copied], "en", hints))
    assert asked == [hints, hints]
    assert "wrong" in pictures[-1][1]  # nothing was said
    again = list(pages._show(Listener(), [copied], "en", hints, known=pictures[-1][-1]))
    assert asked == [hints, hints] and again[-1][1].count("wrong") == 1  # what is known is not heard again


def test_live_costs_nothing_in_silence():
    engine = Engine()
    session = live.Session(engine)
    say(session, np.zeros(RATE, np.float32), 60)
    noise = np.random.default_rng(0).normal(0, 0.01, RATE).astype(np.float32)
    say(session, noise, 20)
    session.finish()
    assert (engine.lengths, session.firm) == ([], [])
    assert len(session._window) < 2 * RATE


def test_live_never_hears_more_than_its_cap_and_every_word_comes_once_though_nobody_pauses(speech):
    sound = np.concatenate(speech * 20)[: 60 * RATE]
    sound += np.random.default_rng(0).normal(0, 1e-4, len(sound)).astype(np.float32)  # no two pieces alike
    engine, firm = Engine(sound), []
    session = live.Session(engine)
    for start in range(0, len(sound), RATE // 2):
        say(session, sound[start : start + RATE // 2], 0.5)
        assert session.firm[: len(firm)] == firm
        firm = list(session.firm)
    session.finish()
    assert session.tail == []
    assert session.firm == [f"ord{number}" for number in range(120)]
    assert max(engine.lengths) <= live.CAP + 2
    assert sum(engine.lengths) < 60 * live.CAP


def test_live_of_a_slow_engine_hears_less_often_and_takes_every_sound(speech):
    engine = Engine(cost=0.5)
    session = live.Session(engine)
    began = time.monotonic()
    for start in range(0, 8 * RATE, RATE // 2):
        session.add(np.concatenate(speech)[start : start + RATE // 2])
    assert time.monotonic() - began < 0.4  # no piece waits for the engine
    assert len(engine.lengths) <= 1
    session.finish()
    assert session.seconds == 8
