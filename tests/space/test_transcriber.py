"""The engine, with an untrained model: all but whether the words are right."""

import json
import os
import re
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import features
import hardware
import numpy as np
import pytest
import soundfile
import speech_detection
import transcriber as engine
import word_timing
from asr.release.engine import capture_space, load_engine
from audio_files import read_file
from batching import Cancelled
from decoding import DecodingOptions
from field.damage import a_pipe, edited, of_gigabytes
from hardware import Hardware
from release import find_release
from subtitles import format_transcript, split_into_cues
from transcriber import DEFAULT_OPTIONS, Transcriber
from transcript import Segment, Transcript, Word

RATE = 16_000
FILE = Path(engine.__file__)


@pytest.fixture(scope="module")
def transcriber(tiny_release):
    return Transcriber(tiny_release, threads=1)


@pytest.fixture
def release(tiny_release, tmp_path):
    """A copy that tests may damage."""
    return Path(shutil.copytree(tiny_release, tmp_path / "release"))


class Decoder:
    """A stand-in for the model that writes given tokens for any audio, and records its calls."""

    def __init__(self, tokens):
        self.tokens, self.asked, self.scores, self.no_speech = tokens, [], [-0.5], 0.0

    def encode(self, features):
        return features

    def align(self, features, start, tokens, frames, **_):
        """Every token lasts as long, a step of 20 ms at least, and is the surer the later it comes."""
        self.aligned = SimpleNamespace(start=start, frames=frames)
        results = []
        for said, length in zip(tokens, frames, strict=True):
            steps = [at * (length // 2) // len(said) for at in range(len(said) + 1)]
            odds = [(at + 1) / len(said) for at in range(len(said))]
            results.append(SimpleNamespace(alignments=list(enumerate(steps)), text_token_probs=odds))
        return results

    def generate(self, features, prompts, **options):
        self.asked.append(SimpleNamespace(shape=list(features.shape), prompts=prompts, **options))
        tries = self.tokens if isinstance(self.tokens[0], list) else [self.tokens]
        said = tries[min(len(self.asked), len(tries)) - 1]
        return [SimpleNamespace(sequences_ids=[said], scores=self.scores, no_speech_prob=self.no_speech)] * len(prompts)


@pytest.fixture
def says(transcriber, monkeypatch):
    def say(*texts):
        """The first text at the first try, ... and the last one from then on."""
        decoder = Decoder([transcriber._tokenizer.encode(text, add_special_tokens=False).ids for text in texts])
        monkeypatch.setattr(transcriber, "_model", decoder)
        return decoder

    return say


def test_a_short_sound_is_one_segment_with_its_times(transcriber, speech):
    heard = transcriber.transcribe(speech[0])
    (segment,) = heard.segments
    assert heard.text == segment.text != ""
    assert (segment.start, segment.end) == (0, heard.seconds) == (0, round(len(speech[0]) / RATE, 2))
    assert heard.language == "sv"


def test_the_text_has_no_special_token_no_timestamp_and_every_letter(transcriber, speech, says):
    says("<|0.00|> Åtta ägg på ön.<|2.40|><|endoftext|>")
    assert transcriber.transcribe(speech[0]).text == "Åtta ägg på ön."


def test_the_model_is_prompted_in_its_language_on_the_clips_own_frames(transcriber, speech, says):
    decoder = says("ja")
    transcriber.transcribe(speech[0])
    (asked,) = decoder.asked
    prompt = ["<|startoftranscript|>", "<|sv|>", "<|transcribe|>", "<|notimestamps|>"]
    assert [transcriber._tokenizer.id_to_token(token) for token in asked.prompts[0]] == prompt
    frames = len(speech[0]) // 160 + features.TAIL
    assert asked.shape == [1, 80, frames + frames % 2]
    assert asked.beam_size == 1
    assert asked.max_length <= 448


def test_prompt_and_hotwords_are_previous_text_and_leave_room_for_the_transcript(transcriber, speech, says):
    decoder = says("ja")
    heard = transcriber.transcribe_batch([speech[0]])
    transcriber.transcribe(speech[0], DecodingOptions("Vi reste norrut.", ("Kiruna", "Åre")))
    transcriber.transcribe(speech[0], DecodingOptions("långt " * 500))
    plain, hinted, long = (asked.prompts[0] for asked in decoder.asked)
    assert transcriber._tokenizer.decode(hinted[1 : -len(plain)]).strip() == "Kiruna, Åre Vi reste norrut."
    assert hinted[0] == long[0] == transcriber._tokenizer.token_to_id("<|startofprev|>")
    assert hinted[-len(plain) :] == plain and len(long) == 1 + 223 + len(plain)
    asked = decoder.asked
    written = [min(one.max_length // 2, one.max_length - len(one.prompts[0])) for one in asked]  # as CTranslate2 does
    assert written[1] == written[0] and written[2] >= min(written[0], 448 - len(long))
    assert heard == ["ja"]


def test_a_temperature_samples_the_text(transcriber, speech, says):
    decoder = says("ja")
    transcriber.transcribe(speech[0], DecodingOptions(temperature=0.7))
    assert (decoder.asked[0].sampling_temperature, decoder.asked[0].sampling_topk) == (0.7, 0)


def test_thirty_seconds_are_one_window_of_at_most_as_many_tokens_as_a_decoder_has(transcriber, says):
    decoder = says("ja")
    noise = np.random.default_rng(0).normal(0, 0.1, 30 * RATE).astype(np.float32)
    transcriber._decode([noise], False, DEFAULT_OPTIONS, lambda: True)
    assert decoder.asked[0].shape == [1, 80, 3000]
    assert decoder.asked[0].max_length == 448


def test_no_batch_has_the_frames_that_ctranslate2_would_encode_twice(transcriber, speech):
    mels = [np.zeros((80, frames), np.float32) for frames in range(100, 200)]
    assert 160 not in {features.stack([one]).shape[2] for one in mels}


def test_words_have_times_within_their_segment_in_order_and_are_the_text(transcriber, speech):
    for sound in speech[:6]:
        heard = transcriber.transcribe(sound)
        for segment in heard.segments:
            assert " ".join(word.text for word in segment.words) == segment.text
            times = [segment.start, *(time for word in segment.words for time in (word.start, word.end)), segment.end]
            assert times == sorted(times)
            assert all(type(time) is float for time in times)
            assert all(0 <= word.confidence <= 1 for word in segment.words)
            assert 0 <= segment.confidence <= 1


def test_words_are_cut_at_spaces_and_punctuation_joins_its_word(transcriber, speech, says):
    decoder = says(" Åtta ägg , på  ön !")
    (segment,) = transcriber.transcribe(speech[0]).segments
    assert [word.text for word in segment.words] == ["Åtta", "ägg ,", "på", "ön !"]
    assert decoder.aligned.start == transcriber._prompt
    assert decoder.aligned.frames == [len(speech[0]) // 160]
    assert segment.words[0].confidence < segment.words[-1].confidence <= 1
    assert segment.words[0].confidence < segment.confidence < segment.words[-1].confidence


def test_words_cost_one_alignment_and_texts_alone_none(transcriber, speech, says):
    decoder = says(" ja")
    assert transcriber.transcribe_batch(speech[:2]) == ["ja", "ja"]
    assert [segment.words for segment in transcriber.segments(speech[0], words=False)] == [()]
    assert not hasattr(decoder, "aligned")


def test_long_speech_is_cut_to_what_a_subtitle_holds(transcriber):
    texts = [f"Ord{at}{'.' if at % 8 == 7 else ''}" for at in range(60)]
    words = tuple(Word(at / 2, at / 2 + 0.4, text, 1.0) for at, text in enumerate(texts))
    parts = split_into_cues(words)
    assert [word for part in parts for word in part] == list(words)
    assert all(part[-1].end - part[0].start <= 7 for part in parts)
    assert all(len(" ".join(word.text for word in part)) <= 84 for part in parts)
    assert sum(part[-1].text.endswith(".") for part in parts) >= len(parts) / 2


def test_segments_come_before_the_whole_sound_is_decoded(transcriber, speech, says):
    decoder = says("ja")
    sound = np.concatenate([np.pad(sentence, (0, RATE)) for sentence in speech])
    segments = transcriber.segments(sound)
    assert next(segments).text == "ja"
    assert len(decoder.asked) == 1
    assert len(list(segments)) == len(speech) - 1
    assert len(decoder.asked) < len(speech)  # the others in batches


def test_a_window_is_no_longer_than_the_release_knows(release, speech):
    told = {"language": "sv", "longest_seconds": 6}
    (release / "release.json").write_text(json.dumps(told))
    sound = np.concatenate([np.pad(sentence, (0, RATE // 5)) for sentence in speech])
    windows = list(speech_detection.find_speech(sound, Transcriber(release).longest))
    assert max(end - start for start, end in windows) <= 6 * RATE
    assert all(one[1] <= other[0] for one, other in pairwise(windows))


def test_speech_across_the_spans_in_which_it_is_looked_for_is_heard_once(speech):
    sound = np.concatenate([np.pad(sentence, (0, RATE)) for sentence in speech])
    whole = list(speech_detection.find_speech(sound, 30.0, len(sound)))
    spans = list(speech_detection.find_speech(sound, 30.0, 7 * RATE))
    assert len(whole) == len(speech) <= len(spans) <= len(speech) + 2
    assert all(one[1] <= other[0] for one, other in pairwise(spans))
    assert sum(end - start for start, end in spans) == pytest.approx(sum(end - start for start, end in whole), rel=0.1)


@pytest.mark.parametrize("level", [0.01, 0.3])
@pytest.mark.parametrize("seconds", [0.5, 4, 40])
def test_noise_has_no_words(transcriber, seconds, level):
    noise = np.random.default_rng(0).uniform(-level, level, int(seconds * RATE)).astype(np.float32)
    assert transcriber.transcribe(noise).text == ""


def test_faint_speech_is_heard(transcriber, speech, says):
    says("ja")
    assert [transcriber.transcribe(sound * 0.01).text for sound in speech[:3]] == ["ja"] * 3


def test_a_repeating_decode_is_tried_again(transcriber, speech, says):
    decoder = says("tack för maten " * 5, "tack för maten")
    assert transcriber.transcribe(speech[0]).text == "tack för maten"
    first, again = decoder.asked
    assert not hasattr(first, "no_repeat_ngram_size")
    assert again.no_repeat_ngram_size > 1
    assert again.repetition_penalty > 1
    assert again.shape[0] == 1


def test_a_decode_that_repeats_twice_is_cut(transcriber, speech, says):
    says("Hej, " + "tack för maten " * 5 + "då")
    heard = transcriber.transcribe(speech[0])
    assert heard.text == "Hej, tack för maten då"
    assert [word.text for word in heard.segments[0].words] == heard.text.split()
    assert transcriber.transcribe_batch([speech[0]]) == [heard.text]


@pytest.mark.parametrize("text", ["nej nej nej", "tre tre tre tre", "hej hej hallå hej hej"])
def test_natural_repetitions_are_kept(transcriber, speech, says, text):
    decoder = says(text)
    assert transcriber.transcribe(speech[0]).text == text
    assert len(decoder.asked) == 1


def test_beams_and_full_context_are_the_releases_and_the_users_choice(release, speech):
    told = {"language": "sv", "context": "full"}
    (release / "release.json").write_text(json.dumps(told))
    transcriber = Transcriber(release)
    assert (transcriber.context, transcriber.beam) == ("full", 1)
    transcriber.beam = 3
    transcriber._model = decoder = Decoder(transcriber._tokenizer.encode(" ja", add_special_tokens=False).ids)
    transcriber.transcribe(speech[0])
    assert decoder.asked[0].shape == [1, 80, 3000]
    assert decoder.asked[0].beam_size == 3
    assert decoder.aligned.frames == [len(speech[0]) // 160]


@pytest.fixture
def full(release):
    """A release that takes 30 s, whatever the audio's length."""
    (release / "release.json").write_text(json.dumps({"language": "sv", "context": "full"}))
    return Transcriber(release, threads=1)


@pytest.fixture
def recording(speech):
    """Twelve sentences, a minute of them, with a second between them."""
    return np.concatenate([np.pad(sentence, (0, RATE)) for sentence in speech])


def test_thirty_seconds_hold_several_cuts_and_each_is_a_segment_with_its_words(full, recording, monkeypatch):
    monkeypatch.setattr(full, "_model", Decoder(full._tokenizer.encode(" ja" * 60, add_special_tokens=False).ids))
    monkeypatch.setattr(full, "_without_loops", lambda encoded, row, first, *_: first)
    cuts = list(speech_detection.find_speech(recording, 30.0))
    windows = list(full._windows(recording))
    assert [cut for window in windows for cut in window] == cuts
    assert len(windows) < len(cuts) / 3
    assert all(sum(end - start for start, end in window) <= 30 * RATE for window in windows)
    segments = list(full.segments(recording))
    assert [asked.shape[0] for asked in full._model.asked] == [1, len(windows) - 1]  # all of them at their first try
    assert [(segment.start, segment.end) for segment in segments] == [
        (round(start / RATE, 2), round(end / RATE, 2)) for start, end in cuts
    ]
    assert all(segment.text == " ".join(word.text for word in segment.words) for segment in segments)
    assert all(segment.start <= word.start <= word.end <= segment.end for segment in segments for word in segment.words)
    texts = list(full.segments(recording, words=False))
    assert [(segment.text, segment.words) for segment in texts] == [(segment.text, ()) for segment in segments]
    assert full.transcribe_batch([recording]) == [" ".join(segment.text for segment in segments)]


def test_a_cancelled_request_decodes_no_more(transcriber, recording, says):
    decoder = says("ja")
    segments = transcriber.segments(np.tile(recording, 3), is_wanted=lambda: len(decoder.asked) < 2)
    with pytest.raises(Cancelled):
        list(segments)
    assert len(decoder.asked) == 2


def test_the_rest_of_a_window_that_a_model_left_out_is_decoded_again(full, recording, monkeypatch):
    class Short(Decoder):
        """Writes one word, in the first tenth of a second."""

        def align(self, features, start, tokens, frames, **_):
            return [SimpleNamespace(alignments=[(0, 0), (1, 5)], text_token_probs=[1.0] * len(said)) for said in tokens]

    monkeypatch.setattr(full, "_model", Short(full._tokenizer.encode(" ja", add_special_tokens=False).ids[-1:]))
    monkeypatch.setattr(full._timer, "_is_aligned", True)
    segments = list(full.segments(recording))
    assert len(segments) == len(list(speech_detection.find_speech(recording, 30.0)))
    assert [segment.start for segment in segments] == sorted(segment.start for segment in segments)
    assert full.transcribe_batch([recording]) == [" ".join(segment.text for segment in segments)]


def _placed(model, recording, text, places):
    """A decoder that says a text once, each letter and sign of it in the middle of its cut, and from then on "n"."""
    (cuts,) = model._windows(recording)
    tokens = [model._tokenizer.token_to_id(sign) for sign in text.replace(" ", word_timing.SPACE)]
    begins = np.cumsum([0, *(end - start for start, end in cuts)]) / RATE
    times = [(begins[at] + begins[at + 1]) / 2 for at in places]

    class Placed(Decoder):
        def align(self, features, start, said, frames, **_):
            if said != [tokens]:
                return super().align(features, start, said, frames)
            alignments = [(at, round(50 * time)) for at, time in enumerate([*times, begins[-1]])]
            return [SimpleNamespace(alignments=alignments, text_token_probs=[1.0] * len(tokens))]

    return cuts, Placed([tokens, [model._tokenizer.token_to_id("n")]])


def test_a_skipped_cut_is_decoded_again(full, recording, monkeypatch):
    recording = recording[: 20 * RATE]
    cuts, decoder = _placed(full, recording, " a b c", [0, 0, 2, 2, 3, 3])
    monkeypatch.setattr(full, "_model", decoder)
    monkeypatch.setattr(full._timer, "_is_aligned", True)
    assert [segment.text for segment in full.segments(recording)] == ["a", "n", "b", "c", *["n"] * (len(cuts) - 4)]


def test_digits_in_one_word_are_not_decoded_twice(full, recording, monkeypatch):
    recording = recording[: 20 * RATE]
    cuts, decoder = _placed(full, recording, " 3-8-6", [0, 0, 1, 1, 1, 2])
    monkeypatch.setattr(full, "_model", decoder)
    monkeypatch.setattr(full._timer, "_is_aligned", True)
    assert [segment.text for segment in full.segments(recording)] == ["3-8-6", *["n"] * (len(cuts) - 3)]


def test_a_model_for_short_audio_gets_one_cut_at_a_time(full, recording):
    full.longest = 6.0
    assert all(len(window) == 1 for window in full._windows(recording))
    full.longest, full.context = 30.0, "trimmed"
    assert all(len(window) == 1 for window in full._windows(recording))


def test_the_speech_detector_restarts_every_few_seconds(recording, monkeypatch):
    looked, look = [], speech_detection.get_speech_timestamps
    monkeypatch.setattr(
        speech_detection,
        "get_speech_timestamps",
        lambda sound, pauses: looked.append(len(sound)) or look(sound, pauses),
    )
    noise = np.random.default_rng(0).normal(0, 0.03, 60 * RATE).astype(np.float32)
    assert list(speech_detection.find_speech(np.concatenate([noise, recording]), 30.0))
    assert max(looked) <= 2 * speech_detection.SPAN + speech_detection.LEAD


def test_speech_longer_than_a_span_is_cut_late(speech):
    loud = np.concatenate([sentence[np.abs(sentence) > 0.02] for sentence in speech])[: 18 * RATE]
    sound = np.concatenate([np.pad(loud, (0, 2 * RATE)), speech[0]])
    first = next(speech_detection.find_speech(sound, 30.0))
    assert first[1] - first[0] >= min(len(loud), 15 * RATE)


@pytest.mark.parametrize(("no_speech", "score", "text"), [(0.9, -1.5, ""), (0.9, -0.5, "ja"), (0.1, -1.5, "ja")])
def test_a_guess_where_the_model_expects_no_speech_is_dropped(transcriber, speech, says, no_speech, score, text):
    decoder = says("ja")
    decoder.no_speech, decoder.scores = no_speech, [score]
    assert transcriber.transcribe(speech[0]).text == text
    assert transcriber.transcribe_batch([speech[0]]) == [text]


TALK = Transcript(
    "Hej & <hå>. Ja.",
    (
        Segment(0.5, 2.25, "Hej & <hå>.", (Word(0.5, 0.9, "Hej", 0.5), Word(1, 2.0, "&", 1.0))),
        Segment(3661.007, 3662, "Ja."),
    ),
    3700.0,
    "sv",
)


def test_a_transcript_is_written_as_text_subtitles_and_json():
    assert format_transcript(TALK, "txt") == "Hej & <hå>.\nJa.\n"
    srt = "1\n00:00:00,500 --> 00:00:02,250\nHej & <hå>.\n\n2\n01:01:01,007 --> 01:01:02,000\nJa.\n"
    assert format_transcript(TALK, "srt") == srt
    assert format_transcript(TALK, "vtt").startswith(
        "WEBVTT\n\n00:00:00.500 --> 00:00:02.250\nHej &amp; &lt;hå&gt;.\n\n"
    )
    told = json.loads(format_transcript(TALK, "json"))
    assert set(told) == {"text", "language", "seconds", "segments"}
    assert told["segments"][0]["words"][0] == {"start": 0.5, "end": 0.9, "text": "Hej", "confidence": 0.5}
    nothing = Transcript("", (), 1.0, "sv")
    assert [format_transcript(nothing, form) for form in ("txt", "srt", "vtt")] == ["", "", "WEBVTT\n"]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"DEVICE": "tpu"}, "DEVICE=tpu is neither auto nor cpu nor cuda"),
        ({"DEVICE": "cpu", "COMPUTE_TYPE": "int4"}, "COMPUTE_TYPE=int4 is not supported on cpu: float32, "),
        ({"WORKERS": "0"}, "WORKERS=0 is no number from 1 to 64"),
        ({"DEVICE": "cuda", "CUDA_VISIBLE_DEVICES": ""}, "DEVICE=cuda: no GPU of NVIDIA"),
    ],
)
def test_missing_hardware_is_reported_in_one_line_before_loading(release, asked, said):
    run = subprocess.run(
        [sys.executable, str(FILE), "a.wav"], env=os.environ | {"MODEL_ID": str(release)} | asked, capture_output=True,
        text=True,
    )  # fmt: skip
    (line,) = run.stderr.strip().splitlines()
    assert run.returncode == 1 and line.startswith(said)


def test_a_gpu_without_cublas_is_reported_and_not_chosen_automatically(monkeypatch):
    monkeypatch.setattr(hardware.ctranslate2, "get_cuda_device_count", lambda: 1)
    monkeypatch.setattr(hardware, "CUBLAS", "libcublas.so.0")
    assert Hardware.from_environment() == Hardware("cpu", "int8", 1)
    monkeypatch.setenv("DEVICE", "cuda")
    with pytest.raises(ValueError, match=r"^DEVICE=cuda: libcublas\.so\.0 is missing; pip install nvidia-cublas-cu12"):
        Hardware.from_environment()


def test_several_workers_share_the_cores(release, speech, transcriber):
    several = Transcriber(release, hardware=Hardware(workers=2))
    assert several.transcribe(speech[0]).text == transcriber.transcribe(speech[0]).text


def test_a_plain_whisper_is_run_by_transformers_without_words(release, speech):
    shutil.rmtree(release / "ct2-int8")
    (release / "release.json").unlink()
    generation = json.loads((release / "generation_config.json").read_text(encoding="utf-8"))
    (release / "generation_config.json").write_text(json.dumps({**generation, "language": "swedish"}))
    transcriber = Transcriber(release)
    assert (transcriber.language, transcriber.context, transcriber.release) == ("sv", "full", {})
    heard = transcriber.transcribe(speech[0])
    assert heard.text
    assert heard.segments[0].words == ()
    assert transcriber.transcribe_batch([speech[0]]) == [heard.text]


def test_a_long_recording_is_cut_at_its_pauses(transcriber, speech, says):
    says("ja")
    pause = np.zeros(RATE, np.float32)
    sound = np.concatenate([part for sentence in speech for part in (sentence, pause)])
    heard = transcriber.transcribe(sound)
    assert len(heard.segments) == len(speech)
    begins = np.cumsum([0] + [len(sentence) + len(pause) for sentence in speech])[:-1] / RATE
    for segment, begin, sentence in zip(heard.segments, begins, speech, strict=True):
        assert segment.start == pytest.approx(begin, abs=0.5)
        assert segment.end == pytest.approx(begin + len(sentence) / RATE, abs=0.8)
    assert heard.text == " ".join(["ja"] * len(speech))


def test_a_long_recording_without_pauses_is_cut(transcriber, speech, says):
    says("ja")
    loud = [sentence[np.abs(sentence) > 0.02] for sentence in speech]  # no pause is left in them
    sound = np.tile(np.concatenate(loud), 5)[: 70 * RATE]
    assert len(sound) > 40 * RATE
    segments = transcriber.transcribe(sound).segments
    assert len(segments) >= 2
    assert all(segment.end - segment.start <= 30.01 for segment in segments)
    assert all(one.end <= other.start for one, other in pairwise(segments))


def test_a_release_with_a_peak_scales_every_recording_to_it(transcriber, speech, monkeypatch):
    monkeypatch.setattr(transcriber._log_mels, "_peak", 0.5)
    loud, quiet = (transcriber._log_mels(speech[0] * level) for level in (np.float32(1), np.float32(0.01)))
    np.testing.assert_allclose(loud, quiet, atol=1e-3)
    assert np.isfinite(transcriber._log_mels(np.zeros(RATE, np.float32))).all()
    monkeypatch.setattr(transcriber._log_mels, "_peak", None)
    assert np.abs(transcriber._log_mels(speech[0]) - transcriber._log_mels(speech[0] * np.float32(0.01))).max() > 0.5


def test_a_batch_gives_each_its_own_text_in_the_given_order(transcriber, speech):
    half, whole = RATE // 2, RATE
    sounds = [speech[0][:whole], speech[1][: 2 * whole], np.zeros(whole, np.float32), speech[2][:whole]]
    sounds.append(speech[3][half : half + whole])
    assert transcriber.transcribe_batch(sounds) == [transcriber.transcribe(sound).text for sound in sounds]
    assert len(set(transcriber.transcribe_batch(sounds))) > 1
    assert transcriber.transcribe_batch([]) == []


def test_a_batch_pads_no_clip_by_more_than_a_tenth():
    lengths = np.random.default_rng(0).integers(RATE, 30 * RATE, 200).tolist()
    batches = list(features.batch_by_length(lengths))
    assert sorted(clip for batch in batches for clip in batch) == list(range(200))
    for batch in batches:
        assert len(batch) <= features.BATCH
        assert min(lengths[clip] for clip in batch) >= 0.9 * max(lengths[clip] for clip in batch)


@pytest.mark.parametrize("samples", [1, 160, 799])
def test_a_click_is_no_error(transcriber, samples):
    assert transcriber.transcribe(np.full(samples, 0.5, np.float32)).seconds == round(samples / RATE, 2)


@pytest.mark.parametrize("seconds", [1, 31])
def test_silence_has_no_words(transcriber, seconds):
    heard = transcriber.transcribe(np.zeros(seconds * RATE, np.float32))
    assert (heard.text, heard.segments, heard.seconds) == ("", (), seconds)


@pytest.mark.parametrize("sound", [np.zeros(0, np.float32), np.zeros((RATE, 2), np.float32)])
def test_an_invalid_array_is_refused(transcriber, sound):
    with pytest.raises(ValueError, match="mono and not empty"):
        transcriber.transcribe(sound)


def test_a_stereo_file_is_mixed_without_a_change_of_level(speech, tmp_path):
    stereo = np.stack([speech[0], speech[0]], axis=1)
    soundfile.write(tmp_path / "stereo åäö.flac", stereo, RATE)
    assert np.abs(read_file(tmp_path / "stereo åäö.flac").samples - speech[0]).max() < 1e-3


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("nothing.wav", b"", "file is empty"),
        ("text.wav", b"This is no sound. " * 99, "no readable audio"),
        ("text.txt", b"This is no sound. " * 99, "no readable audio"),
        ("cut.wav", b"RIFF\xff\xff\xff\x7fWAVEfmt ", "no readable audio"),
        ("missing.wav", None, "no such file"),
    ],
)
def test_a_file_without_audio_is_refused_in_one_line(transcriber, tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message) as refused:
        transcriber.transcribe_file(tmp_path / name)
    assert "\n" not in str(refused.value)


def test_an_empty_recording_and_a_silent_one_say_so(transcriber, silent_clip, tmp_path):
    soundfile.write(tmp_path / "empty.wav", np.zeros(0, np.float32), RATE)
    with pytest.raises(ValueError, match=r"recording is empty|no readable audio"):
        transcriber.transcribe_file(tmp_path / "empty.wav")
    with pytest.raises(ValueError, match="recording is silent"):
        transcriber.transcribe_file(silent_clip)


@pytest.mark.parametrize("file", ["release.json", "tokenizer.json", "preprocessor_config.json", "ct2-int8/model.bin"])
@pytest.mark.parametrize("broken", [None, "{ no json"])
def test_an_incomplete_release_is_refused_by_file_name(release, file, broken):
    (release / file).unlink()
    if broken:
        (release / file).write_text(broken)
    with pytest.raises(ValueError, match=re.escape(str(release))) as refused:
        Transcriber(release)
    assert broken or file in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_release_record_needs_only_the_language(release):
    (release / "release.json").write_text('{"language": "sv"}')
    assert Transcriber(release).language == "sv"
    (release / "release.json").write_text('{"name": "tiny"}')
    with pytest.raises(ValueError, match=r"release\.json names no language"):
        Transcriber(release)
    (release / "release.json").write_text('{"language": "xx"}')
    with pytest.raises(ValueError, match=r"has no <\|xx\|>"):
        Transcriber(release)


def test_a_captured_space_is_loaded_beside_the_current_modules(tiny_release, speech, transcriber):
    here = dict(sys.modules)
    captured = load_engine(capture_space())
    assert captured.Transcriber is not Transcriber
    assert captured.Transcriber(tiny_release).transcribe(speech[0]).text == transcriber.transcribe(speech[0]).text
    assert all(sys.modules[name] is module for name, module in here.items())


def test_it_needs_neither_gradio_nor_the_flow():
    check = "import sys, transcriber; print({'gradio', 'asr', 'metaflow'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", check], cwd=FILE.parent, capture_output=True, text=True)
    assert run.stdout.strip() == "set()", run.stderr


def test_the_release_in_the_working_folder_takes_precedence(monkeypatch, tmp_path):
    monkeypatch.delenv("MODEL_ID", raising=False)
    (tmp_path / "released" / "sample-7").mkdir(parents=True)
    (tmp_path / "released" / "latest").symlink_to("sample-7")
    monkeypatch.chdir(tmp_path)
    assert find_release() == tmp_path / "released" / "sample-7"


def test_a_hub_model_is_downloaded_at_its_revision(monkeypatch, tmp_path):
    asked = []
    (tmp_path / "ct2-int8").mkdir()
    fake = lambda model, **options: asked.append((model, options["revision"])) or str(tmp_path)  # noqa: E731
    monkeypatch.setattr("huggingface_hub.snapshot_download", fake)
    monkeypatch.setenv("MODEL_ID", "someone/whisper-sv")
    monkeypatch.setenv("MODEL_REVISION", "abc123")
    assert find_release() == tmp_path
    assert asked == [("someone/whisper-sv", "abc123")]


def test_weights_are_downloaded_only_if_the_hub_model_is_not_converted(monkeypatch, tmp_path):
    asked = []
    fake = lambda model, **options: asked.append(options["allow_patterns"]) or str(tmp_path)  # noqa: E731
    monkeypatch.setattr("huggingface_hub.snapshot_download", fake)
    monkeypatch.setenv("MODEL_ID", "someone/whisper-sv")
    assert find_release() == tmp_path
    assert [any("safetensors" in pattern for pattern in patterns) for patterns in asked] == [False, True]


def test_an_unavailable_model_is_reported_in_one_line(monkeypatch):
    from huggingface_hub.errors import OfflineModeIsEnabled

    def offline(*_, **__):
        raise OfflineModeIsEnabled("cannot reach it:\noffline")

    monkeypatch.setattr("huggingface_hub.snapshot_download", offline)
    monkeypatch.setenv("MODEL_ID", "nobody/no-model")
    with pytest.raises(
        ValueError, match=r"^MODEL_ID=nobody/no-model is neither a folder nor a model on the Hub: [^\n]*$"
    ):
        find_release()


def test_the_command_prints_a_text_a_file_and_fails_on_a_bad_one(tiny_release, clip, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MODEL_ID", str(tiny_release))
    assert engine.main([str(clip)]) == 0
    alone = capsys.readouterr().out
    assert engine.main([str(tmp_path / "missing.wav"), str(clip)]) == 1
    both = capsys.readouterr()
    assert both.out == f"{clip}: {' '.join(alone.split())}\n"
    assert both.err == f"{tmp_path / 'missing.wav'}: there is no such file\n"


def test_the_command_reports_a_fault_and_a_recording_without_words(tiny_release, speech, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MODEL_ID", str(tiny_release))
    cut, click = tmp_path / "cut.flac", tmp_path / "click.wav"
    soundfile.write(cut, speech[0], RATE)
    cut.write_bytes(cut.read_bytes()[:-8_000])
    soundfile.write(click, np.array([0, 0.5, 0]), RATE)
    assert engine.main([str(cut)]) == 0
    told = capsys.readouterr()
    assert told.out
    assert told.err == f"{cut}: a part of this recording is damaged or missing\n"
    for options in ([], ["--format", "srt"]):
        assert engine.main([str(click), *options]) == 1
        assert capsys.readouterr() == ("", f"{click}: no words were heard in this recording\n")


def test_the_command_writes_subtitles(tiny_release, clip, monkeypatch, capsys):
    monkeypatch.setenv("MODEL_ID", str(tiny_release))
    assert engine.main([str(clip), "--format", "srt", "--beam", "2"]) == 0
    assert capsys.readouterr().out.startswith("1\n00:00:00,000 --> ")
    with pytest.raises(SystemExit, match="2"):
        engine.main([str(clip), "--beam", "0"])


def plain(spoil):
    """Without CTranslate2's folder the release is a plain Whisper."""

    def both(folder):
        shutil.rmtree(folder / "ct2-int8")
        spoil(folder)

    return both


def changed_tokenizer(folder):
    """Give the special tokens other ids."""
    content = json.loads((folder / "tokenizer.json").read_text())
    content["model"] = {"type": "BPE", "vocab": {}, "merges": []}
    (folder / "tokenizer.json").write_text(json.dumps(content))


def shards(name):
    def spoil(folder):
        (folder / "model.safetensors").rename(folder / "model-00001-of-00001.safetensors")
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": name}}))

    return spoil


RECORDS = ("release.json", "preprocessor_config.json", "generation_config.json", "tokenizer.json")
SPOILT = {
    **{f"{name} deep": lambda folder, name=name: (folder / name).write_text("[" * 200_000) for name in RECORDS},
    **{f"{name} of gigabytes": of_gigabytes(name) for name in (*RECORDS, "ct2-int8/vocabulary.json")},
    **{f"{name} a pipe": a_pipe(name) for name in (*RECORDS, "ct2-int8/config.json", "ct2-int8/model.bin")},
    "a list for a language": edited("release.json", language=["sv"]),
    "codes for a language": edited("release.json", language="\x1b[31m\n"),
    "a path for a language": edited("release.json", language="../../etc"),
    "seconds in words": edited("release.json", longest_seconds="many"),
    "seconds of a list": edited("release.json", longest_seconds=[1]),
    "seconds below 0": edited("release.json", longest_seconds=-5),
    "a peak in words": edited("release.json", peak="loud"),
    "a peak of NaN": edited("release.json", peak=float("nan")),
    "a format of a list": edited("release.json", format=[1]),
    "a billion bands": edited("preprocessor_config.json", feature_size=10**9),
    "no bands": edited("preprocessor_config.json", feature_size=0),
    "a million layers": plain(edited("config.json", encoder_layers=10**6)),
    "a BERT": plain(edited("config.json", model_type="bert")),
    "code of its own": plain(edited("config.json", auto_map={"AutoConfig": "code.C"})),
    "a billion labels": plain(edited("config.json", num_labels=10**9)),
    "a long language": edited("release.json", language="s" * 100_000),
    "more bands than the model": edited("preprocessor_config.json", feature_size=81),
    "a vocabulary of two": lambda folder: (folder / "ct2-int8" / "vocabulary.json").write_text('["a", "b"]'),
    "a vocabulary of numbers": lambda folder: (folder / "ct2-int8" / "vocabulary.json").write_text("[1]"),
    "another tokenizer": changed_tokenizer,
    "a list of settings": lambda folder: (folder / "ct2-int8" / "config.json").write_text("[]"),
    "a token far away": edited("ct2-int8/config.json", suppress_ids=[10**9]),
    "a token below 0": edited("ct2-int8/config.json", suppress_ids_begin=[-5]),
    "a head far away": edited("ct2-int8/config.json", alignment_heads=[[99, 99]]),
    "a head below 0": edited("ct2-int8/config.json", alignment_heads=[[-1, -1]]),
    "heads in words": edited("ct2-int8/config.json", alignment_heads="many"),
    "weights of noise": lambda folder: (folder / "ct2-int8" / "model.bin").write_bytes(b"A" * 100_000),
    "a shard elsewhere": plain(shards("../../etc/passwd")),
    "a shard without end": plain(shards("/dev/zero")),
    "an adapter of a stranger": plain(
        lambda folder: (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "a/b"}')
    ),
    "a language that it does not know": plain(edited("generation_config.json", lang_to_id={"<|fi|>": 1})),
    "no weights but a pickle": plain(
        lambda folder: (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    ),
}


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
def test_a_hostile_release_is_refused_in_one_printable_line(release, spoil):
    spoil(release)
    with pytest.raises(ValueError, match=re.escape(str(release))) as caught:
        Transcriber(release, threads=1)
    assert str(caught.value).isprintable()
