"""Start the Space as a user does and visit it with a browser: `serve` and `visit`, for any release folder."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

APP = Path(__file__).parents[2] / "space" / "app.py"
CHROMIUM = Path("/usr/bin/chromium")
QUIET = ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
SPEAKING = [
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
]
PATIENCE = 20_000  # milliseconds
MEGABYTES = 3  # of a file, where the tests try the limit
TABS = ("transcribe", "live", "teach", "about")


@contextmanager
def serve(release: Path, log: Path | None = None, **environment: str) -> Iterator[str]:
    """Run `python space/app.py` on a free port and give its URL. Its output goes to `log`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = os.environ | {"MODEL_ID": str(release), "GRADIO_SERVER_PORT": str(port), "HF_HUB_OFFLINE": "1"} | environment
    env.pop("GRADIO_SERVER_NAME", None)
    printed = Path(log or os.devnull).open("w+b")  # noqa: SIM115
    process = subprocess.Popen([sys.executable, str(APP)], env=env, stdout=printed, stderr=subprocess.STDOUT)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            if process.poll() is not None:
                printed.seek(0)
                raise RuntimeError(f"the Space ended: {printed.read().decode()}")
            try:
                urllib.request.urlopen(f"{url}/health", timeout=5).close()
                break
            except urllib.error.URLError:
                time.sleep(0.1)
        else:
            raise RuntimeError("the Space does not answer")
        yield url
    finally:
        process.terminate()
        process.wait(timeout=10)
        printed.close()


@dataclass
class Visitor:
    """A browser with the page open, and its errors."""

    page: Any
    url: str
    errors: list[str] = field(default_factory=list)  # of the console, and answers that failed
    foreign: list[str] = field(default_factory=list)  # requests that left for elsewhere

    @property
    def overflow(self) -> int:
        """Pixels by which the page is wider than the window."""
        return int(self.page.evaluate("document.documentElement.scrollWidth - window.innerWidth"))

    def tab(self, name: str) -> None:
        self.page.get_by_role("tab").nth(TABS.index(name)).click()

    def upload(self, *files: Path) -> None:
        """Upload files in the Transcribe tab, and wait until each has its text or its error."""
        self.page.locator("#files input[type=file]").set_input_files(files)
        self.page.locator("#result .paper:is(.wrong, :has(.foot))").nth(len(files) - 1).wait_for()

    def speak(self) -> None:
        """Start the Live tab's recording."""
        self.page.locator("#words [data-do=start]").click()

    def stop_speaking(self) -> int:
        """Stop recording and wait for the last words; returns the samples received, which must be those recorded."""
        self.page.locator("#words [data-do=stop]").click()
        self.page.locator("#words [data-state=stopped]").wait_for()
        recorder = self.page.locator("#words .recorder")
        taken, recorded = (int(recorder.get_attribute(f"data-{what}")) for what in ("taken", "samples"))
        assert taken == recorded
        return taken

    def allow_cuts(self) -> None:
        """Make it possible to cut the page's later WebSockets."""
        self.page.evaluate("""() => {
          const Real = WebSocket;
          window.sockets = [];
          window.WebSocket = class extends Real {
            constructor(url) { super(window.cut ? `${url}/cut` : url); window.sockets.push(this); }
          };
        }""")

    def cut(self) -> None:
        """Close the WebSockets; none opens until `restore`."""
        self.page.evaluate("window.cut = true; window.sockets.forEach((one) => one.close())")

    def restore(self) -> None:
        self.page.evaluate("window.cut = false")

    def record(self, where: str, seconds: float) -> None:
        self.page.locator(f"{where} .record-button").click()
        self.page.wait_for_timeout(1000 * seconds)

    def stop(self, where: str) -> None:
        self.page.locator(f"{where} .stop-button").first.click()

    def read(self, where: str) -> str:
        return str(self.page.locator(where).inner_text())

    def lines(self) -> list[str]:
        """The texts of the segments."""
        return list(self.page.locator("#result li p").all_inner_texts())

    def shoot(self, file: Path) -> None:
        self.page.screenshot(path=file, full_page=True)


@contextmanager
def visit(
    url: str, *, speak: Path | None = None, width: int = 1100, dark: bool = False, locale: str = "en-GB"
) -> Iterator[Visitor]:
    """Open the page; the microphone speaks the 48 kHz WAV `speak`, again and again."""
    from playwright.sync_api import sync_playwright

    flags = QUIET + ([*SPEAKING, f"--use-file-for-fake-audio-capture={speak}"] if speak else [])
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=flags)
        page = browser.new_page(
            viewport={"width": width, "height": 844},
            color_scheme="dark" if dark else "light",
            permissions=["clipboard-read", "clipboard-write", *["microphone"] * bool(speak)],
            locale=locale,
        )
        page.set_default_timeout(PATIENCE)
        seen = Visitor(page, url)
        page.on("console", lambda line: seen.errors.append(line.text) if line.type == "error" else None)
        page.on("pageerror", lambda error: seen.errors.append(str(error)))
        page.on(
            "response",
            lambda got: None if got.ok or got.status == 304 else seen.errors.append(f"{got.status} {got.url}"),
        )
        ours = (f"{url}/", "data:", "blob:")
        page.on("request", lambda asked: None if asked.url.startswith(ours) else seen.foreign.append(asked.url))
        page.goto(url)
        page.locator("#files input[type=file]").wait_for(state="attached")
        yield seen
        browser.close()
