"""Odd audio files, built here: each is named by its defect, with the expected result."""

from __future__ import annotations

import io
import tempfile
from functools import cache
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
import soundfile
import soxr

SECONDS = 2.5


class Odd(NamedTuple):
    """A file's name and content, its decodable seconds, and the reason why training rejects it, if any."""

    name: str
    content: bytes
    seconds: float
    reason: str | None = None


@cache
def voice(rate: int = 48_000, channels: int = 1) -> np.ndarray:
    """(samples, channels) float32: a hum with the rhythm of syllables and no silence."""
    time = np.arange(int(SECONDS * rate)) / rate
    hum = sum(np.sin(2 * np.pi * 150 * part * time) / part for part in range(1, 12))
    sound = 0.1 * hum * (0.55 + 0.45 * np.sin(2 * np.pi * 4 * time))
    return np.repeat(sound[:, None], channels, axis=1).astype(np.float32)


@cache
def ffmpeg(form: str, codec: str, rate: int = 48_000, layout: str = "mono", **options: str) -> bytes:
    """The voice, encoded by FFmpeg."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a"
        with av.open(str(path), "w", format=form, options=options) as file:
            stream = file.add_stream(codec, rate=rate, layout=layout)
            stream.bit_rate = 64_000
            pcm = (32_767 * voice(48_000, 1 if layout == "mono" else 2)).astype(np.int16).reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(pcm, "s16", layout)
            frame.sample_rate, frame.pts = 48_000, 0
            for packet in [*stream.encode(frame), *stream.encode(None)]:
                file.mux(packet)
        return path.read_bytes()


@cache
def libsndfile(form: str, subtype: str, rate: int = 48_000, channels: int = 1) -> bytes:
    """The voice, encoded by libsndfile."""
    file = io.BytesIO()
    soundfile.write(file, soxr.resample(voice(48_000, channels), 48_000, rate), rate, format=form, subtype=subtype)
    return file.getvalue()


def wav(rate: int = 16_000, size: int | None = None, header_rate: int | None = None) -> bytes:
    """A WAV, whose header may state a false data size in bytes or a false rate."""
    content = bytearray(libsndfile("WAV", "PCM_16", rate))
    at = content.index(b"data")
    if size is not None:
        content[4:8] = content[at + 4 : at + 8] = size.to_bytes(4, "little")
    if header_rate is not None:
        content[24:28] = header_rate.to_bytes(4, "little")
    return bytes(content)


def half(content: bytes) -> bytes:
    return content[: len(content) // 2 + 7]


def damaged(content: bytes, size: int = 400) -> bytes:
    """With random bytes in the middle."""
    middle = len(content) // 2
    return content[:middle] + np.random.default_rng(1).bytes(size) + content[middle + size :]


def with_gap(content: bytes, size: int = 400) -> bytes:
    middle = len(content) // 2
    return content[:middle] + content[middle + size :]


def tagged(content: bytes) -> bytes:
    """With an ID3v1 tag at the end, and an ID3v2 tag with a large picture at the start."""
    picture = bytes(50_000)
    size = len(picture)
    head = b"ID3\x03\0\0" + bytes([size >> 21 & 127, size >> 14 & 127, size >> 7 & 127, size & 127])
    return head + picture + content + b"TAG" + bytes(125)


mp3 = ffmpeg("mp3", "libmp3lame")
bare_mp3 = ffmpeg("mp3", "libmp3lame", write_xing="0")
opus = ffmpeg("ogg", "libopus")
vorbis = libsndfile("OGG", "VORBIS")
flac = ffmpeg("flac", "flac")
m4a = ffmpeg("mp4", "aac", 44_100)
fast_m4a = ffmpeg("mp4", "aac", 44_100, movflags="faststart")
aac = ffmpeg("adts", "aac", 44_100)
webm = ffmpeg("webm", "libopus")
live_webm = ffmpeg("webm", "libopus", live="1")
INCOMPLETE, JOINED, UNREADABLE = "damaged or cut short", "several recordings in one file", "unreadable audio"

ODD = [
    # Formats, rates and channels.
    Odd("rf64.wav", libsndfile("RF64", "PCM_16"), 2.5),
    Odd("8 bit 8 kHz.wav", libsndfile("WAV", "PCM_U8", 8_000), 2.5),
    Odd("24 bit 96 kHz.flac", libsndfile("FLAC", "PCM_24", 96_000), 2.5),
    Odd("float 22 kHz.wav", libsndfile("WAV", "FLOAT", 22_050), 2.5),
    Odd("double.wav", libsndfile("WAV", "DOUBLE"), 2.5),
    Odd("telephone.wav", libsndfile("WAV", "ULAW", 8_000), 2.5),
    Odd("mac.aiff", libsndfile("AIFF", "PCM_16", 44_100), 2.5),
    Odd("mac.caf", libsndfile("CAF", "PCM_16", 44_100), 2.5),
    Odd("sun.au", libsndfile("AU", "PCM_16"), 2.5),
    Odd("corpus.sph", libsndfile("NIST", "PCM_16", 16_000), 2.5),
    Odd("sony.w64", libsndfile("W64", "PCM_16"), 2.5),
    Odd("windows.wma", ffmpeg("asf", "wmav2", 44_100), 2.5),
    Odd("camera.mts", ffmpeg("mpegts", "aac", 44_100), 2.5),
    Odd("camera.avi", ffmpeg("avi", "pcm_s16le"), 2.5),
    Odd("dvd.ac3", ffmpeg("ac3", "ac3"), 2.5),
    Odd("flash.flv", ffmpeg("flv", "aac", 44_100), 2.5),
    Odd("lossless.m4a", ffmpeg("mp4", "alac", 44_100), 2.5),
    Odd("stereo.mp3", ffmpeg("mp3", "libmp3lame", layout="stereo"), 2.5),
    Odd("stereo.wav", libsndfile("WAV", "PCM_16", 44_100, 2), 2.5),
    Odd("matroska.mka", ffmpeg("matroska", "flac"), 2.5),
    Odd("fragments.mp4", ffmpeg("mp4", "aac", 44_100, movflags="frag_keyframe+empty_moov"), 2.5),
    Odd("browser.webm", live_webm, 2.5),  # without a length
    # Wrong or missing file name suffixes.
    Odd("no suffix", mp3, 2.5),
    Odd("an mp3.wav", mp3, 2.5),
    Odd("an m4a.mp3", m4a, 2.5),
    Odd("a wav.flac", wav(), 2.5),
    Odd("an ogg.raw", opus, 2.5),
    # False or missing values in headers, and tags.
    Odd("size 0.wav", wav(size=0), 2.5),
    Odd("size unknown.wav", wav(size=0xFFFFFFFF), 2.5),
    Odd("no length.mp3", bare_mp3, 2.5),
    Odd("tags and a picture.mp3", tagged(mp3), 2.5),
    Odd("rate of 4 Hz.wav", wav(header_rate=4), 0, UNREADABLE),
    Odd("rate of 2 GHz.wav", wav(header_rate=2_000_000_000), 0, UNREADABLE),
    # Joined by cat.
    Odd("joined.mp3", mp3 + mp3, 5.0, INCOMPLETE),  # the first frame of the second one refers to a missing frame
    Odd("joined.ogg", opus + opus, 5.0),
    Odd("joined vorbis.ogg", vorbis + vorbis, 5.0),
    Odd("joined.flac", flac + flac, 5.0),
    Odd("joined.aac", aac + aac, 5.0),
    Odd("joined.webm", webm + webm, 5.0),
    Odd("joined.wav", wav() + wav(), 2.5, JOINED),
    Odd("joined.m4a", m4a + m4a, 2.5, JOINED),
    # Cut in half.
    Odd("half.wav", half(wav()), 1.25, INCOMPLETE),
    Odd("half.mp3", half(mp3), 1.25, INCOMPLETE),
    Odd("half without a length.mp3", half(bare_mp3), 1.25, INCOMPLETE),
    Odd("half.ogg", half(opus), 1.0, INCOMPLETE),
    Odd("cut vorbis.ogg", vorbis[:-1500], 1.31, INCOMPLETE),
    Odd("half.flac", half(flac), 1.06, INCOMPLETE),
    Odd("half.aac", half(aac), 1.25, INCOMPLETE),
    Odd("half.webm", half(webm), 1.25, INCOMPLETE),
    Odd("half, index first.m4a", half(fast_m4a), 1.25, INCOMPLETE),
    Odd("half, index lost.m4a", half(m4a), 0, UNREADABLE),
    # Damaged in the middle.
    Odd("damaged.mp3", damaged(mp3), 2.5, INCOMPLETE),
    Odd("damaged.flac", damaged(flac), 2.4, INCOMPLETE),
    Odd("damaged.ogg", damaged(opus), 1.5, INCOMPLETE),  # a page of a second is lost
    Odd("damaged.aac", damaged(aac), 2.3, INCOMPLETE),
    Odd("damaged, index first.m4a", damaged(fast_m4a), 2.5, INCOMPLETE),
    Odd("damaged live.webm", damaged(live_webm), 2.5, INCOMPLETE),
    Odd("hole.mp3", with_gap(mp3), 2.5, INCOMPLETE),
    Odd("hole.wav", with_gap(wav()), 2.5, INCOMPLETE),
    # No audio at all.
    Odd("nothing.wav", b"", 0, UNREADABLE),
    Odd("nothing.mp3", b"", 0, UNREADABLE),
    Odd("text.wav", b"This is no sound. " * 99, 0, UNREADABLE),
    Odd("zeros.mp3", bytes(10_000), 0, UNREADABLE),
    Odd("head alone.wav", wav()[:44], 0, INCOMPLETE),
    Odd("head alone.flac", flac[:42], 0, UNREADABLE),
    Odd("head alone.ogg", opus[:100], 0, UNREADABLE),
]
