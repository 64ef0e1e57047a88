"""A draw's log-mels and tokens: what is heard and what is said belong together, whatever was done to them."""

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
    """A function from a draw's clips to its example, augmented as asked."""

    def of(*drawn, number=0, gaps=(), seconds=1.0, quiet=(0.0, 0.0), **training):
        unit = Unit(drawn, gaps, seconds, quiet)
        return TrainingDataset(clips, Training(**{**PLAIN, **training}))[Draw(0, False, number, unit)]

    return of


def spelt(clips, example):
    return clips.processor.tokenizer.convert_ids_to_tokens(example.tokens)


def times(clips, example):
    """Its timestamps in seconds."""
    return [float(token[2:-2]) for token in spelt(clips, example) if token[2:3].isdigit()]


def test_log_mels_are_as_long_as_the_clip(clips):
    assert clips.features(0).shape == (80, pytest.approx(100 * clips.seconds[0], abs=1))
    assert clips.sound(0).dtype == np.float32


def test_a_clip_is_the_same_whether_kept_or_computed_again(clips, speech, whisper):
    forgetful = FeatureDataset(speech.split("train"), whisper[1], room=0)
    for _ in range(2):
        assert np.array_equal(clips.features(1), forgetful.features(1))
    assert forgetful._cache == {}
    assert list(clips._cache) == [1]


def test_tokens_are_whispers_prompt_the_text_and_the_end(clips, example):
    words = spelt(clips, example(0))
    assert words[:4] == ["<|startoftranscript|>", "<|sv|>", "<|transcribe|>", "<|notimestamps|>"]
    assert words[-1] == "<|endoftext|>"
    assert clips.processor.tokenizer.decode(example(0).tokens, skip_special_tokens=True) == " " + clips.texts[0]
    assert example(0).tokens == clips.tokens(0)


def test_a_share_of_the_draws_stands_after_other_text_and_nothing_else_changes(clips, example):
    drawn = [example(0, number=number, prompt_share=0.3) for number in range(200)]
    prompted = [one for one in drawn if one.previous]
    assert 40 <= len(prompted) <= 80
    assert all(one.tokens == clips.tokens(0) for one in drawn)
    start = clips.processor.tokenizer.convert_tokens_to_ids("<|startofprev|>")
    for one in prompted:
        read = [PROMPT_OFFSET - label for label in one.labels if label < 0]
        assert read == [start, *one.previous[1:], one.tokens[0]]
        assert one.labels[len(read) :] == one.tokens[1:]
        assert len(one.labels) <= 448 and len(one.previous) <= 224
    assert next(one for one in drawn if not one.previous).labels == clips.tokens(0)


def test_a_text_that_leaves_no_room_stands_alone(clips, example, monkeypatch):
    monkeypatch.setattr("asr.training.dataset.POSITIONS", len(clips.tokens(0)) + 2)
    assert not any(example(0, number=number, prompt_share=1.0).previous for number in range(20))


EVERYTHING = {
    "frequency_masks": 1, "time_masks": 1, "quiet": (0.3, 0.2), "speed": 0.1, "noise_share": 0.5, "bpe_dropout": 0.2,
    "timestamps_share": 0.5, "room_share": 0.5, "telephone_share": 0.5, "codec_share": 0.5, "prompt_share": 0.5,
}  # fmt: skip


def test_augmentation_depends_on_the_draw_and_not_on_the_order_of_asking(example):
    asked = [{"number": number, **EVERYTHING} for number in range(6)]
    forwards = [example(one["number"] % 3, **one) for one in asked]
    backwards = [example(one["number"] % 3, **one) for one in reversed(asked)][::-1]
    for one, other in zip(forwards, backwards, strict=True):
        assert np.array_equal(one.features, other.features)
        assert one.labels == other.labels


def test_a_clip_is_augmented_anew_each_time_it_is_drawn(example):
    seen = {example(0, number=number, frequency_masks=1, time_masks=1).features.tobytes() for number in range(8)}
    assert len(seen) > 6


def test_without_augmentation_a_clip_is_as_it_was(example, clips):
    assert all(np.array_equal(example(1, number=number).features, clips.features(1)) for number in range(20))


def test_silence_is_heard_as_nothing(example, clips):
    quiet = example(seconds=3.0, timestamps_share=1.0)
    assert quiet.features.shape == (80, 300)
    assert spelt(clips, quiet)[3:] == ["<|notimestamps|>", "<|endoftext|>"]


def test_timestamps_stand_at_the_clips_start_and_end(example, clips):
    start, end = times(clips, example(0, timestamps_share=1.0))
    assert start == 0
    assert end == pytest.approx(clips.seconds[0], abs=0.011)
    said = clips.processor.tokenizer.decode(example(0, timestamps_share=1.0).tokens, skip_special_tokens=True)
    assert said.strip() == clips.texts[0]


def test_timestamps_follow_the_quiet_that_is_added_before(example, clips):
    for before in (0.0, 0.1, 0.44):
        one = example(0, timestamps_share=1.0, quiet=(before, 0.2))
        start, end = times(clips, one)
        assert start == pytest.approx(before, abs=0.011)
        assert end - start == pytest.approx(clips.seconds[0], abs=0.03)
        assert one.features.shape[1] / 100 == pytest.approx(before + clips.seconds[0] + 0.2, abs=0.02)


def test_timestamps_follow_the_speed(example, clips):
    for number in range(10):
        one = example(0, number=number, timestamps_share=1.0, speed=0.2)
        _, end = times(clips, one)
        assert end == pytest.approx(one.features.shape[1] / 100, abs=0.03)


def test_about_so_many_draws_keep_their_times_as_asked(example, clips):
    timed = [bool(times(clips, example(0, number=number, timestamps_share=0.3))) for number in range(200)]
    assert sum(timed) / 200 == pytest.approx(0.3, abs=0.1)


def test_a_pack_is_its_clips_one_after_another_with_the_times_between(example, clips):
    pack = example(0, 2, 5, gaps=(0.5, 1.0), timestamps_share=1.0)
    ends = np.cumsum([clips.seconds[0], 0.5, clips.seconds[2], 1.0, clips.seconds[5]])
    assert times(clips, pack) == pytest.approx([0, *ends], abs=0.011)
    assert pack.features.shape[1] == pytest.approx(100 * ends[-1], abs=2)
    said = clips.processor.tokenizer.decode(pack.tokens, skip_special_tokens=True)
    assert " ".join(said.split()) == " ".join(clips.texts[clip] for clip in (0, 2, 5))


def test_a_pack_without_times_is_the_same_text(example, clips):
    said = clips.processor.tokenizer.decode(example(0, 2, gaps=(0.5,)).tokens, skip_special_tokens=True)
    assert said.strip() == f"{clips.texts[0]} {clips.texts[2]}"


def test_a_cut_of_a_long_recording_has_the_times_of_its_segments(clips, example):
    clips._segments[0] = [{"start": 0.2, "end": 0.9, "text": "Hej."}, {"start": 1.1, "end": 1.5, "text": "Hej då."}]
    assert times(clips, example(0, timestamps_share=1.0)) == [0.2, 0.9, 1.1, 1.5]


def test_a_text_that_no_longer_fits_in_other_tokens_is_spelt_as_usual(clips, example):
    clips.texts[0] = "klockan är halv åtta och " * 20
    assert len(clips.texts[0].encode()) > 448 > len(clips.tokens(0))
    assert example(0, bpe_dropout=1.0).tokens == clips.tokens(0)


@pytest.fixture
def english(speech, whisper):
    """The training clips, the second of which is English."""
    told = [["sample", "english"][at == 1] for at in range(len(speech.split("train")))]
    train = speech.split("train").remove_columns("source").add_column("source", told)
    return FeatureDataset(train, whisper[1], retained={"english": "en"})


def test_a_draw_is_prompted_with_its_clips_own_language(english):
    examples = TrainingDataset(english, Training(**PLAIN, timestamps_share=0.5))
    spoken = [[], []]
    for number in range(20):
        for clip in (0, 1):
            tokens = examples[Draw(0, False, number, Unit((clip,), (), 1.0))].tokens
            spoken[clip].append(english.processor.tokenizer.convert_ids_to_tokens(tokens)[:3])
    for clip, language in enumerate(("sv", "en")):
        assert spoken[clip] == [["<|startoftranscript|>", f"<|{language}|>", "<|transcribe|>"]] * 20
    assert english.processor.tokenizer.convert_ids_to_tokens(english.tokens(1))[1] == "<|en|>"
    assert examples[Draw(0, False, 3, Unit((), (), 1.0))].tokens[1] == english.tokens(0)[1]  # silence
