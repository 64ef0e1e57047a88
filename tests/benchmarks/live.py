"""Live transcription in a browser: lost audio, words that differ from those of the same audio as a file, and delay.

    python tests/benchmarks/live.py [--release released/latest] [--seconds 300] [--busy 1] [--drop 5]

Chromium opens the page, and its fake microphone speaks the sample's test clips with pauses of 0.3 to 3 s, while
`--busy` processes use a core each. Halfway, the connection is cut for `--drop` seconds. At the end the samples that
the browser recorded are compared with those that the server received, and the text with that of the same audio as a
file, as the share of the file's words that differ. A word's delay is measured from its end, by the engine's times for
its clip alone, until it first appears on the page, in the browser's time of recorded audio; it leaves out words during
the cut and the ten seconds after it.

Not measured: a network in between, other browsers, several speakers.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "space"), str(HERE.parents[1] / "flows")]

import machine  # noqa: E402
import serving  # noqa: E402
import soundfile  # noqa: E402
import soxr  # noqa: E402
import transcriber as engine  # noqa: E402
from asr.scoring import rates  # noqa: E402
from browser import Browsers, serve  # noqa: E402

POLL_SECONDS = 0.2  # between two readings of the page
RECOVERY_SECONDS = 10.0  # after a cut, in which words catch up
READ_WORDS = """() => {
  const root = document.querySelector('#words .recorder');
  return [+root.dataset.samples || 0, root.querySelector('.words').textContent];
}"""


@contextmanager
def busy(cores: int) -> Iterator[None]:
    """Keep the cores busy. Not forked: a child that holds Playwright's pipes would keep it from ending."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(cores)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()


def main() -> None:
    parser = argparse.ArgumentParser(description="Live in a browser.")
    parser.add_argument("--release", type=Path, default=Path("released/latest"))
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--busy", type=int, default=1)
    parser.add_argument("--drop", type=float, default=5.0)
    arguments = parser.parse_args()
    transcriber = engine.Transcriber(arguments.release)
    sound, words = serving.speech(transcriber, arguments.seconds)
    with tempfile.TemporaryDirectory() as scratch, serve(arguments.release.resolve()) as url:
        spoken = Path(scratch) / "spoken.wav"
        soundfile.write(spoken, soxr.resample(sound, serving.RATE, 48_000), 48_000, subtype="PCM_16")
        with Browsers() as browsers, browsers.visit(url, microphone=spoken) as visitor, busy(arguments.busy):
            visitor.allow_cuts()
            visitor.tab("live")
            visitor.speak()
            readings, rate, cut, began = list[tuple[float, list[str]]](), 0.0, (0.0, 0.0), time.monotonic()
            now = 0.0
            while now < len(sound) / serving.RATE:
                visitor.page.wait_for_timeout(1000 * POLL_SECONDS)
                samples, text = visitor.page.evaluate(READ_WORDS)
                rate = rate or visitor.page.evaluate("new AudioContext().sampleRate")
                now = samples / rate
                readings.append((now, text.split()))
                if arguments.drop and not cut[1] and now > len(sound) / serving.RATE / 2:
                    visitor.cut()
                    visitor.page.wait_for_timeout(1000 * arguments.drop)
                    visitor.restore()
                    cut = (now, now + arguments.drop + RECOVERY_SECONDS)
            visitor.page.set_default_timeout(60_000)
            received = visitor.stop_speaking()
            recorded, _ = visitor.page.evaluate(READ_WORDS)
            text = visitor.read("#words .words").split()
            seconds = time.monotonic() - began
    file_text = transcriber.transcribe(sound).text
    errors = rates.count_errors([file_text], [" ".join(text)], "basic", transcriber.language)[0]
    delays = serving.delays(words, readings)
    usual_delays = [delay for word, delay in delays.items() if not cut[0] - RECOVERY_SECONDS < words[word][2] < cut[1]]
    results = {
        "seconds": round(received / rate, 1),
        "samples_lost": recorded - received,
        "words": errors.words,
        "words_differ_percent": round(rates.wer([errors]), 2),
        "delay_s": round(statistics.median(usual_delays), 2),
        "delay_90_s": round(statistics.quantiles(usual_delays, n=10)[-1], 2),
        "took_s": round(seconds, 1),
    }
    for name, value in results.items():
        print(f"{name:22s} {value}")
    machine.print_result(results)


if __name__ == "__main__":
    main()
