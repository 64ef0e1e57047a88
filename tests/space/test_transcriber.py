"""The engine with an untrained model: everything except the accuracy of the words."""

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
from bad_files.damage import as_large_file, as_pipe, edited
from batching import Cancelled
from decoding import DecodingOptions
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
    """A copy that a test may damage."""
    return Path(shutil.copytree(tiny_release, tmp_path / "release"))


class Decoder:
    """A fake model that writes given tokens for any audio, and records its calls."""

    def __init__(self, tokens):
        self.tokens, self.calls, self.scores, self.no_speech = tokens, [], [-0.5], 0.0

    def encode(self, features):
        return features

    def align(self, features, start, tokens, frames, **_):
        """All tokens have the same length, at least a step of 20 ms; later ones are more probable."""
        self.aligned = SimpleNamespace(start=start, frames=frames)
        results = []
        for written, length in zip(tokens, frames, strict=True):
            steps = [position * (length // 2) // len(written) for position in range(len(written) + 1)]
            probabilities = [(position + 1) / len(written) for position in range(len(written))]
            results.append(SimpleNamespace(alignments=list(enumerate(steps)), text_token_probs=probabilities))
        return results

    def generate(self, features, prompts, **options):
        self.calls.append(SimpleNamespace(shape=list(features.shape), prompts=prompts, **options))
        texts = self.tokens if isinstance(self.tokens[0], list) else [self.tokens]
        written = texts[min(len(self.calls), len(texts)) - 1]
        result = SimpleNamespace(sequences_ids=[written], scores=self.scores, no_speech_prob=self.no_speech)
        return [result] * len(prompts)


@pytest.fixture
def stub_decoder(transcriber, monkeypatch):
    def install(*texts):
        """Each call writes the next text; when none is left, the last one again."""
        decoder = Decoder([transcriber._tokenizer.encode(text, add_special_tokens=False).ids for text in texts])
        monkeypatch.setattr(transcriber, "_model", decoder)
        return decoder

    return install


def test_a_short_sound_is_one_segment_with_its_times(transcriber, speech):
    transcript = transcriber.transcribe(speech[0])
    (segment,) = transcript.segments
    assert transcript.text == segment.text != ""
    assert (segment.start, segment.end) == (0, transcript.seconds) == (0, round(len(speech[0]) / RATE, 2))
    assert transcript.language == "sv"


def test_the_text_has_no_special_token_no_timestamp_and_every_letter(transcriber, speech, stub_decoder):
    stub_decoder("<|0.00|> Åtta ägg på ön.<|2.40|><|endoftext|>")
    assert transcriber.transcribe(speech[0]).text == "Åtta ägg på ön."


def test_the_model_gets_its_language_prompt_and_frames_of_the_clips_length(transcriber, speech, stub_decoder):
    decoder = stub_decoder("ja")
    transcriber.transcribe(speech[0])
    (call,) = decoder.calls
    prompt = ["<|startoftranscript|>", "<|sv|>", "<|transcribe|>", "<|notimestamps|>"]
    assert [transcriber._tokenizer.id_to_token(token) for token in call.prompts[0]] == prompt
    frames = len(speech[0]) // 160 + features.TAIL
    assert call.shape == [1, 80, frames + frames % 2]
    assert call.beam_size == 1
    assert call.max_length <= 448


def test_prompt_and_hotwords_are_previous_text_and_leave_room_for_the_transcript(transcriber, speech, stub_decoder):
    decoder = stub_decoder("ja")
    texts = transcriber.transcribe_batch([speech[0]])
    transcriber.transcribe(speech[0], DecodingOptions("Vi reste norrut.", ("Kiruna", "Åre")))
    transcriber.transcribe(speech[0], DecodingOptions("långt " * 500))
    plain, hinted, truncated = (call.prompts[0] for call in decoder.calls)
    assert transcriber._tokenizer.decode(hinted[1 : -len(plain)]).strip() == "Kiruna, Åre Vi reste norrut."
    assert hinted[0] == truncated[0] == transcriber._tokenizer.token_to_id("<|startofprev|>")
    assert hinted[-len(plain) :] == plain and len(truncated) == 1 + 223 + len(plain)
    # As CTranslate2 limits them:
    token_limits = [min(call.max_length // 2, call.max_length - len(call.prompts[0])) for call in decoder.calls]
    assert token_limits[1] == token_limits[0] and token_limits[2] >= min(token_limits[0], 448 - len(truncated))
    assert texts == ["ja"]


def test_a_temperature_samples_the_text(transcriber, speech, stub_decoder):
    decoder = stub_decoder("ja")
    transcriber.transcribe(speech[0], DecodingOptions(temperature=0.7))
    assert (decoder.calls[0].sampling_temperature, decoder.calls[0].sampling_topk) == (0.7, 0)


def test_thirty_seconds_are_one_window_within_the_decoders_token_limit(transcriber, stub_decoder):
    decoder = stub_decoder("ja")
    noise = np.random.default_rng(0).normal(0, 0.1, 30 * RATE).astype(np.float32)
    transcriber._decode([noise], False, DEFAULT_OPTIONS, lambda: True)
    assert decoder.calls[0].shape == [1, 80, 3000]
    assert decoder.calls[0].max_length == 448


def test_no_batch_has_the_frames_that_ctranslate2_would_encode_twice(transcriber, speech):
    mels = [np.zeros((80, frames), np.float32) for frames in range(100, 200)]
    assert 160 not in {features.stack([mel]).shape[2] for mel in mels}


def test_words_have_times_within_their_segment_in_order_and_are_the_text(transcriber, speech):
    for sound in speech[:6]:
        transcript = transcriber.transcribe(sound)
        for segment in transcript.segments:
            assert " ".join(word.text for word in segment.words) == segment.text
            times = [segment.start, *(time for word in segment.words for time in (word.start, word.end)), segment.end]
            assert times == sorted(times)
            assert all(type(time) is float for time in times)
            assert all(0 <= word.confidence <= 1 for word in segment.words)
            assert 0 <= segment.confidence <= 1


def test_words_are_cut_at_spaces_and_punctuation_joins_its_word(transcriber, speech, stub_decoder):
    decoder = stub_decoder(" Åtta ägg , på  ön !")
    (segment,) = transcriber.transcribe(speech[0]).segments
    assert [word.text for word in segment.words] == ["Åtta", "ägg ,", "på", "ön !"]
    assert decoder.aligned.start == transcriber._prompt
    assert decoder.aligned.frames == [len(speech[0]) // 160]
    assert segment.words[0].confidence < segment.words[-1].confidence <= 1
    assert segment.words[0].confidence < segment.confidence < segment.words[-1].confidence


def test_words_cost_one_alignment_and_texts_alone_none(transcriber, speech, stub_decoder):
    decoder = stub_decoder(" ja")
    assert transcriber.transcribe_batch(speech[:2]) == ["ja", "ja"]
    assert [segment.words for segment in transcriber.segments(speech[0], words=False)] == [()]
    assert not hasattr(decoder, "aligned")


def test_long_speech_is_cut_to_the_length_of_subtitles(transcriber):
    texts = [f"Ord{number}{'.' if number % 8 == 7 else ''}" for number in range(60)]
    words = tuple(Word(number / 2, number / 2 + 0.4, text, 1.0) for number, text in enumerate(texts))
    parts = split_into_cues(words)
    assert [word for part in parts for word in part] == list(words)
    assert all(part[-1].end - part[0].start <= 7 for part in parts)
    assert all(len(" ".join(word.text for word in part)) <= 84 for part in parts)
    assert sum(part[-1].text.endswith(".") for part in parts) >= len(parts) / 2


def test_segments_come_before_the_whole_sound_is_decoded(transcriber, speech, stub_decoder):
    decoder = stub_decoder("ja")
    sound = np.concatenate([np.pad(sentence, (0, RATE)) for sentence in speech])
    segments = transcriber.segments(sound)
    assert next(segments).text == "ja"
    assert len(decoder.calls) == 1
    assert len(list(segments)) == len(speech) - 1
    assert len(decoder.calls) < len(speech)  # the others are decoded in batches


def test_a_window_is_no_longer_than_the_release_allows(release, speech):
    record = {"language": "sv", "longest_seconds": 6}
    (release / "release.json").write_text(json.dumps(record))
    sound = np.concatenate([np.pad(sentence, (0, RATE // 5)) for sentence in speech])
    windows = list(speech_detection.find_speech(sound, Transcriber(release).longest))
    assert max(end - start for start, end in windows) <= 6 * RATE
    assert all(window[1] <= following[0] for window, following in pairwise(windows))


def test_speech_across_detection_spans_is_found_once(speech):
    sound = np.concatenate([np.pad(sentence, (0, RATE)) for sentence in speech])
    expected = list(speech_detection.find_speech(sound, 30.0, len(sound)))
    spans = list(speech_detection.find_speech(sound, 30.0, 7 * RATE))
    assert len(expected) == len(speech) <= len(spans) <= len(speech) + 2
    assert all(span[1] <= following[0] for span, following in pairwise(spans))
    samples, expected_samples = (sum(end - start for start, end in found) for found in (spans, expected))
    assert samples == pytest.approx(expected_samples, rel=0.1)


@pytest.mark.parametrize("level", [0.01, 0.3])
@pytest.mark.parametrize("seconds", [0.5, 4, 40])
def test_noise_has_no_words(transcriber, seconds, level):
    noise = np.random.default_rng(0).uniform(-level, level, int(seconds * RATE)).astype(np.float32)
    assert transcriber.transcribe(noise).text == ""


def test_faint_speech_is_transcribed(transcriber, speech, stub_decoder):
    stub_decoder("ja")
    assert [transcriber.transcribe(sound * 0.01).text for sound in speech[:3]] == ["ja"] * 3


def test_a_repeating_decode_is_tried_again(transcriber, speech, stub_decoder):
    decoder = stub_decoder("tack för maten " * 5, "tack för maten")
    assert transcriber.transcribe(speech[0]).text == "tack för maten"
    first, again = decoder.calls
    assert not hasattr(first, "no_repeat_ngram_size")
    assert again.no_repeat_ngram_size > 1
    assert again.repetition_penalty > 1
    assert again.shape[0] == 1


def test_a_decode_that_repeats_twice_is_cut(transcriber, speech, stub_decoder):
    stub_decoder("Hej, " + "tack för maten " * 5 + "då")
    transcript = transcriber.transcribe(speech[0])
    assert transcript.text == "Hej, tack för maten då"
    assert [word.text for word in transcript.segments[0].words] == transcript.text.split()
    assert transcriber.transcribe_batch([speech[0]]) == [transcript.text]


@pytest.mark.parametrize("text", ["nej nej nej", "tre tre tre tre", "hej hej hallå hej hej"])
def test_natural_repetitions_are_kept(transcriber, speech, stub_decoder, text):
    decoder = stub_decoder(text)
    assert transcriber.transcribe(speech[0]).text == text
    assert len(decoder.calls) == 1


def test_the_release_sets_the_context_and_the_user_the_beams(release, speech):
    record = {"language": "sv", "context": "full"}
    (release / "release.json").write_text(json.dumps(record))
    transcriber = Transcriber(release)
    assert (transcriber.context, transcriber.beam) == ("full", 1)
    transcriber.beam = 3
    transcriber._model = decoder = Decoder(transcriber._tokenizer.encode(" ja", add_special_tokens=False).ids)
    transcriber.transcribe(speech[0])
    assert decoder.calls[0].shape == [1, 80, 3000]
    assert decoder.calls[0].beam_size == 3
    assert decoder.aligned.frames == [len(speech[0]) // 160]


@pytest.fixture
def full_context(release):
    """A release whose model always gets 30 s, whatever the audio's length."""
    (release / "release.json").write_text(json.dumps({"language": "sv", "context": "full"}))
    return Transcriber(release, threads=1)


@pytest.fixture
def recording(speech):
    """Twelve sentences with pauses of a second, about a minute in all."""
    return np.concatenate([np.pad(sentence, (0, RATE)) for sentence in speech])


def test_thirty_seconds_hold_several_cuts_and_each_is_a_segment_with_its_words(full_context, recording, monkeypatch):
    tokens = full_context._tokenizer.encode(" ja" * 60, add_special_tokens=False).ids
    monkeypatch.setattr(full_context, "_model", Decoder(tokens))
    monkeypatch.setattr(full_context, "_without_loops", lambda encoded, row, first, *_: first)
    cuts = list(speech_detection.find_speech(recording, 30.0))
    windows = list(full_context._windows(recording))
    assert [cut for window in windows for cut in window] == cuts
    assert len(windows) < len(cuts) / 3
    assert all(sum(end - start for start, end in window) <= 30 * RATE for window in windows)
    segments = list(full_context.segments(recording))
    assert [call.shape[0] for call in full_context._model.calls] == [1, len(windows) - 1]  # each is decoded once
    assert [(segment.start, segment.end) for segment in segments] == [
        (round(start / RATE, 2), round(end / RATE, 2)) for start, end in cuts
    ]
    assert all(segment.text == " ".join(word.text for word in segment.words) for segment in segments)
    assert all(segment.start <= word.start <= word.end <= segment.end for segment in segments for word in segment.words)
    without_words = list(full_context.segments(recording, words=False))
    assert [(segment.text, segment.words) for segment in without_words] == [(segment.text, ()) for segment in segments]
    assert full_context.transcribe_batch([recording]) == [" ".join(segment.text for segment in segments)]


def test_a_cancelled_request_decodes_no_more(transcriber, recording, stub_decoder):
    decoder = stub_decoder("ja")
    segments = transcriber.segments(np.tile(recording, 3), is_wanted=lambda: len(decoder.calls) < 2)
    with pytest.raises(Cancelled):
        list(segments)
    assert len(decoder.calls) == 2


def test_a_rest_of_a_window_that_the_model_skipped_is_decoded_again(full_context, recording, monkeypatch):
    class ShortDecoder(Decoder):
        """Writes one word in the first tenth of a second."""

        def align(self, features, start, tokens, frames, **_):
            alignments = [(0, 0), (1, 5)]
            return [SimpleNamespace(alignments=alignments, text_token_probs=[1.0] * len(text)) for text in tokens]

    token = full_context._tokenizer.encode(" ja", add_special_tokens=False).ids[-1]
    monkeypatch.setattr(full_context, "_model", ShortDecoder([token]))
    monkeypatch.setattr(full_context._timer, "_is_aligned", True)
    segments = list(full_context.segments(recording))
    assert len(segments) == len(list(speech_detection.find_speech(recording, 30.0)))
    assert [segment.start for segment in segments] == sorted(segment.start for segment in segments)
    assert full_context.transcribe_batch([recording]) == [" ".join(segment.text for segment in segments)]


def _decoder_with_times(model, recording, text, cut_numbers):
    """A decoder that writes a text once, each letter in the middle of its cut, and then always "n"."""
    (cuts,) = model._windows(recording)
    tokens = [model._tokenizer.token_to_id(letter) for letter in text.replace(" ", word_timing.SPACE)]
    cut_starts = np.cumsum([0, *(end - start for start, end in cuts)]) / RATE
    times = [(cut_starts[position] + cut_starts[position + 1]) / 2 for position in cut_numbers]

    class TimedDecoder(Decoder):
        def align(self, features, start, written, frames, **_):
            if written != [tokens]:
                return super().align(features, start, written, frames)
            alignments = [(position, round(50 * time)) for position, time in enumerate([*times, cut_starts[-1]])]
            return [SimpleNamespace(alignments=alignments, text_token_probs=[1.0] * len(tokens))]

    return cuts, TimedDecoder([tokens, [model._tokenizer.token_to_id("n")]])


def test_a_skipped_cut_is_decoded_again(full_context, recording, monkeypatch):
    recording = recording[: 20 * RATE]
    cuts, decoder = _decoder_with_times(full_context, recording, " a b c", [0, 0, 2, 2, 3, 3])
    monkeypatch.setattr(full_context, "_model", decoder)
    monkeypatch.setattr(full_context._timer, "_is_aligned", True)
    texts = [segment.text for segment in full_context.segments(recording)]
    assert texts == ["a", "n", "b", "c", *["n"] * (len(cuts) - 4)]


def test_digits_in_one_word_are_not_decoded_twice(full_context, recording, monkeypatch):
    recording = recording[: 20 * RATE]
    cuts, decoder = _decoder_with_times(full_context, recording, " 3-8-6", [0, 0, 1, 1, 1, 2])
    monkeypatch.setattr(full_context, "_model", decoder)
    monkeypatch.setattr(full_context._timer, "_is_aligned", True)
    assert [segment.text for segment in full_context.segments(recording)] == ["3-8-6", *["n"] * (len(cuts) - 3)]


def test_a_model_for_short_audio_gets_one_cut_at_a_time(full_context, recording):
    full_context.longest = 6.0
    assert all(len(window) == 1 for window in full_context._windows(recording))
    full_context.longest, full_context.context = 30.0, "trimmed"
    assert all(len(window) == 1 for window in full_context._windows(recording))


def test_the_speech_detector_restarts_every_few_seconds(recording, monkeypatch):
    lengths, detect = [], speech_detection.get_speech_timestamps
    monkeypatch.setattr(
        speech_detection,
        "get_speech_timestamps",
        lambda sound, pauses: lengths.append(len(sound)) or detect(sound, pauses),
    )
    noise = np.random.default_rng(0).normal(0, 0.03, 60 * RATE).astype(np.float32)
    assert list(speech_detection.find_speech(np.concatenate([noise, recording]), 30.0))
    assert max(lengths) <= 2 * speech_detection.SPAN + speech_detection.LEAD


def test_speech_longer_than_a_span_is_cut_late(speech):
    loud = np.concatenate([sentence[np.abs(sentence) > 0.02] for sentence in speech])[: 18 * RATE]
    sound = np.concatenate([np.pad(loud, (0, 2 * RATE)), speech[0]])
    first = next(speech_detection.find_speech(sound, 30.0))
    assert first[1] - first[0] >= min(len(loud), 15 * RATE)


@pytest.mark.parametrize(("no_speech", "score", "text"), [(0.9, -1.5, ""), (0.9, -0.5, "ja"), (0.1, -1.5, "ja")])
def test_a_guess_where_the_model_expects_no_speech_is_dropped(
    transcriber, speech, stub_decoder, no_speech, score, text
):
    decoder = stub_decoder("ja")
    decoder.no_speech, decoder.scores = no_speech, [score]
    assert transcriber.transcribe(speech[0]).text == text
    assert transcriber.transcribe_batch([speech[0]]) == [text]


TRANSCRIPT = Transcript(
    "Hej & <hå>. Ja.",
    (
        Segment(0.5, 2.25, "Hej & <hå>.", (Word(0.5, 0.9, "Hej", 0.5), Word(1, 2.0, "&", 1.0))),
        Segment(3661.007, 3662, "Ja."),
    ),
    3700.0,
    "sv",
)


def test_a_transcript_is_written_as_text_subtitles_and_json():
    assert format_transcript(TRANSCRIPT, "txt") == "Hej & <hå>.\nJa.\n"
    srt = "1\n00:00:00,500 --> 00:00:02,250\nHej & <hå>.\n\n2\n01:01:01,007 --> 01:01:02,000\nJa.\n"
    assert format_transcript(TRANSCRIPT, "srt") == srt
    assert format_transcript(TRANSCRIPT, "vtt").startswith(
        "WEBVTT\n\n00:00:00.500 --> 00:00:02.250\nHej &amp; &lt;hå&gt;.\n\n"
    )
    record = json.loads(format_transcript(TRANSCRIPT, "json"))
    assert set(record) == {"text", "language", "seconds", "segments"}
    assert record["segments"][0]["words"][0] == {"start": 0.5, "end": 0.9, "text": "Hej", "confidence": 0.5}
    empty = Transcript("", (), 1.0, "sv")
    assert [format_transcript(empty, file_format) for file_format in ("txt", "srt", "vtt")] == ["", "", "WEBVTT\n"]


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"DEVICE": "tpu"}, "DEVICE=tpu is neither auto nor cpu nor cuda"),
        ({"DEVICE": "cpu", "COMPUTE_TYPE": "int4"}, "COMPUTE_TYPE=int4 is not supported on cpu: float32, "),
        ({"WORKERS": "0"}, "WORKERS=0 is no number from 1 to 64"),
        ({"DEVICE": "cuda", "CUDA_VISIBLE_DEVICES": ""}, "DEVICE=cuda: no GPU of NVIDIA"),
    ],
)
def test_missing_hardware_is_reported_in_one_line_before_loading(release, environment, expected):
    process = subprocess.run(
        [sys.executable, str(FILE), "a.wav"],
        env=os.environ | {"MODEL_ID": str(release)} | environment,
        capture_output=True,
        text=True,
    )
    (line,) = process.stderr.strip().splitlines()
    assert process.returncode == 1 and line.startswith(expected)


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
    transcript = transcriber.transcribe(speech[0])
    assert transcript.text
    assert transcript.segments[0].words == ()
    assert transcriber.transcribe_batch([speech[0]]) == [transcript.text]


def test_a_long_recording_is_cut_at_its_pauses(transcriber, speech, stub_decoder):
    stub_decoder("ja")
    pause = np.zeros(RATE, np.float32)
    sound = np.concatenate([part for sentence in speech for part in (sentence, pause)])
    transcript = transcriber.transcribe(sound)
    assert len(transcript.segments) == len(speech)
    starts = np.cumsum([0] + [len(sentence) + len(pause) for sentence in speech])[:-1] / RATE
    for segment, start, sentence in zip(transcript.segments, starts, speech, strict=True):
        assert segment.start == pytest.approx(start, abs=0.5)
        assert segment.end == pytest.approx(start + len(sentence) / RATE, abs=0.8)
    assert transcript.text == " ".join(["ja"] * len(speech))


def test_a_long_recording_without_pauses_is_cut(transcriber, speech, stub_decoder):
    stub_decoder("ja")
    loud = [sentence[np.abs(sentence) > 0.02] for sentence in speech]  # without pauses
    sound = np.tile(np.concatenate(loud), 5)[: 70 * RATE]
    assert len(sound) > 40 * RATE
    segments = transcriber.transcribe(sound).segments
    assert len(segments) >= 2
    assert all(segment.end - segment.start <= 30.01 for segment in segments)
    assert all(segment.end <= following.start for segment, following in pairwise(segments))


def test_a_release_with_a_peak_scales_every_recording_to_it(transcriber, speech, monkeypatch):
    monkeypatch.setattr(transcriber._log_mels, "_peak", 0.5)
    loud, quiet = (transcriber._log_mels(speech[0] * level) for level in (np.float32(1), np.float32(0.01)))
    np.testing.assert_allclose(loud, quiet, atol=1e-3)
    assert np.isfinite(transcriber._log_mels(np.zeros(RATE, np.float32))).all()
    monkeypatch.setattr(transcriber._log_mels, "_peak", None)
    assert np.abs(transcriber._log_mels(speech[0]) - transcriber._log_mels(speech[0] * np.float32(0.01))).max() > 0.5


def test_a_batch_gives_each_its_own_text_in_the_given_order(transcriber, speech):
    half_second, second = RATE // 2, RATE
    sounds = [speech[0][:second], speech[1][: 2 * second], np.zeros(second, np.float32), speech[2][:second]]
    sounds.append(speech[3][half_second : half_second + second])
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
def test_a_few_samples_are_no_error(transcriber, samples):
    assert transcriber.transcribe(np.full(samples, 0.5, np.float32)).seconds == round(samples / RATE, 2)


@pytest.mark.parametrize("seconds", [1, 31])
def test_silence_has_no_words(transcriber, seconds):
    transcript = transcriber.transcribe(np.zeros(seconds * RATE, np.float32))
    assert (transcript.text, transcript.segments, transcript.seconds) == ("", (), seconds)


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
    with pytest.raises(ValueError, match=message) as error:
        transcriber.transcribe_file(tmp_path / name)
    assert "\n" not in str(error.value)


def test_an_empty_and_a_silent_recording_are_reported(transcriber, silent_clip, tmp_path):
    soundfile.write(tmp_path / "empty.wav", np.zeros(0, np.float32), RATE)
    with pytest.raises(ValueError, match=r"recording is empty|no readable audio"):
        transcriber.transcribe_file(tmp_path / "empty.wav")
    with pytest.raises(ValueError, match="recording is silent"):
        transcriber.transcribe_file(silent_clip)


@pytest.mark.parametrize("file", ["release.json", "tokenizer.json", "preprocessor_config.json", "ct2-int8/model.bin"])
@pytest.mark.parametrize("content", [None, "{ no json"])
def test_an_incomplete_release_is_refused_by_file_name(release, file, content):
    (release / file).unlink()
    if content:
        (release / file).write_text(content)
    with pytest.raises(ValueError, match=re.escape(str(release))) as error:
        Transcriber(release)
    assert content or file in str(error.value)
    assert "\n" not in str(error.value)


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
    current_modules = dict(sys.modules)
    captured = load_engine(capture_space())
    assert captured.Transcriber is not Transcriber
    assert captured.Transcriber(tiny_release).transcribe(speech[0]).text == transcriber.transcribe(speech[0]).text
    assert all(sys.modules[name] is module for name, module in current_modules.items())


def test_the_engine_imports_neither_gradio_nor_the_flow():
    code = "import sys, transcriber; print({'gradio', 'asr', 'metaflow'} & set(sys.modules))"
    process = subprocess.run([sys.executable, "-c", code], cwd=FILE.parent, capture_output=True, text=True)
    assert process.stdout.strip() == "set()", process.stderr


def test_the_release_in_the_working_folder_takes_precedence(monkeypatch, tmp_path):
    monkeypatch.delenv("MODEL_ID", raising=False)
    (tmp_path / "released" / "sample-7").mkdir(parents=True)
    (tmp_path / "released" / "latest").symlink_to("sample-7")
    monkeypatch.chdir(tmp_path)
    assert find_release() == tmp_path / "released" / "sample-7"


def test_a_hub_model_is_downloaded_at_its_revision(monkeypatch, tmp_path):
    downloads = []
    (tmp_path / "ct2-int8").mkdir()
    download = lambda model, **options: downloads.append((model, options["revision"])) or str(tmp_path)  # noqa: E731
    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    monkeypatch.setenv("MODEL_ID", "someone/whisper-sv")
    monkeypatch.setenv("MODEL_REVISION", "abc123")
    assert find_release() == tmp_path
    assert downloads == [("someone/whisper-sv", "abc123")]


def test_weights_are_downloaded_only_if_the_hub_model_is_not_converted(monkeypatch, tmp_path):
    pattern_lists = []
    download = lambda model, **options: pattern_lists.append(options["allow_patterns"]) or str(tmp_path)  # noqa: E731
    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    monkeypatch.setenv("MODEL_ID", "someone/whisper-sv")
    assert find_release() == tmp_path
    assert [any("safetensors" in pattern for pattern in patterns) for patterns in pattern_lists] == [False, True]


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


def test_the_command_prints_one_text_per_file_and_fails_on_a_missing_one(
    tiny_release, clip, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("MODEL_ID", str(tiny_release))
    assert engine.main([str(clip)]) == 0
    text = capsys.readouterr().out
    assert engine.main([str(tmp_path / "missing.wav"), str(clip)]) == 1
    output = capsys.readouterr()
    assert output.out == f"{clip}: {' '.join(text.split())}\n"
    assert output.err == f"{tmp_path / 'missing.wav'}: there is no such file\n"


def test_the_command_reports_a_fault_and_a_recording_without_words(tiny_release, speech, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MODEL_ID", str(tiny_release))
    cut, click = tmp_path / "cut.flac", tmp_path / "click.wav"
    soundfile.write(cut, speech[0], RATE)
    cut.write_bytes(cut.read_bytes()[:-8_000])
    soundfile.write(click, np.array([0, 0.5, 0]), RATE)
    assert engine.main([str(cut)]) == 0
    output = capsys.readouterr()
    assert output.out
    assert output.err == f"{cut}: a part of this recording is damaged or missing\n"
    for options in ([], ["--format", "srt"]):
        assert engine.main([str(click), *options]) == 1
        assert capsys.readouterr() == ("", f"{click}: no words were found in this recording\n")


def test_the_command_writes_subtitles(tiny_release, clip, monkeypatch, capsys):
    monkeypatch.setenv("MODEL_ID", str(tiny_release))
    assert engine.main([str(clip), "--format", "srt", "--beam", "2"]) == 0
    assert capsys.readouterr().out.startswith("1\n00:00:00,000 --> ")
    with pytest.raises(SystemExit, match="2"):
        engine.main([str(clip), "--beam", "0"])


def without_ctranslate2(damage):
    """Also remove CTranslate2's folder, so that the release is a plain Whisper."""

    def remove_and_damage(folder):
        shutil.rmtree(folder / "ct2-int8")
        damage(folder)

    return remove_and_damage


def changed_tokenizer(folder):
    """Give the special tokens other ids."""
    content = json.loads((folder / "tokenizer.json").read_text())
    content["model"] = {"type": "BPE", "vocab": {}, "merges": []}
    (folder / "tokenizer.json").write_text(json.dumps(content))


def one_shard(name):
    def damage(folder):
        (folder / "model.safetensors").rename(folder / "model-00001-of-00001.safetensors")
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": name}}))

    return damage


RECORDS = ("release.json", "preprocessor_config.json", "generation_config.json", "tokenizer.json")
DAMAGES = {
    **{
        f"{name} deeply nested": lambda folder, name=name: (folder / name).write_text("[" * 200_000) for name in RECORDS
    },
    **{f"{name} of gigabytes": as_large_file(name) for name in (*RECORDS, "ct2-int8/vocabulary.json")},
    **{f"{name} is a pipe": as_pipe(name) for name in (*RECORDS, "ct2-int8/config.json", "ct2-int8/model.bin")},
    "language is a list": edited("release.json", language=["sv"]),
    "language with control codes": edited("release.json", language="\x1b[31m\n"),
    "language is a path": edited("release.json", language="../../etc"),
    "seconds are text": edited("release.json", longest_seconds="many"),
    "seconds are a list": edited("release.json", longest_seconds=[1]),
    "seconds are negative": edited("release.json", longest_seconds=-5),
    "peak is text": edited("release.json", peak="loud"),
    "peak is NaN": edited("release.json", peak=float("nan")),
    "format is a list": edited("release.json", format=[1]),
    "a billion bands": edited("preprocessor_config.json", feature_size=10**9),
    "no bands": edited("preprocessor_config.json", feature_size=0),
    "a million layers": without_ctranslate2(edited("config.json", encoder_layers=10**6)),
    "another architecture": without_ctranslate2(edited("config.json", model_type="bert")),
    "custom code": without_ctranslate2(edited("config.json", auto_map={"AutoConfig": "code.C"})),
    "a billion labels": without_ctranslate2(edited("config.json", num_labels=10**9)),
    "a long language": edited("release.json", language="s" * 100_000),
    "more bands than the model": edited("preprocessor_config.json", feature_size=81),
    "a vocabulary of two": lambda folder: (folder / "ct2-int8" / "vocabulary.json").write_text('["a", "b"]'),
    "a vocabulary of numbers": lambda folder: (folder / "ct2-int8" / "vocabulary.json").write_text("[1]"),
    "another tokenizer": changed_tokenizer,
    "settings are a list": lambda folder: (folder / "ct2-int8" / "config.json").write_text("[]"),
    "token out of range": edited("ct2-int8/config.json", suppress_ids=[10**9]),
    "negative token": edited("ct2-int8/config.json", suppress_ids_begin=[-5]),
    "head out of range": edited("ct2-int8/config.json", alignment_heads=[[99, 99]]),
    "negative head": edited("ct2-int8/config.json", alignment_heads=[[-1, -1]]),
    "heads are text": edited("ct2-int8/config.json", alignment_heads="many"),
    "random weights file": lambda folder: (folder / "ct2-int8" / "model.bin").write_bytes(b"A" * 100_000),
    "shard outside the folder": without_ctranslate2(one_shard("../../etc/passwd")),
    "endless shard": without_ctranslate2(one_shard("/dev/zero")),
    "adapter of an unknown base": without_ctranslate2(
        lambda folder: (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "a/b"}')
    ),
    "language that the model lacks": without_ctranslate2(edited("generation_config.json", lang_to_id={"<|fi|>": 1})),
    "pickled weights only": without_ctranslate2(
        lambda folder: (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    ),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_hostile_release_is_refused_in_one_printable_line(release, damage):
    damage(release)
    with pytest.raises(ValueError, match=re.escape(str(release))) as error:
        Transcriber(release, threads=1)
    assert str(error.value).isprintable()
