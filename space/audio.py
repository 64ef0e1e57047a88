"""Decoding of audio and video files, with the same samples in training, in the terminal and on the page.

The training flow imports this module through a link. FFmpeg decodes, and treats odd files as people expect: joined
files are read to their end, damaged packets are skipped, and a file without a length in its header is read to its end.
Lost audio is reported as a fault, so that half a recording does not pass as complete.
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
# Hz. Other rates come from damaged headers, and resampling them could take any time and memory.
RATES = range(1_000, 1_000_001)
BLOCK_SECONDS = 4.0  # of a decoded block, about
# Demuxers of recordings only: FFmpeg also opens playlists, which may name any file on this machine.
FORMATS = (
    "aac,ac3,aiff,amr,amrnb,amrwb,ape,asf,au,avi,caf,eac3,flac,flv,ircam,matroska,mov,mp3,mp4,mpc,mpc8,mpeg,mpegts,"
    "nistsphere,ogg,sox,tak,tta,voc,w64,wav,webm,wv"
)
# Without max_probe_packets FFmpeg decodes a WAV's first megabytes to check for DTS: 9 ms a clip instead of 0.4.
OPTIONS = {"format_whitelist": FORMATS, "protocol_whitelist": "none", "max_probe_packets": "1"}
STRICT = {"err_detect": "crccheck+explode"}  # a frame with a wrong checksum is an error, not audio
# The length of these is an estimate of FFmpeg's.
ESTIMATED_LENGTH = ("aac", "ac3", "eac3", "mpeg", "mpegts")
LENGTH_TOLERANCE = 0.075  # seconds that a header's length may be off: some count a codec's padding
MIN_GAP = 0.1  # seconds between two frames that mean lost packets
MAX_GAP = 3600.0  # seconds; a longer gap means damaged timestamps
PACKET_WORK = 1_500  # samples that could be decoded in the time that even an empty packet takes
MAX_WAV_CHUNKS = 100  # before the audio
MAX_OGG_PAGE = 27 + 255 + 255 * 255  # bytes
# kbit/s of a layer III frame, by the index in its header: MPEG 1, then MPEG 2 and 2.5.
MP3_BITRATES = (
    (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 0),
    (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0),
)

# Formats that FFmpeg reads only once in a file, with the offset of their name after the marker.
SINGLE_FORMATS = {b"RIFF": 8, b"FORM": 8, b"ftyp": 4}

# incomplete: a part is damaged or missing; joined: several files in one, of which only the first is read
Fault = Literal["incomplete", "joined"]


class Unreadable(ValueError):
    """A file without readable audio."""


class Sound(NamedTuple):
    """The decoded audio of a file."""

    samples: np.ndarray  # (samples,) float32, mono, 16 kHz
    fault: Fault | None  # why audio may be missing
    has_video: bool = False


class Recording:
    """An audio or video file. Iterating decodes its first audio track, in blocks of (samples,) float32 at 16 kHz.

    Attributes:
        seconds: the length in the header, from the first block on; None if it has none.
        has_video: whether the file has a video track, from the first block on.
        faults: of the blocks read so far, each with its time in seconds; a missing end is found at the end.
        work: the cost of decoding so far, in samples of all channels; a small file may hold days of it.

    Raises, while iterating:
        Unreadable: if there is no audio.
        OSError: if there is no file.
    """

    def __init__(self, file: str | Path | bytes | IO[bytes]) -> None:
        self.seconds: float | None = None
        self.has_video = False
        self.faults: list[tuple[float, Fault]] = []
        self.work = 0
        self._file = file
        self._position = 0.0  # seconds decoded

    @property
    def fault(self) -> Fault | None:
        """The first fault so far."""
        return self.faults[0][1] if self.faults else None

    def __iter__(self) -> Iterator[np.ndarray]:
        self.faults.clear()
        self.work = 0
        with _open_file(self._file) as file:
            if not (size := file.seek(0, io.SEEK_END)):
                raise Unreadable("the file is empty")
            file.seek(0)
            head = file.read(16)
            wav_end = _wav_end(file, head)
            with _open_container(file) as container:
                track = container.streams.audio[0]
                self.seconds = _header_length(container, track, size)
                self.has_video = any(map(_is_video, container.streams.video))
                yield from _resample(self._frames(container, track, has_no_length=wav_end == math.inf))
            # Only reached by callers that read to the end.
            # FFmpeg is silent if a WAV ends between two packets.
            is_cut = _is_last_page_cut(file, head, size) or (wav_end and size < wav_end < math.inf)
            if is_cut or self._position < (self.seconds or 0.0) - LENGTH_TOLERANCE:
                self._add_fault("incomplete")
            if _is_joined(file, head):
                self._add_fault("joined")

    def sound(self, longest: float = math.inf) -> Sound:
        """All of the audio, or just over `longest` seconds of a longer recording. Raises as iterating does."""
        blocks, samples = [np.zeros(0, np.float32)], 0
        for block in self:
            blocks.append(block)
            samples += len(block)
            if samples > (longest + 1) * RATE:
                break
        sound = np.concatenate(blocks)[: None if math.isinf(longest) else int((longest + 1) * RATE)]
        return Sound(sound, self.fault, self.has_video)

    def _add_fault(self, fault: Fault) -> None:
        self.faults.append((self._position, fault))

    def _frames(self, container: Any, track: Any, has_no_length: bool) -> Iterator[tuple[int, np.ndarray]]:
        """Each frame's rate and its (samples,) float32, with silence in place of lost frames."""
        track.codec_context.options = STRICT
        self._position = 0.0
        expected: float | None = None  # start of the next frame, by the file's timestamps
        packets = container.demux(track)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except Exception:  # PyAV raises errors of its own, ValueError and others
                return self._add_fault("incomplete")
            self.work += PACKET_WORK
            if (packet.is_corrupt and not has_no_length) or _is_frame_cut(packet, track):
                self._add_fault("incomplete")
            try:
                frames = packet.decode()
            except Exception:
                self._add_fault("incomplete")
                if expected is not None and packet.duration and packet.time_base:
                    lost = min(float(packet.duration * packet.time_base), MIN_GAP)
                    expected += lost
                    yield from self._silence(lost, track.rate)
                continue
            for frame in frames:
                start = expected if frame.pts is None or frame.time is None else frame.time
                gap = start - expected if start is not None and expected is not None else 0.0
                if frame.is_corrupt or gap > MIN_GAP:
                    self._add_fault("incomplete")
                if MIN_GAP < gap < MAX_GAP:
                    yield from self._silence(gap, track.rate)
                length = frame.samples / _check_rate(frame.sample_rate)
                expected = start + length if start is not None else None
                self._position += length
                self.work += frame.samples * frame.layout.nb_channels
                try:
                    sound = _mix_to_mono(frame)
                except Exception as error:  # as above; seen with 255 channels
                    raise Unreadable("no readable audio in this file") from error
                yield frame.sample_rate, sound

    def _silence(self, seconds: float, rate: int) -> Iterator[tuple[int, np.ndarray]]:
        """Silence in place of lost audio, so that the next audio keeps its time."""
        while seconds > 0:
            block = np.zeros(round(min(seconds, BLOCK_SECONDS) * rate), np.float32)
            seconds -= BLOCK_SECONDS
            self._position += len(block) / rate
            yield rate, block


def _open_file(file: str | Path | bytes | IO[bytes]) -> AbstractContextManager[IO[bytes]]:
    """A file to read; an open file stays open afterwards."""
    if isinstance(file, bytes):
        return io.BytesIO(file)
    return open(file, "rb") if isinstance(file, str | Path) else nullcontext(file)


def _open_container(file: IO[bytes]) -> Any:
    file.seek(0)
    try:
        container = av.open(file, mode="r", options=OPTIONS, metadata_errors="ignore")
    except Exception as error:  # as above; OSError too, since FFmpeg's errors subclass it
        raise Unreadable("no readable audio in this file") from error
    if not container.streams.audio or container.streams.audio[0].rate not in RATES:
        container.close()
        raise Unreadable("no readable audio in this file")
    return container


def _check_rate(rate: int) -> int:
    if rate not in RATES:
        raise Unreadable(f"{rate} Hz is not a sample rate of audio")
    return rate


def _header_length(container: Any, track: Any, size: int) -> float | None:
    """The seconds of audio according to the header; None if it states none or only an estimate."""
    if container.format.name in ESTIMATED_LENGTH:
        return None
    if track.duration is not None:
        seconds = float(track.duration * track.time_base)
        estimate = 8 * size / track.bit_rate if container.format.name == "mp3" and track.bit_rate else math.inf
        return None if abs(seconds - estimate) < 0.02 * seconds else seconds
    if container.duration is None or container.streams.video:  # the length may be the video's
        return None
    return float(container.duration / av.time_base)


def _is_video(stream: Any) -> bool:
    """False for a cover picture."""
    return not stream.disposition & av.stream.Disposition.attached_pic


def _is_joined(file: IO[bytes], head: bytes) -> bool:
    """Whether the file's head occurs a second time, as after `cat a.wav b.wav`."""
    if (offset := SINGLE_FORMATS.get(head[:4]) or SINGLE_FORMATS.get(head[4:8])) is None:
        return False
    file.seek(16)
    name, buffer = head[:16][offset : offset + 8], b""
    while chunk := file.read(1 << 20):  # a video of gigabytes need not fit into memory
        if name in (buffer := buffer[-7:] + chunk):
            return True
    return False


def _wav_end(file: IO[bytes], head: bytes) -> float | None:
    """The byte after the audio of a WAV file, by its header: infinity if it states no length. None for other files."""
    if head[:4] != b"RIFF" or head[8:12] != b"WAVE":
        return None
    file.seek(12)
    for _ in range(MAX_WAV_CHUNKS):
        header = file.read(8)
        name, size, start = header[:4], int.from_bytes(header[4:], "little"), file.tell()
        if name == b"data":
            # A program that writes to a pipe states zero or the maximum.
            return start + size if 0 < size < 0x7FFF0000 else math.inf
        file.seek(start + size + size % 2)
    return None


def _is_last_page_cut(file: IO[bytes], head: bytes, size: int) -> bool:
    """Whether an Ogg file ends within a page (RFC 3533, 6); FFmpeg drops such a page silently.

    An end between two pages is accepted: recordings of a stream have no page that is marked as the last.
    """
    if head[:4] != b"OggS":
        return False
    file.seek(max(0, size - 2 * MAX_OGG_PAGE))
    end = file.read()
    at = end.rfind(b"OggS")
    header = end[at : at + 27]
    return len(header) < 27 or at + 27 + header[26] + sum(end[at + 27 : at + 27 + header[26]]) > len(end)


def _is_frame_cut(packet: Any, track: Any) -> bool:
    """Whether an MP3 frame is incomplete; the decoder accepts half a frame."""
    header = bytes(packet)[:4] if track.codec_context.name in ("mp3", "mp3float") and packet.size >= 4 else b""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE6 != 0xE2:  # sync word, layer III
        return False
    is_mpeg_1 = header[1] & 0x18 == 0x18
    bitrate, padding = MP3_BITRATES[not is_mpeg_1][header[2] >> 4], header[2] >> 1 & 1
    frame_size = (144_000 if is_mpeg_1 else 72_000) * bitrate // track.rate + padding
    return packet.size < frame_size


def _mix_to_mono(frame: Any) -> np.ndarray:
    """(samples,) float32: the mean of a frame's channels. FFmpeg's own downmix makes stereo louder."""
    channels = frame.layout.nb_channels
    if frame.format.is_planar and channels > 2:  # PyAV 18 reads a plane too many, and crashes
        frame = av.AudioResampler(format="flt").resample(frame)[0]
    values = frame.to_ndarray()
    if values.dtype == np.uint8:
        values = values.astype(np.float32) / 128 - 1
    elif values.dtype.kind == "i":
        values = values.astype(np.float32) / -float(np.iinfo(values.dtype).min)
    if frame.format.is_packed:
        values = values.reshape(-1, channels).T
    return np.asarray(values.mean(axis=0) if channels > 1 else values[0], dtype=np.float32)


def _resample(frames: Iterator[tuple[int, np.ndarray]]) -> Iterator[np.ndarray]:
    """Frames with their rates, which may change, as blocks at 16 kHz."""
    pending, seconds, current_rate, resampler = list[np.ndarray](), 0.0, RATE, None

    def flush(last: bool) -> np.ndarray:
        sound = np.concatenate([np.zeros(0, np.float32), *pending])
        pending.clear()
        return np.asarray(resampler.resample_chunk(sound, last=last)) if resampler else sound

    for rate, sound in frames:
        if rate != current_rate:
            yield flush(last=True)
            resampler = None if rate == RATE else soxr.ResampleStream(rate, RATE, 1, dtype="float32")
            current_rate = rate
        pending.append(sound)
        seconds += len(sound) / rate
        if seconds >= BLOCK_SECONDS:
            yield flush(last=False)
            seconds = 0.0
    yield flush(last=True)
