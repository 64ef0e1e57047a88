"""Make the embedded sample: everyday Swedish sentences spoken by espeak-ng voices.

    python flows/sample/make.py [FOLDER]

writes FOLDER/{train,validation,test}/metadata.csv and a 16 kHz Ogg Opus file per clip, in the audiofolder layout that
`[corpus] source = "folder"` reads. Needs espeak-ng; version 1.51 made the committed files. The output is deterministic.

No two splits share a sentence or a voice, so validation and test measure new sentences by new speakers.
"""

from __future__ import annotations

import csv
import io
import random
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import av
import numpy as np
import soundfile
import soxr

RATE = 16_000
SHORTEST = 1.5  # seconds
SEED = 20_26
BITRATE = 15_500  # of Opus in its speech mode, with frames of 60 ms

# espeak-ng's `sv+VARIANT` voices, without robots, whispers and jokes. Variants of one family (linda and aunty share
# their formants) are in the same split.
VOICES = {
    "train": """Alex Alicia Andy Annie Denis Diogo Gene Gene2 Hugo Jacky Lee Marco Mike
        RicishayMax RicishayMax2 RicishayMax3 anika announcer benjamin boris caleb david ed edward
        edward2 f1 f2 f5 grandma grandpa gustave iven iven2 iven3 iven4 john m1 m2 m3 m4 m6 m8
        marcelo max michel miguel norbert paul pedro quincy rob robert sandro shelby steph steph2
        steph3 travis""".split(),
    "validation": "Andrea Henrique antonio f3 m5 victor".split(),
    "test": "Mario Michael adam aunty f4 linda m7 pablo zac".split(),
}
CLIPS = {"train": 1_404, "validation": 120, "test": 216}

UNITS = "noll ett två tre fyra fem sex sju åtta nio tio elva tolv tretton fjorton femton".split()
UNITS += "sexton sjutton arton nitton".split()
TENS = "tjugo trettio fyrtio femtio sextio sjuttio åttio nittio".split()
CITIES = "Stockholm Göteborg Malmö Uppsala Umeå Luleå Örebro Kiruna Lund Visby Gävle Borås".split()
DAYS = "måndag tisdag onsdag torsdag fredag lördag söndag".split()
PEOPLE = ["min bror", "min syster", "min mamma", "min pappa", "Anna", "Erik", "Åsa", "Björn"]
WEATHER = "soligt molnigt kallt varmt blåsigt".split()
WHEN = ["i dag", "i morgon", "i kväll", "i natt"]
GOODS = "äpplen ägg böcker ljus päron biljetter koppar".split()


def number(n: int) -> str:
    """Swedish words of 0 to 99.

    >>> number(7), number(40), number(93)
    ('sju', 'fyrtio', 'nittiotre')
    """
    if n < 20:
        return UNITS[n]
    return TENS[n // 10 - 2] + (UNITS[n % 10] if n % 10 else "")


def sentence(choose: random.Random) -> str:
    """One everyday sentence with a number, a time, a place or the weather in it."""
    pick = choose.choice
    hour, few, many = number(choose.randint(1, 12)), number(choose.randint(2, 12)), number(choose.randint(13, 99))
    city, other = choose.sample(CITIES, 2)
    when, day, person, goods = pick(WHEN), pick(DAYS), pick(PEOPLE), pick(GOODS)
    text = pick(
        [
            f"klockan är {pick(['halv', 'kvart i', 'kvart över', 'fem i', 'tio över'])} {hour}",
            f"det är {pick(['halv', 'kvart i', 'kvart över'])} {hour} nu",
            f"vi ses {pick(['klockan', 'vid', 'före', 'efter'])} {hour} på {day}",
            f"tåget till {city} går klockan {hour}",
            f"bussen från {city} kommer om {many} minuter",
            f"hur långt är det från {city} till {other}?",
            f"det {pick(['regnar', 'snöar', 'blåser'])} i {city} {when}",
            f"{when} blir det {pick(WEATHER)} i {city}",
            f"i {city} är det {many} grader {when}",
            f"det är {few} grader kallt i {city}",
            f"det kostar {many} kronor",
            f"jag köper {few} {goods} på {day}",
            f"vi har {many} {goods} hemma",
            f"{person} bor i {city}",
            f"{person} ska resa till {city} på {day}",
            f"{person} kommer hem klockan {hour}",
            f"{person} är {many} år gammal",
            f"kan du ringa {person} klockan {hour}?",
            f"{pick(['öppna', 'stäng'])} {pick(['dörren', 'fönstret'])} {pick(['nu', 'i kväll', 'klockan ' + hour])}",
            f"på {day} blir det {pick(WEATHER)} och {many} grader",
        ]
    )
    return text[0].upper() + text[1:] + ("" if text.endswith("?") else ".")


@dataclass(frozen=True)
class Line:
    """The text and the voice of a clip."""

    split: str
    file_name: str
    text: str
    voice: str
    speed: int  # words per minute
    pitch: int  # espeak-ng's scale, 0 to 99


def script(seed: int = SEED) -> Iterator[Line]:
    """Every line of the corpus in order; sentences are unique over all splits."""
    choose, used = random.Random(seed), set[str]()
    for split, voices in VOICES.items():
        for number_ in range(CLIPS[split]):
            while (text := sentence(choose)) in used:
                pass
            used.add(text)
            voice = voices[number_ % len(voices)]
            yield Line(
                split=split,
                file_name=f"{split}_{number_:04d}_{voice.lower()}.ogg",
                text=text,
                voice=voice,
                speed=choose.randint(140, 200),
                pitch=choose.randint(35, 65),
            )


def speak(line: Line) -> np.ndarray:
    """(samples,) float32 at 16 kHz: the line with 0.1 s of silence around it, slower if it would be too short."""
    # fmt: off
    wav = subprocess.run(
        ["espeak-ng", "-v", f"sv+{line.voice}", "-s", str(line.speed), "-p", str(line.pitch), "--stdout", line.text],
        check=True, capture_output=True,
    ).stdout
    # fmt: on
    sound, rate = soundfile.read(io.BytesIO(_with_sizes(wav)), dtype="float32")
    sound = soxr.resample(sound, rate, RATE)
    loud = np.flatnonzero(np.abs(sound) > 0.01)
    margin = RATE // 10
    sound = sound[max(0, loud[0] - margin) : loud[-1] + margin]
    if len(sound) < SHORTEST * RATE:
        return speak(replace(line, speed=int(line.speed * 0.85)))
    return (sound * (0.5 / np.abs(sound).max())).astype(np.float32)


def encode(sound: np.ndarray) -> bytes:
    """Ogg Opus of (samples,) float32 at 16 kHz; deterministic."""
    file = io.BytesIO()
    with av.open(file, "w", format="ogg", options={"fflags": "+bitexact"}) as container:
        options = {"application": "voip", "frame_duration": "60"}
        stream = container.add_stream("libopus", rate=RATE, layout="mono", options=options)
        stream.bit_rate = BITRATE
        frame = av.AudioFrame.from_ndarray(sound[None], format="flt", layout="mono")
        frame.sample_rate = RATE
        resampler = av.AudioResampler("flt", "mono", RATE, frame_size=stream.codec_context.frame_size)
        for piece in (*resampler.resample(frame), *resampler.resample(None)):
            container.mux(stream.encode(piece))
        container.mux(stream.encode(None))
    return file.getvalue()


def _with_sizes(wav: bytes) -> bytes:
    """The WAV with correct sizes in its header: espeak-ng cannot seek in a pipe, and writes 2 GB."""
    size = len(wav)
    return wav[:4] + (size - 8).to_bytes(4, "little") + wav[8:40] + (size - 44).to_bytes(4, "little") + wav[44:]


def main(folder: Path) -> None:
    rows: dict[str, list[Line]] = {split: [] for split in VOICES}
    for line in script():
        rows[line.split].append(line)
    for split, lines in rows.items():
        (folder / split).mkdir(parents=True, exist_ok=True)
        with (folder / split / "metadata.csv").open("w", encoding="utf-8", newline="") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(["file_name", "transcription", "speaker_id"])
            for line in lines:
                sound = speak(line)
                (folder / split / line.file_name).write_bytes(encode(sound))
                table.writerow([line.file_name, line.text, line.voice])


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
