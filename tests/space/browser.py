"""Start the Space as a user does and visit it with browsers: `serve` and `Browsers`, for any release folder."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

APP = Path(__file__).parents[2] / "space" / "app.py"
CHROMIUM = Path("/usr/bin/chromium")
FLAGS = ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
MICROPHONE_FLAGS = [
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
]
TIMEOUT_MS = 60_000  # longer than any pause of a busy machine
MAX_MEGABYTES = 3  # the upload limit of the Space in these tests
TABS = ("transcribe", "live", "teach", "about")


@contextmanager
def serve(release: Path, log: Path | None = None, **environment: str) -> Iterator[str]:
    """Run `python space/app.py` on a free port and give its URL. Its output goes to `log`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    env = os.environ | {"MODEL_ID": str(release), "GRADIO_SERVER_PORT": str(port), "HF_HUB_OFFLINE": "1"} | environment
    env.pop("GRADIO_SERVER_NAME", None)
    output = Path(log or os.devnull).open("w+b")  # noqa: SIM115
    process = subprocess.Popen([sys.executable, str(APP)], env=env, stdout=output, stderr=subprocess.STDOUT)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            if process.poll() is not None:
                output.seek(0)
                raise RuntimeError(f"the Space ended: {output.read().decode()}")
            try:
                urllib.request.urlopen(f"{url}/health", timeout=5).close()
                break
            except urllib.error.URLError:
                time.sleep(0.1)
        else:
            raise RuntimeError("the Space does not respond")
        yield url
    finally:
        process.terminate()
        process.wait(timeout=10)
        output.close()


@dataclass
class Visitor:
    """A browser with the page open, and its errors."""

    page: Any
    url: str
    errors: list[str] = field(default_factory=list)  # of the console, and failed responses
    foreign: list[str] = field(default_factory=list)  # URLs of requests to other hosts
    open_requests: list[str] = field(default_factory=list)  # URLs without a complete response

    @property
    def overflow(self) -> int:
        """Pixels by which the page is wider than the window."""
        return int(self.page.evaluate("document.documentElement.scrollWidth - window.innerWidth"))

    def tab(self, name: str) -> None:
        self.page.get_by_role("tab").nth(TABS.index(name)).click()

    def upload(self, *files: Path) -> None:
        """Upload files in the Transcribe tab, and wait until each has its text or its error."""
        self.page.locator("#files input[type=file]").set_input_files(files)
        try:
            self.page.locator("#result .paper:is(.wrong, :has(.foot))").nth(len(files) - 1).wait_for()
        except Exception as error:
            shown = [self.read(selector) for selector in ("#files", "#status", "#result")]
            raise AssertionError(f"no text: {shown}, {self.errors}, open: {self.open_requests}") from error

    def speak(self) -> None:
        """Start the Live tab's recording."""
        self.page.locator("#words [data-do=start]").click()

    def stop_speaking(self) -> int:
        """Stop recording and wait for the last words; return the samples received, which must be all recorded."""
        self.page.locator("#words [data-do=stop]").click()
        self.page.locator("#words [data-state=stopped]").wait_for()
        recorder = self.page.locator("#words .recorder")
        received, recorded = (int(recorder.get_attribute(f"data-{name}")) for name in ("taken", "samples"))
        assert received == recorded
        return received

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
        self.page.evaluate("window.cut = true; window.sockets.forEach((socket) => socket.close())")

    def restore(self) -> None:
        self.page.evaluate("window.cut = false")

    def record(self, selector: str, seconds: float) -> None:
        self.page.locator(f"{selector} .record-button").click()
        self.page.wait_for_timeout(1000 * seconds)

    def stop(self, selector: str) -> None:
        self.page.locator(f"{selector} .stop-button").first.click()

    def read(self, selector: str) -> str:
        return str(self.page.locator(selector).inner_text())

    def lines(self) -> list[str]:
        """The texts of the segments."""
        return list(self.page.locator("#result li p").all_inner_texts())

    def screenshot(self, file: Path) -> None:
        self.page.screenshot(path=file, full_page=True)


class Browsers:
    """Browsers that visits share, one for each microphone. A visit has its own storage; the clipboard is shared."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._browsers: dict[Path | None, Any] = {}

    def __enter__(self) -> Self:
        from playwright.sync_api import sync_playwright

        self._playwright = self._stack.enter_context(sync_playwright())
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @contextmanager
    def visit(
        self, url: str, *, microphone: Path | None = None, width: int = 1100, dark: bool = False, locale: str = "en-GB"
    ) -> Iterator[Visitor]:
        """Open the page; the microphone plays the 48 kHz WAV `microphone` in a loop."""
        with self._browser(microphone).new_context(
            viewport={"width": width, "height": 844},
            color_scheme="dark" if dark else "light",
            permissions=["clipboard-read", "clipboard-write", *["microphone"] * bool(microphone)],
            locale=locale,
        ) as context:
            page = context.new_page()
            page.set_default_timeout(TIMEOUT_MS)
            visitor = Visitor(page, url)
            page.on("console", lambda message: visitor.errors.append(message.text) if message.type == "error" else None)
            page.on("pageerror", lambda error: visitor.errors.append(str(error)))
            page.on(
                "response",
                lambda response: (
                    None
                    if response.ok or response.status == 304
                    else visitor.errors.append(f"{response.status} {response.url}")
                ),
            )
            own_prefixes = (f"{url}/", "data:", "blob:")
            page.on(
                "request",
                lambda request: None if request.url.startswith(own_prefixes) else visitor.foreign.append(request.url),
            )
            page.on("request", lambda request: visitor.open_requests.append(request.url))
            for end in ("requestfinished", "requestfailed"):
                page.on(end, lambda request: visitor.open_requests.remove(request.url))
            page.goto(url)
            page.locator("#files input[type=file]").wait_for(state="attached")
            yield visitor

    def _browser(self, microphone: Path | None) -> Any:
        browser = self._browsers.get(microphone)
        if not browser or not browser.is_connected():
            played = [*MICROPHONE_FLAGS, f"--use-file-for-fake-audio-capture={microphone}"] if microphone else []
            browser = self._playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS + played)
            self._browsers[microphone] = self._stack.enter_context(browser)
        return browser
