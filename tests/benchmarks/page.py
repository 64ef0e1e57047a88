"""The page in a browser: how soon a text is there, and what an hour of it takes.

    python tests/benchmarks/page.py [--release released/latest] [--rounds 5]

Chromium gives the page a clip of 3 s, a recording of ten minutes and one of an hour, made of the sample's test clips.
A time is from the moment the file is chosen, its upload counted, until the text of the clip, the first sentence of the
ten minutes, or the whole hour stands on the page; medians of `--rounds`, and a single one for the hour. `grown_mb` is
what the page's own process holds more after the hour than before it.

Left out: a network between the two, other browsers, others who use the server.
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
from visit import Visitor, serve, visit  # noqa: E402

HOUR = 3_590  # seconds: a little less than the page takes
PATIENCE = 600_000  # milliseconds


def main() -> None:
    parser = argparse.ArgumentParser(description="The page in a browser.")
    parser.add_argument("--release", type=Path, default=Path("released/latest"))
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    clips = serving.clips()
    with tempfile.TemporaryDirectory() as scratch, serve(asked.release.resolve()) as url, visit(url) as seen:
        seen.page.set_default_timeout(PATIENCE)
        clip, minutes, hour = (made(Path(scratch, f"{seconds}.flac"), clips, seconds) for seconds in (3, 600, HOUR))
        told = {
            "clip_s": statistics.median(took(seen, clip, ".foot") for _ in range(asked.rounds)),
            "first_text_s": statistics.median(took(seen, minutes, "li") for _ in range(asked.rounds)),
        }
        before = held()
        told["hour_s"] = took(seen, hour, ".foot")
        seen.page.wait_for_timeout(2_000)
        told["grown_mb"] = held() - before
        told["words"] = float(seen.page.locator("#result li p [data-at]").count())
    told = {name: round(value, 2) for name, value in told.items()}
    for name, value in told.items():
        print(f"{name:14s} {value:10.2f}")
    machine.tell(told)


def made(file: Path, clips: list[np.ndarray], seconds: int) -> Path:
    """A recording of that length: the clips one after the other, as often as it takes."""
    sound = np.concatenate(clips)
    soundfile.write(file, np.resize(sound, seconds * serving.RATE), serving.RATE)
    return file


def took(seen: Visitor, file: Path, until: str) -> float:
    """Seconds from the choice of a file until that is in its text."""
    seen.page.reload()
    seen.page.evaluate("localStorage.clear()")
    field = seen.page.locator("#files input[type=file]")
    field.wait_for(state="attached")
    began = time.monotonic()
    field.set_input_files(file)
    seen.page.locator(f"#result .paper {until}").first.wait_for()
    return time.monotonic() - began


def held() -> float:
    """Megabytes that the largest page of our browser holds."""
    pages = [one for one in psutil.Process().children(recursive=True) if "--type=renderer" in one.cmdline()]
    return max(one.memory_info().rss for one in pages) / 1e6


if __name__ == "__main__":
    main()
