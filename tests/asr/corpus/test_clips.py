"""One clip: what is understood, and why one is set aside."""

import io

import av
import numpy as np
import pytest
import soundfile
from asr.corpus import clips
from asr.corpus.clips import Clip, Rejected
from asr.corpus.sources import Row
from asr.settings import Corpus

RATE = 16_000


def judge(path, text="hej på dig", **limits):
    return clips.judge(Row(path.name, path, text, "Åsa", "train"), Corpus(**limits))


def loudest(sound):
    """The frequency in Hz that stands out."""
    return np.fft.rfftfreq(len(sound), 1 / RATE)[np.abs(np.fft.rfft(sound)).argmax()]


def write_av(path, sound, rate, codec):
    with av.open(str(path), "w") as file:
        stream = file.add_stream(codec, rate=rate, layout="mono")
        frame = av.AudioFrame.from_ndarray(sound[None], format="flt", layout="mono")
        frame.sample_rate = rate
        codec_context = stream.codec_context
        codec_context.open()
        resampler = av.AudioResampler(codec_context.format, "mono", rate, frame_size=codec_context.frame_size)
        for piece in (*resampler.resample(frame), *resampler.resample(None)):
            file.mux(stream.encode(piece))
        file.mux(stream.encode(None))


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
@pytest.mark.parametrize("hertz", [440, 3_000, 7_000])
def test_a_tone_of_any_rate_and_channels_stays_at_its_frequency(tmp_path, tone, suffix, hertz):
    path = tmp_path / f"tone.{suffix}"
    soundfile.write(path, tone(2, hertz, 44_100, channels=2), 44_100)
    sound = clips.decode(path)
    assert (sound.dtype, sound.ndim) == (np.float32, 1)
    assert len(sound) / RATE == pytest.approx(2, abs=0.05)
    assert loudest(sound) == pytest.approx(hertz, abs=2)
    assert np.abs(sound[RATE // 2 : -RATE // 2]).max() == pytest.approx(0.3, rel=0.2)  # some are lossy


def test_what_is_too_high_to_keep_does_not_come_back_as_another_tone(tmp_path, tone):
    soundfile.write(tmp_path / "high.wav", tone(2, 11_000, 44_100), 44_100)
    assert np.abs(clips.decode(tmp_path / "high.wav")[RATE // 2 : -RATE // 2]).max() < 0.001


@pytest.mark.parametrize(("name", "rate", "codec"), [("a.m4a", 44_100, "aac"), ("a.webm", 48_000, "libopus")])
def test_what_phones_and_browsers_record_is_read_too(tmp_path, tone, name, rate, codec):
    write_av(tmp_path / name, tone(2, 440, rate), rate, codec)
    sound = clips.decode(tmp_path / name)
    assert (sound.dtype, sound.ndim) == (np.float32, 1)
    assert len(sound) / RATE == pytest.approx(2, abs=0.1)
    assert loudest(sound) == pytest.approx(440, abs=2)


def test_a_fit_clip_is_kept_as_16_bit_flac_with_its_text(tmp_path, tone):
    soundfile.write(tmp_path / "a.wav", tone(1.5), RATE)
    kept = judge(tmp_path / "a.wav", "  Hej\tpå  dig,\nÅsa! ")
    assert isinstance(kept, Clip)
    assert (kept.text, kept.speaker, kept.split, kept.seconds) == ("Hej på dig, Åsa!", "Åsa", "train", 1.5)
    file = soundfile.SoundFile(io.BytesIO(kept.flac))
    assert (file.format, file.subtype, file.samplerate, file.channels) == ("FLAC", "PCM_16", RATE, 1)
    assert np.abs(file.read() - tone(1.5)).max() < 1 / 2**14


def test_sound_beyond_full_scale_is_clipped_not_wrapped(tmp_path, tone):
    soundfile.write(tmp_path / "a.wav", tone(1, loud=1.5), RATE, subtype="FLOAT")
    sound = soundfile.read(io.BytesIO(judge(tmp_path / "a.wav").flac))[0]
    assert np.corrcoef(sound, tone(1))[0, 1] > 0.95


def sounds(tone):
    """Sounds that are unfit, by the reason."""
    broken = tone(1)
    broken[100] = np.nan
    return {
        "silent": np.zeros(RATE, np.float32),
        "too short": tone(0.2),
        "too long": tone(5.1),
        "samples that are no numbers": broken,
    }


@pytest.mark.parametrize("reason", ["silent", "too short", "too long", "samples that are no numbers"])
def test_an_unfit_sound_is_set_aside_with_its_reason(tmp_path, tone, reason):
    soundfile.write(tmp_path / "a.wav", sounds(tone)[reason], RATE, subtype="FLOAT")
    assert judge(tmp_path / "a.wav", max_seconds=5) == Rejected("a.wav", reason)


def test_an_infinite_sample_is_no_number_either(tmp_path, tone):
    sound = tone(1)
    sound[7] = np.inf
    soundfile.write(tmp_path / "a.wav", sound, RATE, subtype="FLOAT")
    assert judge(tmp_path / "a.wav") == Rejected("a.wav", "samples that are no numbers")


def test_the_longest_clip_whisper_hears_at_once_is_kept(tmp_path, tone):
    soundfile.write(tmp_path / "a.wav", tone(30), RATE)
    assert judge(tmp_path / "a.wav").seconds == 30


@pytest.mark.parametrize(
    "content", [b"", b"RIFF", b"This is no sound. " * 99, b"RIFF\xff\xff\xff\xffWAVEfmt ", b"\x00\x00\x00\x18ftypmp42"]
)
@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.m4a"])
def test_a_file_that_holds_no_audio_is_set_aside(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    assert judge(tmp_path / name) == Rejected(name, "unreadable audio")


def test_a_truncated_flac_is_judged_not_raised(tmp_path, tone):
    (tmp_path / "a.flac").write_bytes(clips.encode(tone(2))[:600])
    assert isinstance(judge(tmp_path / "a.flac"), Clip | Rejected)


def test_a_film_without_sound_is_set_aside(tmp_path):
    with av.open(str(tmp_path / "a.mp4"), "w") as file:
        stream = file.add_stream("mpeg4", rate=25)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        file.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), "rgb24")))
        file.mux(stream.encode(None))
    assert judge(tmp_path / "a.mp4") == Rejected("a.mp4", "unreadable audio")


def test_a_file_that_is_not_there_is_set_aside(tmp_path):
    assert judge(tmp_path / "a.wav") == Rejected("a.wav", "missing file")


def test_a_folder_in_place_of_a_file_is_set_aside(tmp_path):
    assert judge(tmp_path) == Rejected(tmp_path.name, "missing file")


@pytest.mark.parametrize("text", ["", "  \n", "...", "?!", " - ", "…", "–", "”“", "¿", "♪"])
def test_a_text_without_a_letter_or_figure_is_set_aside(tmp_path, tone, text):
    soundfile.write(tmp_path / "a.wav", tone(), RATE)
    assert judge(tmp_path / "a.wav", text) == Rejected("a.wav", "empty text")


@pytest.mark.parametrize("text", ["å", "7", "ö!", "Ω", "日"])
def test_one_letter_or_figure_of_any_alphabet_is_a_text(tmp_path, tone, text):
    soundfile.write(tmp_path / "a.wav", tone(), RATE)
    assert isinstance(judge(tmp_path / "a.wav", text), Clip)
