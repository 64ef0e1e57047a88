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
from dataclasses import dataclass
from pathlib import Path

import soundfile

APP = Path(__file__).parents[2] / "space" / "app.py"
CHROMIUM = Path("/usr/bin/chromium")
QUIET = ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
SPEAKING = [
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
]
PATIENCE = 20_000  # milliseconds


@contextmanager
def serve(release: Path) -> Iterator[str]:
    """`python space/app.py` on a free port; gives its URL."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = os.environ | {"MODEL_ID": str(release), "GRADIO_SERVER_PORT": str(port), "HF_HUB_OFFLINE": "1"}
    env.pop("GRADIO_SERVER_NAME", None)
    process = subprocess.Popen([sys.executable, str(APP)], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            if process.poll() is not None:
                raise RuntimeError(f"the Space ended: {process.communicate()[0].decode()}")
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
        process.communicate(timeout=10)


@dataclass(frozen=True)
class Visit:
    """What a visitor saw."""

    text: str  # in the text field
    message: str  # an error that popped up
    about: str  # the model
    errors: list[str]  # of the console, and answers that failed
    foreign: list[str]  # requests that left for elsewhere
    overflow: int  # pixels by which the page is wider than the window


def visit(url: str, sound: Path, shot: Path, *, speak: bool = False, width: int = 1100, dark: bool = False) -> Visit:
    """Upload a sound, or speak it (a 48 kHz WAV) into the microphone; wait for the text or an error.

    Screenshots go to `shot`-empty.png and `shot`-done.png.
    """
    from playwright.sync_api import sync_playwright

    flags = QUIET + ([*SPEAKING, f"--use-file-for-fake-audio-capture={sound}"] if speak else [])
    errors: list[str] = []
    foreign: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=flags)
        page = browser.new_page(
            viewport={"width": width, "height": 844},
            color_scheme="dark" if dark else "light",
            permissions=["microphone"] if speak else [],
        )
        page.set_default_timeout(PATIENCE)
        page.on("console", lambda line: errors.append(line.text) if line.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("response", lambda answer: errors.append(f"{answer.status} {answer.url}") if not answer.ok else None)
        ours = (f"{url}/", "data:", "blob:")
        page.on("request", lambda asked: None if asked.url.startswith(ours) else foreign.append(asked.url))
        page.goto(url)
        page.locator("#text textarea").wait_for()
        page.screenshot(path=f"{shot}-empty.png", full_page=True)
        if speak:
            page.get_by_role("button", name="Record", exact=True).click()
            page.wait_for_timeout(1000 * soundfile.info(sound).duration + 500)
            page.screenshot(path=f"{shot}-recording.png", full_page=True)
            page.get_by_role("button", name="Stop", exact=True).first.click()
        else:
            page.get_by_role("button", name="Upload file").click()
            page.locator("#sound input[type=file]").set_input_files(sound)
        page.wait_for_function(
            "document.querySelector('#text textarea').value || document.querySelector('.toast-body')"
        )
        toast = page.locator(".toast-body")
        message = toast.inner_text() if toast.count() else ""
        page.wait_for_timeout(500)  # for the waveform to be drawn
        page.screenshot(path=f"{shot}-done.png", full_page=True)
        seen = Visit(
            text=page.locator("#text textarea").input_value(),
            message=message,
            about=page.locator("#model").inner_text(),
            errors=errors,
            foreign=foreign,
            overflow=page.evaluate("document.documentElement.scrollWidth - window.innerWidth"),
        )
        browser.close()
    return seen
