"""A file gives the same samples at every entry point, and an incomplete one is never accepted as complete."""

import io
import subprocess
import sys
from pathlib import Path

import audio_files
import av
import pytest
from asr.corpus import clips
from asr.corpus.clips import Clip
from asr.corpus.rows import Row
from asr.settings import Settings
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from bad_files import odd_audio
from bad_files.odd_audio import ODD, Odd

FLOWS = Path(clips.__file__).parents[2]
FRAME = 0.1  # seconds, a little more than the longest frame of a codec here
WIDE_LIMITS = Settings.model_validate({"corpus": {"max_seconds": 30.0, "max_clipped": 1.0}})


def validate(odd):
    [result] = clips.validate_clips([Row(odd.name, "train", "hej", None, odd.content)], WIDE_LIMITS)
    return result


def ffmpeg_seconds(content):
    """The seconds that FFmpeg decodes with default options, skipping errors."""
    seconds = 0.0
    with av.open(io.BytesIO(content), metadata_errors="ignore") as file:
        packets = file.demux(file.streams.audio[0])
        while True:
            try:
                seconds += sum(frame.samples / frame.sample_rate for frame in next(packets).decode())
            except StopIteration:
                return seconds
            except ValueError:  # FFmpeg's "invalid data"
                continue


@pytest.fixture
def file(tmp_path, request):
    path = tmp_path / request.param.name
    path.write_bytes(request.param.content)
    return path, request.param


@pytest.mark.parametrize("file", ODD, ids=lambda odd: odd.name, indirect=True)
def test_a_file_has_the_same_samples_at_every_entry_point(file):
    path, odd = file
    results = {}
    for name, read, errors in (
        ("terminal", audio_files.read_file, ValueError),
        ("page", audio_files.read_upload, audio_files.AudioFileError),
    ):
        try:
            results[name] = read(path)
        except errors:
            results[name] = None
    samples = {0 if result is None else len(result.samples) for result in results.values()}
    assert len(samples) == 1
    assert samples.pop() / 16_000 == pytest.approx(odd.seconds, abs=FRAME + 0.05 * odd.seconds)
    result = validate(odd)
    assert getattr(result, "reason", None) == odd.reason
    for sound in filter(None, results.values()):
        assert (clips.FAULT_REASONS[sound.fault] if sound.fault else None) == odd.reason
        if isinstance(result, Clip):
            assert result.seconds == round(len(sound.samples) / 16_000, 3)


def test_odd_files_write_nothing_to_the_log(tmp_path):
    """PyAV and FFmpeg print warnings and even tracebacks about broken files."""
    for odd in ODD:
        (tmp_path / odd.name).write_bytes(odd.content)
    code = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from asr.corpus import clips
from asr.corpus.rows import Row
from asr.settings import Settings
rows = [Row(path.name, "train", "hej", None, path) for path in Path(sys.argv[2]).iterdir()]
print(len(list(clips.validate_clips(rows, Settings()))))
"""
    process = subprocess.run([sys.executable, "-c", code, str(FLOWS), str(tmp_path)], capture_output=True, text=True)
    assert (process.stdout, process.stderr) == (f"{len(ODD)}\n", "")


CODECS = {
    "wav": odd_audio.wav(),
    "mp3": odd_audio.mp3,
    "ogg": odd_audio.opus,
    "flac": odd_audio.flac,
    "m4a": odd_audio.fast_m4a,
}
part = st.tuples(st.sampled_from(sorted(CODECS)), st.floats(0, 1), st.floats(0, 1))


@settings(max_examples=150)
@given(st.lists(part, min_size=1, max_size=3), st.sampled_from(sorted(CODECS)))
def test_an_accepted_file_has_the_duration_that_ffmpeg_decodes(parts, suffix):
    """For files that are concatenated, cut, spliced and mislabelled."""
    pieces = []
    for codec, first, second in parts:
        encoded = CODECS[codec]
        pieces.append(encoded[int(min(first, second) * len(encoded)) : int(max(first, second) * len(encoded))])
    content = b"".join(pieces)
    result = validate(Odd(f"a.{suffix}", content, 0))
    if isinstance(result, Clip):
        assert result.seconds == pytest.approx(ffmpeg_seconds(content), rel=0.02)


def packet_starts(content):
    """The positions in bytes at which the packets of a file start; of Ogg, its pages."""
    with av.open(io.BytesIO(content)) as file:
        return sorted({packet.pos for packet in file.demux(file.streams.audio[0]) if packet.pos})


PACKET_STARTS = {codec: packet_starts(content) for codec, content in CODECS.items()}


@settings(max_examples=100)
@given(st.sampled_from(sorted(CODECS)), st.floats(0.05, 0.95), st.booleans())
def test_a_file_without_its_end_is_never_accepted(codec, share, between_packets):
    content, starts = CODECS[codec], PACKET_STARTS[codec]
    end = int(share * len(content))
    if codec == "ogg":  # a valid recording of a stream may end between two pages
        assume(not any(0 <= end - start < len("OggS") for start in starts))
    elif between_packets:
        end = max((start for start in starts if start <= end), default=end)
    assert not isinstance(validate(Odd("a", content[:end], 0)), Clip)
