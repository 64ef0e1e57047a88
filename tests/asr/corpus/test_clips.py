"""Clip validation: decoding, and why a clip is rejected."""

import io
import json
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from asr.corpus import audio, clips
from asr.corpus.clips import Clip, Rejected
from asr.corpus.rows import Row
from asr.corpus.transcripts import Segment
from asr.settings import Settings

RATE = 16_000
FLOWS = Path(clips.__file__).parents[2]


def validate(file, words="hej på dig", text=None, **corpus):
    """Validate one clip, a file or its bytes, with these keys of [corpus] and [text]."""
    settings = Settings.model_validate({"corpus": corpus, "text": text or {}})
    [result] = clips.validate_clips([Row("a", "train", words, "Åsa", file)], settings)
    return result


def reason(*arguments, **settings):
    return getattr(validate(*arguments, **settings), "reason", None)


def wav(sound, rate=RATE, subtype="FLOAT", form="WAV"):
    file = io.BytesIO()
    soundfile.write(file, sound, rate, format=form, subtype=subtype)
    return file.getvalue()


def loudest(sound, rate=RATE):
    """The loudest frequency in Hz."""
    return np.fft.rfftfreq(len(sound), 1 / rate)[np.abs(np.fft.rfft(sound)).argmax()]


def peak(sound):
    """The peak, without the start and the end."""
    return np.abs(sound[RATE // 4 : -RATE // 4]).max()


LIBSNDFILE_FORMATS = {
    # Written by libsndfile: suffix, sample rate, subtype.
    "wav 44.1 kHz": ("wav", 44_100, "PCM_16"),
    "wav 8 bit 8 kHz": ("wav", 8_000, "PCM_U8"),
    "wav float 96 kHz": ("wav", 96_000, "FLOAT"),
    "wav telephone": ("wav", 8_000, "ULAW"),
    "flac 24 bit": ("flac", 48_000, "PCM_24"),
    "ogg vorbis": ("ogg", 32_000, "VORBIS"),
    "ogg opus": ("opus", 48_000, "OPUS"),
    "mp3 22 kHz": ("mp3", 22_050, "MPEG_LAYER_III"),
    "aiff": ("aiff", 11_025, "PCM_16"),
    "caf": ("caf", 44_100, "PCM_16"),
}
FFMPEG_FORMATS = {
    # Written by FFmpeg: suffix, sample rate, codec, channels, whether there is video.
    "mp3 of Common Voice": ("mp3", 48_000, "libmp3lame", "stereo", False),
    "m4a of a phone": ("m4a", 44_100, "aac", "stereo", False),
    "m4a of a Mac": ("m4a", 44_100, "alac", "stereo", False),
    "webm of a browser": ("webm", 48_000, "libopus", "mono", False),
    "mp4 film": ("mp4", 48_000, "aac", "stereo", True),
    "mkv film": ("mkv", 44_100, "libmp3lame", "mono", True),
    "film in 5.1": ("mp4", 48_000, "aac", "5.1", True),
    "avi of a camera": ("avi", 22_050, "pcm_s16le", "mono", True),
    "aac of a radio": ("aac", 32_000, "aac", "mono", False),
    "adpcm of a telephone": ("wav", 8_000, "adpcm_ima_wav", "mono", False),
}


@pytest.mark.parametrize("form", LIBSNDFILE_FORMATS)
def test_a_tone_keeps_its_frequency_loudness_and_length(tmp_path, tone, form):
    suffix, rate, subtype = LIBSNDFILE_FORMATS[form]
    path = tmp_path / f"tone.{suffix}"
    soundfile.write(
        path, tone(2, 1_000, rate, channels=2), rate, subtype=subtype, format="OGG" if suffix == "opus" else None
    )
    sound = audio.Recording(path).sound().samples
    assert (sound.dtype, sound.ndim) == (np.float32, 1)
    assert len(sound) / RATE == pytest.approx(2, abs=0.001)
    assert loudest(sound) == pytest.approx(1_000, abs=1)
    assert peak(sound) == pytest.approx(0.3, rel=0.1)


@pytest.mark.parametrize("form", FFMPEG_FORMATS)
def test_formats_of_phones_browsers_and_cameras_are_decoded(tmp_path, tone, encoded, form):
    suffix, rate, codec, layout, film = FFMPEG_FORMATS[form]
    path = encoded(tmp_path / f"a.{suffix}", tone(2, 1_000, rate), rate, codec, layout, film)
    sound = audio.Recording(path).sound().samples
    assert (sound.dtype, sound.ndim) == (np.float32, 1)
    assert len(sound) / RATE == pytest.approx(2, abs=0.08)  # AAC adds its own silence before and after
    assert loudest(sound) == pytest.approx(1_000, abs=1)
    assert 0.24 < peak(sound) < 0.35  # one channel of 5.1 holds only low frequencies


@pytest.mark.parametrize("rate", [22_050, 44_100, 48_000, 96_000])
@pytest.mark.parametrize("by", ["decode", "windows"])
def test_resampling_keeps_a_low_tone_and_removes_a_high_one(tone, rate, by):
    def resample(hertz):
        content = wav(tone(2, hertz, rate), rate)
        result = audio.Recording(content).sound() if by == "decode" else next(clips.decode_spans(content, [(0, 2)]))
        return result.samples

    assert peak(resample(1_000)) == pytest.approx(0.3, abs=0.001)
    assert peak(resample(7_000)) == pytest.approx(0.3, abs=0.001)
    assert peak(resample(10_000)) < 0.0001


@pytest.mark.parametrize("suffix", ["wav", "mka"])
def test_eight_channels_at_96_khz_become_one(tmp_path, tone, suffix):
    (tmp_path / "a.wav").write_bytes(wav(tone(2, 1_000, 96_000, channels=8), 96_000))
    with av.open(str(tmp_path / "a.wav")) as source, av.open(str(tmp_path / "a.mka"), "w") as output:
        stream = output.add_stream_from_template(source.streams.audio[0])
        for packet in source.demux(audio=0):
            packet.stream = stream
            output.mux([packet] if packet.size else [])
    sound = audio.Recording(tmp_path / f"a.{suffix}").sound().samples
    assert len(sound) / RATE == pytest.approx(2, abs=0.001)
    assert peak(sound) == pytest.approx(0.3, abs=0.001)


@pytest.mark.parametrize("suffix", ["wav", "m4a"])
def test_every_channel_is_mixed_and_none_gets_louder(tmp_path, tone, encoded, suffix):
    """In interviews each speaker often has a channel."""
    both = np.stack([tone(2, 500, 48_000), tone(2, 3_000, 48_000)], axis=1)
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, both, 48_000) if suffix == "wav" else encoded(path, both, 48_000, "aac", "stereo")
    spectrum = np.abs(np.fft.rfft(audio.Recording(path).sound().samples[: 2 * RATE])) / RATE
    assert spectrum[[1_000, 6_000]] == pytest.approx([0.15, 0.15], rel=0.1)


@pytest.mark.parametrize("name", ["a.mp3", "a.raw", "a", "a.txt", "a.jpg"])
@pytest.mark.parametrize("form", ["FLAC", "m4a"])
def test_a_wrong_extension_does_not_matter(tmp_path, tone, encoded, name, form):
    if form == "FLAC":
        soundfile.write(tmp_path / name, tone(), RATE, format=form)
    else:
        encoded(tmp_path / "a.m4a", tone(), RATE, "aac").rename(tmp_path / name)
    assert isinstance(validate(tmp_path / name), Clip)


def test_sound_of_16_bits_and_16_khz_is_kept_bit_for_bit():
    samples = np.random.default_rng(0).integers(-32_768, 32_768, RATE, np.int16)
    clip = validate(wav(samples, subtype="PCM_16", form="FLAC"), max_clipped=1.0)
    assert np.array_equal(soundfile.read(io.BytesIO(clip.flac), dtype="int16")[0], samples)
    [cut] = clips.decode_spans(wav(samples, subtype="PCM_16", form="FLAC"), [(0.25, 0.75)])
    assert np.array_equal(clips.to_pcm16(cut.samples), samples[4_000:12_000])


def test_a_clip_is_kept_as_16_bit_flac_with_its_text(tone):
    clip = validate(wav(tone(1.5)), "  Hej\tpå  dig,\nÅsa! ")
    assert (clip.text, clip.speaker, clip.split, clip.seconds) == ("Hej på dig, Åsa!", "Åsa", "train", 1.5)
    file = soundfile.SoundFile(io.BytesIO(clip.flac))
    assert (file.format, file.subtype, file.samplerate, file.channels) == ("FLAC", "PCM_16", RATE, 1)
    assert np.abs(file.read() - tone(1.5)).max() < 1 / 2**14


def test_tags_and_pictures_of_a_file_are_not_kept(tone):
    """They may name people, and take more bytes than the sound."""
    samples = clips.to_pcm16(tone())
    plain = clips.encode_flac(samples)
    comment = (
        b"\x04\x00\x00\x00gent\x01\x00\x00\x00"
        + len(b"ARTIST=Anna Hemlig").to_bytes(4, "little")
        + b"ARTIST=Anna Hemlig"
    )
    picture = bytes(50_000)
    blocks = b"".join(
        bytes([kind]) + len(body).to_bytes(3, "big") + body for kind, body in ((4, comment), (6, picture))
    )
    tagged = plain[:4] + b"\x00" + plain[5:42] + blocks + plain[42:] if plain[4] < 128 else None
    clip = validate(tagged)
    assert clip.flac == clips.reuse_flac(Row("a", "train", "hej", None, plain), len(samples))
    assert b"Hemlig" not in clip.flac


def test_tags_in_an_old_encoding_do_not_make_a_recording_unreadable(tmp_path, tone, encoded):
    path = encoded(tmp_path / "a.avi", tone(), RATE, "pcm_s16le")
    content = path.read_bytes()
    assert content.count(b"ISFT") == 1
    at = content.index(b"ISFT") + 8
    assert isinstance(validate(content[:at] + b"\xe5\xe4\xf6" + content[at + 3 :]), Clip)


def test_sound_beyond_full_scale_is_clipped_and_not_wrapped(tone):
    sound = soundfile.read(io.BytesIO(validate(wav(tone(1, peak=1.5)), max_clipped=1.0).flac))[0]
    assert np.corrcoef(sound, tone(1))[0, 1] > 0.95


def with_sample(tone, value):
    sound = tone(1)
    sound[100] = value
    return sound


THRESHOLDS = {
    # The problem: the audio, the text, a setting that accepts it, and one that rejects it.
    "too short": (lambda tone: tone(0.4), "hej", {}, {"min_seconds": 0.5}),
    "too long": (lambda tone: tone(6), "hej", {}, {"max_seconds": 5}),
    "silent": (lambda tone: tone(peak=0.002), "hej", {}, {"min_peak": 0.003}),
    "clipped": (lambda tone: tone(peak=1.1), "hej", {"max_clipped": 0.5}, {}),
    "more words than can be said": (lambda tone: tone(), "ett två tre", {}, {"max_words_per_second": 2.9}),
    "foreign letters": (lambda tone: tone(), "hej Жж", {"max_foreign_letters": 2}, {"max_foreign_letters": 1}),
    "excluded": (lambda tone: tone(), "hej", {"exclude": ["Åse"]}, {"exclude": ["Åsa"]}),
}  # fmt: skip


@pytest.mark.parametrize("problem", THRESHOLDS)
def test_each_threshold_of_the_profile_accepts_and_rejects_a_clip(tone, problem):
    sound, words, accepting, rejecting = THRESHOLDS[problem]
    assert reason(wav(sound(tone)), words, **accepting) is None
    assert reason(wav(sound(tone)), words, **rejecting) == problem


DEFAULTS = {
    "too short": (lambda tone: tone(0.29), lambda tone: tone(0.3), "hej"),
    "too long": (lambda tone: tone(30.01), lambda tone: tone(30), "hej"),
    "silent": (lambda tone: tone(peak=0.0009), lambda tone: tone(peak=0.0011), "hej"),
    "clipped": (lambda tone: tone(peak=1.0), lambda tone: tone(peak=0.98), "hej"),
    "more words than can be said": (lambda tone: tone(1), lambda tone: tone(1.2), "ett " * 9),
    "empty audio": (lambda tone: tone(0), lambda tone: tone(), "hej"),
    "samples that are no numbers": (lambda tone: with_sample(tone, np.nan), lambda tone: tone(), "hej"),
}


@pytest.mark.parametrize("problem", DEFAULTS)
def test_unusable_audio_is_rejected_with_its_reason(tone, problem):
    bad, good, words = DEFAULTS[problem]
    assert (reason(wav(bad(tone)), words), reason(wav(good(tone)), words)) == (problem, None)


@pytest.mark.parametrize("rate", [RATE, 44_100])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_every_sample_must_be_a_number(tone, rate, value):
    assert reason(wav(with_sample(tone, value), rate)) == "samples that are no numbers"


@pytest.mark.parametrize("words", ["", "  \n", "...", "?!", " - ", "…", "–", "”“", "¿", "♪", "\u200b", "\ufeff"])
def test_a_text_without_a_letter_or_digit_is_rejected(tone, words):
    assert reason(wav(tone()), words) == "empty text"


@pytest.mark.parametrize("words", ["[skratt]", "(viskar)", "♪ la la ♪", "- *suckar* ...", "（笑）"])
def test_a_text_of_only_asides_is_empty_if_asides_are_removed(tone, words):
    assert reason(wav(tone()), words, {"writing": ["unicode", "asides"]}) == "empty text"


@pytest.mark.parametrize("words", ["å", "7", "ö!", "É"])
def test_one_letter_or_digit_is_a_text(tone, words):
    assert reason(wav(tone()), words) is None


@pytest.mark.parametrize(
    ("words", "corpus", "text", "expected"),
    [
        ("Ω", {}, {}, "foreign letters"), ("Ω", {"language": "el"}, {}, None), ("日", {"language": "ja"}, {}, None),
        ("Ω", {}, {"alphabet": "abcΩ"}, None), ("hej", {}, {"alphabet": "abcΩ"}, "foreign letters"),
        ("ｈｅｊ", {}, {}, None), ("ｈｅｊ", {}, {"writing": []}, "foreign letters"),
    ],
)  # fmt: skip
def test_letters_are_foreign_to_a_language_or_to_the_alphabet_of_the_profile(tone, words, corpus, text, expected):
    assert reason(wav(tone()), words, text, **corpus) == expected


@pytest.mark.parametrize("name", ["Åsa", "möte.wav", "sample/Åsa", "sample/möte.wav"])
def test_a_speaker_or_a_clip_is_excluded_by_any_unicode_form_of_its_name(tone, name):
    """macOS writes å and ö as two code points."""
    row = Row("mo\u0308te.wav", "train", "hej", "A\u030asa", wav(tone()), source="sample")
    settings = Settings.model_validate({"corpus": {"exclude": [name]}})
    assert [result.reason for result in clips.validate_clips([row], settings)] == ["excluded"]


def test_an_excluded_recording_loses_all_its_cuts_even_with_a_number_sign_in_its_name(tone):
    rows = [
        Row(f"möte #7.wav#{at}.00-{at + 1}.00", "train", "hej", None, wav(tone(3)), start=at, end=at + 1)
        for at in range(2)
    ]
    for name in ("möte #7.wav", "möte #7.wav#1.00-2.00", "möte ", "möte"):
        settings = Settings.model_validate({"corpus": {"exclude": [name]}})
        rejected = [isinstance(result, Rejected) for result in clips.validate_clips(rows, settings)]
        assert rejected == {"möte #7.wav": [True, True], "möte #7.wav#1.00-2.00": [False, True]}.get(
            name, [False, False]
        )


@pytest.mark.parametrize(
    "content",
    [
        b"", b"RIFF", b"This is no sound. " * 99, b"RIFF\xff\xff\xff\xffWAVEfmt ", b"\x00\x00\x00\x18ftypmp42",
        b"fLaC" + bytes(99), b"OggS" + bytes(99), b"ID3" + bytes(99), b"\x1aE\xdf\xa3" + bytes(99), bytes(10_000),
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.m4a", "a.mp3"])
def test_a_file_that_holds_no_audio_is_rejected(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    assert reason(tmp_path / name) == "unreadable audio"


def test_a_film_without_sound_is_rejected(tmp_path):
    with av.open(str(tmp_path / "a.mp4"), "w") as file:
        stream = file.add_stream("mpeg4", rate=25)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        file.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), "rgb24")))
        file.mux(stream.encode(None))
    assert reason(tmp_path / "a.mp4") == "unreadable audio"


@pytest.mark.parametrize("rate", [0, 1, 7, 2_000_000, 2**31 - 1])
@pytest.mark.parametrize("cut", [False, True])
def test_a_header_with_a_false_sample_rate_is_unreadable_and_takes_no_time(tone, rate, cut):
    content = bytearray(wav(tone(1), subtype="PCM_16"))
    content[24:28] = rate.to_bytes(4, "little")
    row = Row("a", "train", "hej", None, bytes(content), end=1.0 if cut else None)
    assert [result.reason for result in clips.validate_clips([row], Settings())] == ["unreadable audio"]


def test_a_missing_file_is_rejected(tmp_path):
    assert reason(tmp_path / "a.wav") == reason(tmp_path) == reason(None) == "missing file"


def test_a_clip_that_comes_with_a_problem_keeps_it(tone):
    row = Row("a", "train", "hej", None, wav(tone()), problem="outside the folder")
    assert list(clips.validate_clips([row], Settings())) == [Rejected("a", "outside the folder", "train")]


PLAYLISTS = {
    "a.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{}\n#EXT-X-ENDLIST\n",
    "a.ffconcat": "ffconcat version 1.0\nfile {}\n",
    "a.mpd": '<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT2S"><Period>'
    '<AdaptationSet mimeType="audio/mp4"><Representation id="1" bandwidth="1"><BaseURL>{}</BaseURL>'
    "</Representation></AdaptationSet></Period></MPD>",
}


@pytest.mark.parametrize("name", PLAYLISTS)
@pytest.mark.parametrize("target", ["../secret.mp3", "link.mp3", "{}/secret.mp3", "file://{}/secret.mp3"])
def test_a_playlist_opens_no_other_file(tmp_path, tone, monkeypatch, name, target):
    """FFmpeg treats a playlist as audio and decodes the files that it names, on this machine or any other."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    monkeypatch.chdir(folder)
    soundfile.write(tmp_path / "secret.mp3", tone(2), RATE)
    (folder / "link.mp3").symlink_to("../secret.mp3")
    (folder / name).write_text(PLAYLISTS[name].format(target.format(tmp_path)))
    for file in (folder / name, (folder / name).read_bytes()):
        assert reason(file) in ("unreadable audio", "empty audio")


@pytest.fixture(scope="module")
def steps(tone):
    """Twenty seconds, with a new tone every two seconds: 300, 400, ... 1200 Hz."""
    return np.concatenate([tone(2, 300 + 100 * at) for at in range(10)])


def validate_cuts(file, *spans, **corpus):
    """Validate the clips of a recording cut at these times."""
    rows = [
        Row(
            f"a#{start}-{end}",
            "train",
            "hej",
            None,
            file,
            start=start,
            end=end,
            segments=(Segment(0, end - start, "hej"),),
        )
        for start, end in spans
    ]
    return list(clips.validate_clips(rows, Settings.model_validate({"corpus": corpus})))


@pytest.mark.parametrize("form", ["flac 16 kHz", "flac 44.1 kHz", "mp3", "m4a"])
def test_each_cut_of_a_recording_has_its_own_audio(tmp_path, steps, encoded, form):
    import soxr

    if form.startswith("flac"):
        rate = RATE if "16" in form else 44_100
        path = tmp_path / "a.flac"
        soundfile.write(path, soxr.resample(steps, RATE, rate), rate)
    else:
        codec = {"mp3": "libmp3lame", "m4a": "aac"}[form]
        path = encoded(tmp_path / f"a.{form}", soxr.resample(steps, RATE, 44_100), 44_100, codec)
    spans = [(0.1, 1.9), (2.1, 3.0), (6.2, 7.9), (7.95, 8.55), (18.1, 19.9)]
    results = validate_cuts(path, *spans)
    for (start, end), clip in zip(spans, results, strict=True):
        sound = soundfile.read(io.BytesIO(clip.flac))[0]
        assert len(sound) == round((end - start) * RATE)
        excerpt = sound[-RATE // 4 :] if start == 7.95 else sound
        assert loudest(excerpt) == pytest.approx(300 + 100 * int(end // 2), abs=3)
        assert clip.segments == (Segment(0, end - start, "hej"),)
    middle = soundfile.read(io.BytesIO(results[3].flac))[0]
    change = next(at for at in range(0, len(middle) - 400, 40) if loudest(np.pad(middle[at : at + 400], 4_000)) > 650)
    assert change / RATE == pytest.approx(0.05, abs=0.05)


def test_a_cut_is_as_exact_as_the_recording(steps):
    exact = clips.to_pcm16(steps)
    for start, end in ((0.0, 0.5), (1.23456, 4.2), (19.0, 20.0)):
        [clip] = validate_cuts(wav(exact, subtype="PCM_16"), (start, end))
        assert np.array_equal(
            soundfile.read(io.BytesIO(clip.flac), dtype="int16")[0], exact[round(start * RATE) : round(end * RATE)]
        )


def test_times_more_than_half_a_second_beyond_the_recording_are_rejected(steps):
    results = validate_cuts(
        wav(steps), (17.0, 19.0), (19.0, 20.4), (19.5, 20.6), (19.9, 20.1), (20.5, 20.9), (30.0, 40.0), (1e9, 2e9)
    )
    assert [getattr(result, "reason", None) for result in results] == [
        None, None, "times beyond the recording", "too short", *["times beyond the recording"] * 3,
    ]  # fmt: skip
    assert results[1].seconds == 1.0


def test_a_cut_longer_than_a_clip_may_be_is_too_long(steps):
    assert validate_cuts(wav(steps), (0.0, 6.0), (7.0, 9.0), max_seconds=5)[0] == Rejected(
        "a#0.0-6.0", "too long", "train"
    )


def test_a_recording_is_decoded_once_for_all_its_cuts(steps, monkeypatch):
    opened = []
    monkeypatch.setattr(clips, "Recording", lambda file: opened.append(file) or audio.Recording(file))
    assert all(isinstance(result, Clip) for result in validate_cuts(wav(steps), *((at, at + 1.0) for at in range(20))))
    assert len(opened) == 1


def test_the_part_before_the_damage_of_a_recording_is_accepted(tmp_path, steps, encoded):
    content = encoded(tmp_path / "a.mp3", steps, RATE, "libmp3lame").read_bytes()
    results = validate_cuts(content[: len(content) // 2], (0.0, 2.0), (4.0, 6.0), (14.0, 16.0), (18.0, 20.0))
    assert [isinstance(result, Clip) for result in results] == [True, True, False, False]


def test_all_clips_of_a_broken_file_are_rejected():
    results = validate_cuts(b"RIFF", (0.0, 1.0), (2.0, 3.0))
    assert results == [Rejected(clip, "unreadable audio", "train") for clip in ("a#0.0-1.0", "a#2.0-3.0")]


def test_rejected_clips_release_their_audio_at_once(tone):
    """Otherwise a stream would keep all rejected clips in memory between two accepted ones."""
    alive, good = [], wav(tone())

    class Audio(bytes):
        def __del__(self):
            alive.remove(id(self))

    def rows():
        for at in range(50):
            audio = Audio(good)
            alive.append(id(audio))
            yield Row(f"{at}", "train", "hej" if at in (0, 49) else "", None, audio)
            del audio
            alive_counts.append(len(alive))

    alive_counts = []
    assert sum(isinstance(result, Clip) for result in clips.validate_clips(rows(), Settings())) == 2
    assert max(alive_counts) < 5


MEASURE_VALIDATION = """
import json, resource, sys, time
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from asr.corpus import audio, clips
from asr.corpus.rows import Row
from asr.settings import Settings
paths, spans = map(Path, sys.argv[3:]), json.loads(sys.argv[2])
silence = clips.encode_flac(clips.np.zeros(16000, "i2"))
list(clips.validate_clips([Row("warm", "train", "hej", None, silence)], Settings()))
import av
for path in paths:
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    rows = [Row(str(at), "train", "hej", None, path, start=at, end=end) for at, end in spans or [(0, None)]]
    outcomes = {}
    for result in clips.validate_clips(rows, Settings()):
        outcome = getattr(result, "reason", "kept")
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
    growth = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(json.dumps([outcomes, growth, time.monotonic() - began]))
"""


def measure(*paths, spans=()):
    """For each file, in a separate process: the clips by outcome, the growth of memory in MB, and the seconds."""
    command = [sys.executable, "-c", MEASURE_VALIDATION, str(FLOWS), json.dumps(spans), *map(str, paths)]
    process = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return [json.loads(line) for line in process.stdout.splitlines()]


def test_hours_of_silence_in_a_small_file_are_too_long_and_cost_little(tmp_path):
    """Decoded completely, they would take more than half a gigabyte."""
    with soundfile.SoundFile(tmp_path / "a.flac", "w", 16_000, 1) as file:
        for _ in range(60 * 5):
            file.write(np.zeros(60 * 16_000, np.int16))
    for name in ("a.opus", "a.webm"):
        with av.open(str(tmp_path / name), "w", format="ogg" if name == "a.opus" else None) as file:
            stream = file.add_stream("libopus", rate=48_000, layout="mono")
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 960), np.float32), "flt", "mono")
            silence.sample_rate = 48_000
            content = bytes([*stream.encode(silence), *stream.encode(None)][0])
            for at in range(0, 3_600 * 48_000, 960):
                packet = av.Packet(content)
                packet.stream, packet.pts, packet.dts, packet.time_base = stream, at, at, Fraction(1, 48_000)
                file.mux(packet)
    for outcomes, megabytes, seconds in measure(*(tmp_path / name for name in ("a.flac", "a.opus", "a.webm"))):
        assert outcomes == {"too long": 1}
        assert megabytes < 30
        assert seconds < 3


def test_an_hour_of_recording_is_cut_in_little_memory(tmp_path):
    random = np.random.default_rng(0)
    with soundfile.SoundFile(tmp_path / "a.flac", "w", 8_000, 1) as file:
        for _ in range(60):
            file.write(random.integers(-300, 300, 60 * 8_000, np.int16))
    spans = [(at, at + 8) for at in range(0, 3_590, 20)]
    [(outcomes, megabytes, _)] = measure(tmp_path / "a.flac", spans=spans)
    assert outcomes == {"kept": len(spans)}
    assert megabytes < 30


@pytest.mark.parametrize("length", [8, 30, 41, 50])
def test_flac_with_tags_beyond_its_end_is_not_reused(tone, length):
    samples = clips.to_pcm16(tone(0.5))
    flac = clips.encode_flac(samples)
    hostile = flac[:5] + b"\0\0\x22" + flac[8:43] + b"\xff\xff\xff" + flac[46:]
    row = Row("a", "train", "hej", None, flac[:length])
    assert clips.reuse_flac(row, len(samples)) is None
    assert clips.reuse_flac(replace(row, audio=hostile), len(samples)) is None
    assert clips.reuse_flac(replace(row, audio=flac + b"TAG" + bytes(125)), len(samples)) is None
    assert clips.reuse_flac(replace(row, audio=flac), len(samples) + 1) is None


def test_flac_in_the_right_form_is_not_encoded_again(tone):
    samples = clips.to_pcm16(tone(0.5))
    reused = clips.reuse_flac(Row("a", "train", "hej", None, clips.encode_flac(samples)), len(samples))
    assert (soundfile.read(io.BytesIO(reused), dtype="int16")[0] == samples).all()


def test_a_clip_has_the_same_text_with_and_without_times(tone):
    texts = ("Hej [skratt]", "♪ la la", "la ♪", "-Ja, (viskar", "ja) då.")
    segments = tuple(Segment(at / 5, at / 5 + 0.2, text) for at, text in enumerate(texts))
    row = Row("a", "train", " ".join(texts), None, wav(tone()), end=1.0, segments=segments)
    settings = Settings.model_validate({"text": {"writing": ["dashes", "asides"]}})
    [clip] = clips.validate_clips([row], settings)
    assert [segment.text for segment in clip.segments] == ["Hej", "la la", "la", "– Ja, (viskar", "ja) då."]
    assert clip.text == " ".join(segment.text for segment in clip.segments)
    [clip] = clips.validate_clips([replace(row, segments=(*segments, Segment(0.8, 1.0, "[skratt]")))], settings)
    assert len(clip.segments) == len(texts)
