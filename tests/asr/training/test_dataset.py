"""The log-mels and tokens of a draw: audio and text match after any augmentation."""

import numpy as np
import pytest
from asr.settings import Training
from asr.training.batches import PROMPT_OFFSET, Draw, Unit
from asr.training.dataset import FeatureDataset, TrainingDataset

PLAIN = {"frequency_masks": 0}


@pytest.fixture
def clips(speech, whisper):
    return FeatureDataset(speech.split("train"), whisper[1])


@pytest.fixture
def example(clips):
    """A function from a draw's clips to its example, augmented by the given settings."""

    def make(*chosen, number=0, gaps=(), seconds=1.0, quiet=(0.0, 0.0), **training):
        unit = Unit(chosen, gaps, seconds, quiet)
        return TrainingDataset(clips, Training(**{**PLAIN, **training}))[Draw(0, False, number, unit)]

    return make


def token_strings(clips, example):
    return clips.processor.tokenizer.convert_ids_to_tokens(example.tokens)


def timestamps(clips, example):
    """Its timestamps in seconds."""
    return [float(token[2:-2]) for token in token_strings(clips, example) if token[2:3].isdigit()]


def test_log_mels_are_as_long_as_the_clip(clips):
    assert clips.features(0).shape == (80, pytest.approx(100 * clips.seconds[0], abs=1))
    assert clips.sound(0).dtype == np.float32


def test_a_clip_is_the_same_whether_cached_or_computed_again(clips, speech, whisper):
    uncached = FeatureDataset(speech.split("train"), whisper[1], room=0)
    for _ in range(2):
        assert np.array_equal(clips.features(1), uncached.features(1))
    assert uncached._cache == {}
    assert list(clips._cache) == [1]


def test_tokens_are_whispers_prompt_the_text_and_the_end(clips, example):
    tokens = token_strings(clips, example(0))
    assert tokens[:4] == ["<|startoftranscript|>", "<|sv|>", "<|transcribe|>", "<|notimestamps|>"]
    assert tokens[-1] == "<|endoftext|>"
    assert clips.processor.tokenizer.decode(example(0).tokens, skip_special_tokens=True) == " " + clips.texts[0]
    assert example(0).tokens == clips.tokens(0)


def test_a_share_of_the_draws_has_a_text_prompt_and_nothing_else_changes(clips, example):
    examples = [example(0, number=number, prompt_share=0.3) for number in range(200)]
    prompted = [drawn_example for drawn_example in examples if drawn_example.previous]
    assert 40 <= len(prompted) <= 80
    assert all(drawn_example.tokens == clips.tokens(0) for drawn_example in examples)
    start = clips.processor.tokenizer.convert_tokens_to_ids("<|startofprev|>")
    for drawn_example in prompted:
        prompt = [PROMPT_OFFSET - label for label in drawn_example.labels if label < 0]
        assert prompt == [start, *drawn_example.previous[1:], drawn_example.tokens[0]]
        assert drawn_example.labels[len(prompt) :] == drawn_example.tokens[1:]
        assert len(drawn_example.labels) <= 448 and len(drawn_example.previous) <= 224
    assert next(drawn_example for drawn_example in examples if not drawn_example.previous).labels == clips.tokens(0)


def test_a_text_that_leaves_no_room_has_no_text_prompt(clips, example, monkeypatch):
    monkeypatch.setattr("asr.training.dataset.POSITIONS", len(clips.tokens(0)) + 2)
    assert not any(example(0, number=number, prompt_share=1.0).previous for number in range(20))


EVERYTHING = {
    "frequency_masks": 1, "time_masks": 1, "quiet": (0.3, 0.2), "speed": 0.1, "noise_share": 0.5, "bpe_dropout": 0.2,
    "timestamps_share": 0.5, "room_share": 0.5, "telephone_share": 0.5, "codec_share": 0.5, "prompt_share": 0.5,
}  # fmt: skip


def test_augmentation_depends_on_the_draw_and_not_on_the_order_of_access(example):
    options = [{"number": number, **EVERYTHING} for number in range(6)]
    forwards = [example(option["number"] % 3, **option) for option in options]
    backwards = [example(option["number"] % 3, **option) for option in reversed(options)][::-1]
    for first, second in zip(forwards, backwards, strict=True):
        assert np.array_equal(first.features, second.features)
        assert first.labels == second.labels


def test_a_clip_is_augmented_differently_each_time_it_is_drawn(example):
    variants = {example(0, number=number, frequency_masks=1, time_masks=1).features.tobytes() for number in range(8)}
    assert len(variants) > 6


def test_without_augmentation_a_clip_is_unchanged(example, clips):
    assert all(np.array_equal(example(1, number=number).features, clips.features(1)) for number in range(20))


def test_silence_has_no_text(example, clips):
    silence = example(seconds=3.0, timestamps_share=1.0)
    assert silence.features.shape == (80, 300)
    assert token_strings(clips, silence)[3:] == ["<|notimestamps|>", "<|endoftext|>"]


def test_timestamps_are_the_clips_start_and_end(example, clips):
    start, end = timestamps(clips, example(0, timestamps_share=1.0))
    assert start == 0
    assert end == pytest.approx(clips.seconds[0], abs=0.011)
    text = clips.processor.tokenizer.decode(example(0, timestamps_share=1.0).tokens, skip_special_tokens=True)
    assert text.strip() == clips.texts[0]


def test_timestamps_follow_the_quiet_that_is_added_before(example, clips):
    for before in (0.0, 0.1, 0.44):
        drawn = example(0, timestamps_share=1.0, quiet=(before, 0.2))
        start, end = timestamps(clips, drawn)
        assert start == pytest.approx(before, abs=0.011)
        assert end - start == pytest.approx(clips.seconds[0], abs=0.03)
        assert drawn.features.shape[1] / 100 == pytest.approx(before + clips.seconds[0] + 0.2, abs=0.02)


def test_timestamps_follow_the_speed(example, clips):
    for number in range(10):
        drawn = example(0, number=number, timestamps_share=1.0, speed=0.2)
        _, end = timestamps(clips, drawn)
        assert end == pytest.approx(drawn.features.shape[1] / 100, abs=0.03)


def test_the_requested_share_of_draws_has_timestamps(example, clips):
    timed = [bool(timestamps(clips, example(0, number=number, timestamps_share=0.3))) for number in range(200)]
    assert sum(timed) / 200 == pytest.approx(0.3, abs=0.1)


def test_a_pack_joins_its_clips_with_the_gaps_between_them(example, clips):
    pack = example(0, 2, 5, gaps=(0.5, 1.0), timestamps_share=1.0)
    ends = np.cumsum([clips.seconds[0], 0.5, clips.seconds[2], 1.0, clips.seconds[5]])
    assert timestamps(clips, pack) == pytest.approx([0, *ends], abs=0.011)
    assert pack.features.shape[1] == pytest.approx(100 * ends[-1], abs=2)
    text = clips.processor.tokenizer.decode(pack.tokens, skip_special_tokens=True)
    assert " ".join(text.split()) == " ".join(clips.texts[clip] for clip in (0, 2, 5))


def test_a_pack_without_timestamps_has_the_same_text(example, clips):
    text = clips.processor.tokenizer.decode(example(0, 2, gaps=(0.5,)).tokens, skip_special_tokens=True)
    assert text.strip() == f"{clips.texts[0]} {clips.texts[2]}"


def test_a_clip_of_a_long_recording_has_the_timestamps_of_its_segments(clips, example):
    clips._segments[0] = [{"start": 0.2, "end": 0.9, "text": "Hej."}, {"start": 1.1, "end": 1.5, "text": "Hej då."}]
    assert timestamps(clips, example(0, timestamps_share=1.0)) == [0.2, 0.9, 1.1, 1.5]


def test_a_text_that_bpe_dropout_makes_too_long_has_its_usual_tokens(clips, example):
    clips.texts[0] = "klockan är halv åtta och " * 20
    assert len(clips.texts[0].encode()) > 448 > len(clips.tokens(0))
    assert example(0, bpe_dropout=1.0).tokens == clips.tokens(0)


@pytest.fixture
def english(speech, whisper):
    """The training clips, the second of which is English."""
    sources = [["sample", "english"][number == 1] for number in range(len(speech.split("train")))]
    train = speech.split("train").remove_columns("source").add_column("source", sources)
    return FeatureDataset(train, whisper[1], retained={"english": "en"})


def test_a_draw_is_prompted_with_its_clips_own_language(english):
    examples = TrainingDataset(english, Training(**PLAIN, timestamps_share=0.5))
    prompts = [[], []]
    for number in range(20):
        for clip in (0, 1):
            tokens = examples[Draw(0, False, number, Unit((clip,), (), 1.0))].tokens
            prompts[clip].append(english.processor.tokenizer.convert_ids_to_tokens(tokens)[:3])
    for clip, language in enumerate(("sv", "en")):
        assert prompts[clip] == [["<|startoftranscript|>", f"<|{language}|>", "<|transcribe|>"]] * 20
    assert english.processor.tokenizer.convert_ids_to_tokens(english.tokens(1))[1] == "<|en|>"
    assert examples[Draw(0, False, 3, Unit((), (), 1.0))].tokens[1] == english.tokens(0)[1]  # silence
