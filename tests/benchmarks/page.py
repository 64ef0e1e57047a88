"""The page in a browser: the time until a text is shown, and the memory for an hour of audio.

    python tests/benchmarks/page.py [--release released/latest] [--rounds 5]

Chromium uploads a clip of 3 s, a recording of ten minutes and one of an hour, made of the sample's test clips. Times
are from the choice of the file, including the upload, until the page shows the text of the clip, the first sentence of
the ten minutes, or the whole hour; medians of `--rounds`, and a single time for the hour. `grown_mb` is the growth of
the renderer process's memory by the hour.

Not measured: a network in between, other browsers, other users of the server.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "space"), str(HERE.parents[1] / "flows")]

import machine  # noqa: E402
import numpy as np  # noqa: E402
import psutil  # noqa: E402
import serving  # noqa: E402
import soundfile  # noqa: E402
from browser import Browsers, Visitor, serve  # noqa: E402

HOUR = 3_590  # seconds: a little less than the page accepts
TIMEOUT = 600_000  # milliseconds


def main() -> None:
    parser = argparse.ArgumentParser(description="The page in a browser.")
    parser.add_argument("--release", type=Path, default=Path("released/latest"))
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    clips = serving.clips()
    with (
        tempfile.TemporaryDirectory() as scratch,
        serve(arguments.release.resolve()) as url,
        Browsers() as browsers,
        browsers.visit(url) as visitor,
    ):
        visitor.page.set_default_timeout(TIMEOUT)
        folder = Path(scratch)
        clip, minutes, hour = (
            write_recording(folder / f"{seconds}.flac", clips, seconds) for seconds in (3, 600, HOUR)
        )
        results = {
            "clip_s": statistics.median(seconds_until(visitor, clip, ".foot") for _ in range(arguments.rounds)),
            "first_text_s": statistics.median(seconds_until(visitor, minutes, "li") for _ in range(arguments.rounds)),
        }
        before = page_memory()
        results["hour_s"] = seconds_until(visitor, hour, ".foot")
        visitor.page.wait_for_timeout(2_000)
        results["grown_mb"] = page_memory() - before
        results["words"] = float(visitor.page.locator("#result li p [data-at]").count())
    results = {name: round(value, 2) for name, value in results.items()}
    for name, value in results.items():
        print(f"{name:14s} {value:10.2f}")
    machine.print_result(results)


def write_recording(file: Path, clips: list[np.ndarray], seconds: int) -> Path:
    """Write a recording of that length, of the clips one after the other, repeated as needed."""
    sound = np.concatenate(clips)
    soundfile.write(file, np.resize(sound, seconds * serving.RATE), serving.RATE)
    return file


def seconds_until(visitor: Visitor, file: Path, selector: str) -> float:
    """Seconds from the choice of a file until its text holds an element of `selector`."""
    visitor.page.reload()
    visitor.page.evaluate("localStorage.clear()")
    field = visitor.page.locator("#files input[type=file]")
    field.wait_for(state="attached")
    began = time.monotonic()
    field.set_input_files(file)
    visitor.page.locator(f"#result .paper {selector}").first.wait_for()
    return time.monotonic() - began


def page_memory() -> float:
    """Megabytes of the browser's largest renderer process."""
    children = psutil.Process().children(recursive=True)
    renderers = [child for child in children if "--type=renderer" in child.cmdline()]
    return max(renderer.memory_info().rss for renderer in renderers) / 1e6


if __name__ == "__main__":
    main()
