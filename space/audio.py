"""Audio and video files as sound: the same samples wherever a file is read, in training, in the terminal, on the page.

The training flow reads through a link to this module. FFmpeg decodes, since its way with odd files is the one people
know: joined files are read to their end, damaged packets are passed over, a header without a length means all there
is. What is lost on the way is reported as a fault, so that half a recording does not pass for a whole one.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple

import av
import numpy as np
import soxr

RATE = 16_000  # Hz
RATES = range(1_000, 1_000_001)  # Hz; at what only a damaged header tells, resampling takes any time and memory
BLOCK = 4.0  # seconds of a block, about
# The demuxers of recordings. A playlist is audio to FFmpeg, too, and may name any file of this machine.
FORMATS = (
    "aac,ac3,aiff,amr,amrnb,amrwb,ape,asf,au,avi,caf,eac3,flac,flv,ircam,matroska,mov,mp3,mp4,mpc,mpc8,mpeg,mpegts,"
    "nistsphere,ogg,sox,tak,tta,voc,w64,wav,webm,wv"
)
# FFmpeg else decodes a WAV's first megabytes to see whether they are DTS: 9 ms a clip for 0.4.
OPTIONS = {"format_whitelist": FORMATS, "protocol_whitelist": "none", "max_probe_packets": "1"}
STRICT = {"err_detect": "crccheck+explode"}  # a frame with a wrong checksum is an error, and no sound
UNMEASURED = ("aac", "ac3", "eac3", "mpeg", "mpegts")  # the length of these is FFmpeg's guess
ROUNDING = 0.075  # seconds that a header's length may differ: some count the silence that a codec adds
GAP = 0.1  # seconds between two frames that tell of lost packets
LONGEST_GAP = 3600.0  # seconds; more is a damaged clock
PACKET = 1_500  # values that could be decoded in the time that a packet takes, however little is in it
PAGE = 27 + 255 + 255 * 255  # bytes of an Ogg page, at most
# kbit/s of an MP3 frame by the index in its header, for MPEG 1 and for 2 and 2.5
BITRATES = (
    (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 0),
    (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0),
)

JOINED = {b"RIFF": 8, b"FORM": 8, b"ftyp": 4}  # where the name of a format that FFmpeg reads once begins

# incomplete: a part is damaged or missing; joined: several files in one, of which only the first is read
Fault = Literal["incomplete", "joined"]


class Unreadable(ValueError):
    """A file without readable audio."""


class Sound(NamedTuple):
    """What is heard of a file."""

    samples: np.ndarray  # (samples,) float32, mono, 16 kHz
    fault: Fault | None  # why there may be less of it than was recorded
    pictured: bool = False  # there are moving pictures with it


class Recording:
    """An audio or video file. Iterating decodes its first audio track, in blocks of (samples,) float32 at 16 kHz.

    Once there is a block, `seconds` is the length that the header tells, None where it tells none, and `pictured`
    whether there are moving pictures, too. `faults` are known as far as blocks were read, each with its place in
    seconds; that its end is missing is known there. `work` is what decoding took so far, in values of a channel: a
    small file may hold days of it in a short sound. Iterating raises `Unreadable` where there is no audio and OSError
    where there is no file.
    """

    def __init__(self, file: str | Path | bytes | IO[bytes]) -> None:
        self.seconds: float | None = None
        self.pictured = False
        self.faults: list[tuple[float, Fault]] = []
        self.work = 0
        self._file = file
        self._at = 0.0  # seconds decoded

    @property
    def fault(self) -> Fault | None:
        return self.faults[0][1] if self.faults else None

    def __iter__(self) -> Iterator[np.ndarray]:
        self.faults.clear()
        self.work = 0
        with _file(self._file) as file:
            if not (size := file.seek(0, io.SEEK_END)):
                raise Unreadable("the file is empty")
            file.seek(0)
            head = file.read(4096)
            with _opened(file) as container:
                track = container.streams.audio[0]
                self.seconds = _told(container, track, size)
                self.pictured = any(map(_moves, container.streams.video))
                yield from _resampled(self._frames(container, track, _endless(head)))
            # At the end, which who has heard enough never comes to.
            if _torn_page(file, head, size) or self._at < (self.seconds or 0.0) - ROUNDING:
                self._blame("incomplete")
            if _joined(file, head):
                self._blame("joined")

    def sound(self, longest: float = math.inf) -> Sound:
        """All of it, or of more than `longest` seconds a little more than those. Raises as iterating does."""
        blocks, samples = [np.zeros(0, np.float32)], 0
        for block in self:
            blocks.append(block)
            samples += len(block)
            if samples > (longest + 1) * RATE:
                break
        sound = np.concatenate(blocks)[: None if math.isinf(longest) else int((longest + 1) * RATE)]
        return Sound(sound, self.fault, self.pictured)

    def _blame(self, fault: Fault) -> None:
        self.faults.append((self._at, fault))

    def _frames(self, container: Any, track: Any, endless: bool) -> Iterator[tuple[int, np.ndarray]]:
        """Each frame's rate and its (samples,) float32; silence for what is lost between them."""
        track.codec_context.options = STRICT
        self._at = 0.0
        due: float | None = None  # when the next frame begins by the file's own times
        packets = container.demux(track)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except Exception:  # PyAV raises its own errors, ValueError and more, by how the file is broken
                return self._blame("incomplete")
            self.work += PACKET
            if (packet.is_corrupt and not endless) or _torn_frame(packet, track):
                self._blame("incomplete")
            try:
                frames = packet.decode()
            except Exception:
                self._blame("incomplete")
                if due is not None and packet.duration and packet.time_base:
                    lost = min(float(packet.duration * packet.time_base), GAP)
                    due += lost
                    yield from self._silence(lost, track.rate)
                continue
            for frame in frames:
                begins = due if frame.pts is None or frame.time is None else frame.time
                gap = begins - due if begins is not None and due is not None else 0.0
                if frame.is_corrupt or gap > GAP:
                    self._blame("incomplete")
                if GAP < gap < LONGEST_GAP:
                    yield from self._silence(gap, track.rate)
                length = frame.samples / _possible(frame.sample_rate)
                due = begins + length if begins is not None else None
                self._at += length
                self.work += frame.samples * frame.layout.nb_channels
                try:
                    sound = _mono(frame)
                except Exception as error:  # as above, of 255 channels
                    raise Unreadable("no readable audio in this file") from error
                yield frame.sample_rate, sound

    def _silence(self, seconds: float, rate: int) -> Iterator[tuple[int, np.ndarray]]:
        """In place of what is lost, so that what follows keeps its time."""
        while seconds > 0:
            piece = np.zeros(round(min(seconds, BLOCK) * rate), np.float32)
            seconds -= BLOCK
            self._at += len(piece) / rate
            yield rate, piece


def _file(given: str | Path | bytes | IO[bytes]) -> AbstractContextManager[IO[bytes]]:
    """The file to read; one that is open stays so."""
    if isinstance(given, bytes):
        return io.BytesIO(given)
    return open(given, "rb") if isinstance(given, str | Path) else nullcontext(given)


def _opened(file: IO[bytes]) -> Any:
    file.seek(0)
    try:
        container = av.open(file, mode="r", options=OPTIONS, metadata_errors="ignore")
    except Exception as error:  # as above; an OSError too, for FFmpeg's errors have its names
        raise Unreadable("no readable audio in this file") from error
    if not container.streams.audio or container.streams.audio[0].rate not in RATES:
        container.close()
        raise Unreadable("no readable audio in this file")
    return container


def _possible(rate: int) -> int:
    if rate not in RATES:
        raise Unreadable(f"{rate} Hz is no sample rate of sound")
    return rate


def _told(container: Any, track: Any, size: int) -> float | None:
    """The seconds of audio that a header tells, as far as it can be believed."""
    if container.format.name in UNMEASURED:
        return None
    if track.duration is not None:
        seconds = float(track.duration * track.time_base)
        guessed = 8 * size / track.bit_rate if container.format.name == "mp3" and track.bit_rate else math.inf
        return None if abs(seconds - guessed) < 0.02 * seconds else seconds
    if container.duration is None or container.streams.video:  # whose length the container's may be
        return None
    return float(container.duration / av.time_base)


def _moves(stream: Any) -> bool:
    """Whether a picture is no cover."""
    return not stream.disposition & av.stream.Disposition.attached_pic


def _joined(file: IO[bytes], head: bytes) -> bool:
    """Whether the file's head comes once more, as in `cat a.wav b.wav`."""
    if (place := JOINED.get(head[:4]) or JOINED.get(head[4:8])) is None:
        return False
    file.seek(16)
    again, seen = head[:16][place : place + 8], b""
    while piece := file.read(1 << 20):  # a film of gigabytes need not fit into memory
        if again in (seen := seen[-7:] + piece):
            return True
    return False


def _endless(head: bytes) -> bool:
    """Whether a WAV does not tell its length: who writes to a pipe does not know it, and says nothing or the most."""
    size = int.from_bytes(head[(at := head.find(b"data") + 4) : at + 4], "little")
    return head[:4] == b"RIFF" and (not size or size >= 0x7FFF0000)


def _torn_page(file: IO[bytes], head: bytes, size: int) -> bool:
    """Whether an Ogg file ends in the midst of a page (RFC 3533, 6); FFmpeg drops such a page without a word."""
    if head[:4] != b"OggS":
        return False
    file.seek(max(0, size - 2 * PAGE))
    end = file.read()
    at = end.rfind(b"OggS")
    header = end[at : at + 27]
    return len(header) < 27 or at + 27 + header[26] + sum(end[at + 27 : at + 27 + header[26]]) > len(end)


def _torn_frame(packet: Any, track: Any) -> bool:
    """Whether an MP3 ends in the midst of a frame; the decoder makes one of half as well."""
    header = bytes(packet)[:4] if track.codec_context.name in ("mp3", "mp3float") and packet.size >= 4 else b""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE6 != 0xE2:  # in sync, layer III
        return False
    first = header[1] & 0x18 == 0x18  # MPEG 1
    whole = (144_000 if first else 72_000) * BITRATES[not first][header[2] >> 4] // track.rate + (header[2] >> 1 & 1)
    return packet.size < whole


def _mono(frame: Any) -> np.ndarray:
    """(samples,) float32, the mean of a frame's channels: FFmpeg's own mix makes stereo louder."""
    channels = frame.layout.nb_channels
    if frame.format.is_planar and channels > 2:  # of eight planes PyAV 18 reads nine, and crashes
        frame = av.AudioResampler(format="flt").resample(frame)[0]
    values = frame.to_ndarray()
    if values.dtype == np.uint8:
        values = values.astype(np.float32) / 128 - 1
    elif values.dtype.kind == "i":
        values = values.astype(np.float32) / -float(np.iinfo(values.dtype).min)
    if frame.format.is_packed:
        values = values.reshape(-1, channels).T
    return np.asarray(values.mean(axis=0) if channels > 1 else values[0], dtype=np.float32)


def _resampled(frames: Iterator[tuple[int, np.ndarray]]) -> Iterator[np.ndarray]:
    """Frames at their own rates, which may change, in blocks at 16 kHz."""
    waiting, seconds, before, stream = list[np.ndarray](), 0.0, RATE, None

    def block(last: bool) -> np.ndarray:
        sound = np.concatenate([np.zeros(0, np.float32), *waiting])
        waiting.clear()
        return np.asarray(stream.resample_chunk(sound, last=last)) if stream else sound

    for rate, sound in frames:
        if rate != before:
            yield block(last=True)
            stream, before = None if rate == RATE else soxr.ResampleStream(rate, RATE, 1, dtype="float32"), rate
        waiting.append(sound)
        seconds += len(sound) / rate
        if seconds >= BLOCK:
            yield block(last=False)
            seconds = 0.0
    yield block(last=True)
