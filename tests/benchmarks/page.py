"""The page in a browser: the time until a text is shown, and the memory that an hour of it takes.

    python tests/benchmarks/page.py [--release released/latest] [--rounds 5]

Chromium gives the page a clip of 3 s, a recording of ten minutes and one of an hour, made of the sample's test clips.
A time is from the moment the file is chosen, its upload counted, until the text of the clip, the first sentence of the
ten minutes, or the whole hour stands on the page; medians of `--rounds`, and a single one for the hour. `grown_mb` is
the growth of the renderer process's memory by the hour.

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
from browser import Visitor, serve, visit  # noqa: E402

HOUR = 3_590  # seconds: a little less than the page takes
PATIENCE = 600_000  # milliseconds


def main() -> None:
    parser = argparse.ArgumentParser(description="The page in a browser.")
    parser.add_argument("--release", type=Path, default=Path("released/latest"))
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    clips = serving.clips()
    with tempfile.TemporaryDirectory() as scratch, serve(arguments.release.resolve()) as url, visit(url) as seen:
        seen.page.set_default_timeout(PATIENCE)
        folder = Path(scratch)
        clip, minutes, hour = (
            write_recording(folder / f"{seconds}.flac", clips, seconds) for seconds in (3, 600, HOUR)
        )
        results = {
            "clip_s": statistics.median(seconds_until(seen, clip, ".foot") for _ in range(arguments.rounds)),
            "first_text_s": statistics.median(seconds_until(seen, minutes, "li") for _ in range(arguments.rounds)),
        }
        before = page_memory()
        results["hour_s"] = seconds_until(seen, hour, ".foot")
        seen.page.wait_for_timeout(2_000)
        results["grown_mb"] = page_memory() - before
        results["words"] = float(seen.page.locator("#result li p [data-at]").count())
    results = {name: round(value, 2) for name, value in results.items()}
    for name, value in results.items():
        print(f"{name:14s} {value:10.2f}")
    machine.print_result(results)


def write_recording(file: Path, clips: list[np.ndarray], seconds: int) -> Path:
    """Write a recording of that length, of the clips one after the other, repeated as needed."""
    sound = np.concatenate(clips)
    soundfile.write(file, np.resize(sound, seconds * serving.RATE), serving.RATE)
    return file


def seconds_until(seen: Visitor, file: Path, until: str) -> float:
    """Seconds from the choice of a file until its text holds the element `until`."""
    seen.page.reload()
    seen.page.evaluate("localStorage.clear()")
    field = seen.page.locator("#files input[type=file]")
    field.wait_for(state="attached")
    began = time.monotonic()
    field.set_input_files(file)
    seen.page.locator(f"#result .paper {until}").first.wait_for()
    return time.monotonic() - began


def page_memory() -> float:
    """Megabytes of the browser's largest renderer process."""
    children = psutil.Process().children(recursive=True)
    renderers = [child for child in children if "--type=renderer" in child.cmdline()]
    return max(renderer.memory_info().rss for renderer in renderers) / 1e6


if __name__ == "__main__":
    main()
