"""Folders of noise and rooms: which are for training, which are held out, and which are refused."""

import numpy as np
import pytest
import soundfile
from asr.corpus import recordings
from asr.settings import Training

RATE = 16_000


@pytest.fixture
def folder(tmp_path, tone):
    """A function that writes recordings with these names, half a second each, with different pitches."""

    def make(*names, rate=RATE, seconds=0.5):
        for at, name in enumerate(names):
            (tmp_path / "noise" / name).parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(tmp_path / "noise" / name, tone(seconds, hertz=300 + 100 * at, rate=rate), rate)
        return str(tmp_path / "noise")

    return make


def pitch(sound):
    return np.argmax(np.abs(np.fft.rfft(sound))) * RATE / len(sound)


@pytest.mark.parametrize(("count", "held_out_count"), [(2, 1), (5, 1), (6, 2), (11, 3)])
def test_every_fifth_recording_is_held_out_and_at_least_one(folder, count, held_out_count):
    root = folder(*(f"{at:02d}.wav" for at in range(count)))
    train, held_out = recordings.list_recordings(root, "noise")
    assert len(held_out.paths) == held_out_count
    assert not set(train.paths) & set(held_out.paths)
    assert sorted(train.paths + held_out.paths) == [f"{root}/{at:02d}.wav" for at in range(count)]


def test_recordings_are_found_at_any_depth_among_other_files(folder):
    root = folder("rain.wav", "music/a/long.flac", "._rain.wav")
    with open(f"{root}/LICENSE.txt", "w") as file:
        file.write("free")
    train, held_out = recordings.list_recordings(root, "noise")
    assert {*train.paths, *held_out.paths} == {f"{root}/rain.wav", f"{root}/music/a/long.flac"}


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
@pytest.mark.parametrize("seconds", [0.2, 0.5, 1.7])
def test_an_excerpt_has_the_requested_length_and_repeats_a_shorter_recording(folder, suffix, seconds):
    train, _ = recordings.list_recordings(folder(f"a.{suffix}", f"b.{suffix}", rate=44_100), "noise")
    sound = train.random_excerpt(round(seconds * RATE), np.random.default_rng(0))
    assert sound.shape == (round(seconds * RATE),)
    assert sound.dtype == np.float32
    assert pitch(sound) == pytest.approx(400, abs=10)
    assert np.mean(sound[-1_600:] ** 2) == pytest.approx(0.045, rel=0.2)


def test_the_random_generator_decides_the_excerpt(folder):
    root = folder(*(f"{at}.wav" for at in range(6)), seconds=3.0)
    excerpts = [
        recordings.list_recordings(root, "noise")[0].random_excerpt(5_000, np.random.default_rng(seed))
        for seed in (0, 0, *range(20))
    ]
    assert np.array_equal(excerpts[0], excerpts[1])
    assert len({excerpt.tobytes() for excerpt in excerpts}) > 12  # a tone is the same in many places
    assert {round(pitch(excerpt), -2) for excerpt in excerpts} == {400, 500, 600, 700}


def test_the_cache_has_a_limit_and_changes_nothing(folder, monkeypatch):
    train, _ = recordings.list_recordings(folder(*(f"{at}.ogg" for at in range(6))), "rooms")
    before = [train.random_recording(random) for random in map(np.random.default_rng, range(9))]
    monkeypatch.setattr(recordings, "CACHE_BYTES", 40_000)
    limited, _ = recordings.list_recordings(folder(*(f"{at}.ogg" for at in range(6))), "rooms")
    after = [limited.random_recording(random) for random in map(np.random.default_rng, range(9))]
    assert all(np.array_equal(first, second) for first, second in zip(before, after, strict=True))
    assert sum(sound.nbytes for sound in limited._cache.values()) <= 40_000


def test_a_sample_that_is_no_number_is_silence(tmp_path):
    for name in ("a.wav", "b.wav"):
        soundfile.write(tmp_path / name, np.array([0.1, np.nan, np.inf] * 100), RATE, subtype="FLOAT")
    assert np.isfinite(
        recordings.list_recordings(str(tmp_path), "noise")[0].random_excerpt(500, np.random.default_rng(0))
    ).all()


def test_a_folder_that_cannot_be_divided_is_refused(folder, tmp_path, refusal):
    for count, root in {"one recording": folder("a.wav"), "no recordings": str(tmp_path / "noise")}.items():
        if count == "no recordings":
            (tmp_path / "noise" / "a.wav").unlink()
        line = refusal(recordings.check_recordings, Training(noise=root, noise_share=0.5))
        assert line == (
            f"[training] noise: {root} holds {count}; it needs two or more, because one of 5 is held out for the test"
        )
    line = refusal(recordings.check_recordings, Training(rooms=str(tmp_path / "nowhere"), room_share=0.5))
    assert line == f"[training] rooms: there is no folder {tmp_path / 'nowhere'}"


def test_a_recording_without_sound_is_named_before_any_work(folder, refusal):
    root = folder("a.wav", "b.wav")
    with open(f"{root}/c.mp3", "w") as file:
        file.write("this is no audio")
    line = refusal(recordings.check_recordings, Training(noise=root, noise_share=0.5))
    assert line == f"[training] noise: {root}/c.mp3 cannot be read: no readable audio in this file"


def test_recordings_of_a_bucket_are_downloaded(folder, monkeypatch):
    """With a fake download; the real client is tested on a corpus."""
    root = folder("deep/a.wav", "b.wav")
    monkeypatch.setattr("asr.corpus.files._list_bucket", lambda url, key: {"deep/a.wav": "1", "b.wav": "2"})
    downloaded = []

    def download(url):
        downloaded.append(url)
        with open(url.replace("gs://noise", root), "rb") as file:
            return file.read()

    monkeypatch.setattr(recordings, "download_file", download)
    recordings.check_recordings(Training(noise="gs://noise/", noise_share=0.5))
    train, held_out = recordings.list_recordings("gs://noise/", "noise")
    sounds = [train.random_excerpt(8_000, np.random.default_rng(seed)) for seed in range(3)]
    assert (held_out.paths, downloaded) == (("gs://noise/b.wav",), ["gs://noise/deep/a.wav"])
    assert pitch(sounds[0]) == pytest.approx(300, abs=10)
