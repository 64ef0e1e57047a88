"""The cards as Metaflow writes them, in a browser: on a desktop and a phone, in light and dark, live and finished."""

import json
import os
import pickle
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from asr import cards
from asr.cards import charts, page
from asr.settings import Settings

CHROMIUM = Path("/usr/bin/chromium")
HOSTILE = "<script>window.hacked = 1</script><img src=x onerror=window.hacked=2>\"'&"
MAX_BYTES = 3_000_000
CLIPPED = """() => [...document.querySelectorAll(".card *")].filter((element) => {
  const [{ right }, room] = [element, element.closest("section") ?? document.body]
    .map((box) => box.getBoundingClientRect());
  const cut = getComputedStyle(element).overflowX !== "visible" && element.scrollWidth > element.clientWidth + 1;
  return cut || right > Math.min(room.right, innerWidth) + 1;
}).map((element) => `${element.tagName} ${element.textContent}`.slice(0, 99))"""
UNEVEN = """() => [...document.querySelectorAll(".stack")].map((stack) => {
  const ends = [...stack.children].map((column) => column.lastElementChild.getBoundingClientRect().bottom);
  return Math.max(...ends) - Math.min(...ends);
})"""
FLOW = """
import pickle, time
from pathlib import Path
from asr import cards
from metaflow import FlowSpec, card, current, step

def times():
    return {file: file.stat().st_mtime_ns for file in Path().rglob(f"{cards.LIVE}-*")}

class Cards(FlowSpec):
DECORATORS
    @step
    def start(self):
        for name, make, arguments in pickle.loads(Path("inputs.pkl").read_bytes()):
            current.card[name].append(getattr(cards, make)(*arguments))
        self.next(self.follow)

    @card(type=cards.LIVE, refresh_interval=0)
    @step
    def follow(self):
        cards.page.REFRESH_SECONDS = 0
        live = cards.Live(current.card, pickle.loads(Path("run_info.pkl").read_bytes()), cards.train)
        for arguments in pickle.loads(Path("statuses.pkl").read_bytes()):
            before = times()
            live(*arguments)
            for _ in range(100):  # Metaflow drops an update that comes before the last one is written
                time.sleep(0.1)
                if times() != before:
                    break
            time.sleep(1)
        self.next(self.end)

    @step
    def end(self):
        pass

if __name__ == "__main__":
    Cards()
"""


def luminance(colour):
    colour = colour if len(colour) == 7 else "#" + "".join(2 * digit for digit in colour[1:])
    parts = np.array([int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)])
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("dark", [False, True])
def test_colours_have_enough_contrast_in_light_and_in_dark(dark):
    pairs = re.findall(r"--(\w+): light-dark\((#\w+), (#\w+)\)", page.STYLE)
    light = {name: luminance(both[dark]) for name, *both in pairs}

    def contrast(name, background):
        low, high = sorted((light[name], light[background]))
        return (high + 0.05) / (low + 0.05)

    for background in ("panel", "paper"):
        assert min(contrast(name, background) for name in ("ink", "quiet", "warn")) >= 4.5
    assert min(contrast(name, "panel") for name in (*charts.SPLITS, "plain")) >= 3


@dataclass(frozen=True)
class Visit:
    """What a visitor saw of a card."""

    text: str
    errors: list[str]  # of the console
    foreign: list[str]  # requests for anything that is not in the file
    overflow: int  # pixels by which the page is wider than the window
    clipped: list[str]  # elements that are cut off, or extend beyond their panel or the window
    uneven: list[float]  # pixels by which the ends of the columns of panels differ
    background: str  # the page's colour
    marks: int  # bars and points
    seconds: list[float]  # of the sounds
    hacked: bool  # a text of the corpus was run as code
    tooltip: str  # the text when the pointer is on the first mark


@pytest.fixture(scope="module")
def inputs(run_info, make_corpus, make_evaluation, make_search, make_publication):
    """(name, step, arguments) of every card."""
    clips, rejected, summary, _, examples = make_corpus()
    empty = summary | {"found": 9, "kept": 0, "hours": 0.0, "speakers_crossing": None}
    evaluation, settings = make_evaluation()
    evaluation.report.update(_languages(4))
    cards_of_steps = [
        ("corpus", "collect", make_corpus()),
        ("corpus-hostile", "collect", make_corpus(label=HOSTILE)),
        ("corpus-empty", "collect", (clips.head(0), rejected, empty, 0, [])),
        ("shard", "preprocess", (clips, rejected, examples[:3])),
        ("broken", "collect", (None, None, None, None, None)),
        ("search", "select", make_search()),
        ("search-alone", "select", make_search(1)),
        ("search-large", "select", make_search(24)),
        ("test", "evaluate", make_evaluation()),
        ("test-hostile", "evaluate", make_evaluation(label=HOSTILE)),
        ("test-languages", "evaluate", (evaluation, settings)),
        ("test-perfect", "evaluate", make_evaluation(base=False, speakers=0, error_share=0.0)),
        ("release", "push", make_publication(pushed=True)),
        ("release-hostile", "push", make_publication([HOSTILE, "it is worse than its base"], HOSTILE, True)),
    ]
    return [(name, step, (run_info, *arguments)) for name, step, arguments in cards_of_steps]


def _languages(count):
    """The figures of retained languages and of averages in a report."""
    names = ["en", "de", "nl", "da"][:count]
    against = {"difference": 2.4, "low": 1.0, "high": 3.8, "p": 0.002}
    averages = [{"base_share": share, "wer": 5.0, "retained": dict.fromkeys(names, 12.3)} for share in (0.0, 0.1)]
    return {
        "retained_clips": dict.fromkeys(names, 40), "retained_wer": dict.fromkeys(names, 12.3),
        "retained_baseline_wer": dict.fromkeys(names, 9.9), "against_retained_baseline": dict.fromkeys(names, against),
        "averages": averages, "base_share": 0.1,
    }  # fmt: skip


@pytest.fixture(scope="module")
def flow_folder(run_info, inputs, make_status, make_outcome, tmp_path_factory):
    """The folder of a finished flow with all of these cards; `running.html` is its live card during the run."""
    folder = tmp_path_factory.mktemp("cards")
    decorators = "\n".join(f'    @card(type=cards.PAGE, id="{name.replace("-", "_")}")' for name, *_ in inputs)
    (folder / "flow.py").write_text(FLOW.replace("DECORATORS", decorators), encoding="utf-8")
    flow_inputs = [(name.replace("-", "_"), step, arguments) for name, step, arguments in inputs]
    (folder / "inputs.pkl").write_bytes(pickle.dumps(flow_inputs))
    (folder / "run_info.pkl").write_bytes(pickle.dumps(run_info))
    trial = make_outcome(2, 8.0).trial
    steps = ((20, ""), (500, ""), (1000, "finished"))
    (folder / "statuses.pkl").write_bytes(
        pickle.dumps([(trial, make_status(*arguments), Settings()) for arguments in steps])
    )
    flows = str(Path(cards.__file__).parents[2])
    environment = os.environ | {
        "PYTHONPATH": flows,
        "METAFLOW_USER": "tests",
        "METAFLOW_DATASTORE_SYSROOT_LOCAL": str(folder),
    }
    command = [sys.executable, "flow.py", "--no-pylint", "run"]
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log) as process,
    ):
        while process.poll() is None:
            for page in folder.rglob(f"{cards.LIVE}-*.html"):
                if "Time left" in (text := page.read_text(encoding="utf-8")):
                    (folder / "running.html").write_text(text, encoding="utf-8")
            time.sleep(0.5)
    assert process.returncode == 0, (folder / "log").read_text()
    return folder


@pytest.fixture(scope="module")
def files(flow_folder, inputs):
    """{name: file}, as Metaflow writes them."""
    pages = {name: next(flow_folder.rglob(f"{cards.PAGE}-{name.replace('-', '_')}-*.html")) for name, *_ in inputs}
    return pages | {"trial": next(flow_folder.rglob(f"{cards.LIVE}-*.html"))}


@pytest.fixture(scope="module")
def visits(files):
    """{(card, width, scheme): what a visitor saw}."""
    if not CHROMIUM.exists():
        pytest.skip("Chromium is not installed")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        return {
            (name, width, scheme): visit(browser, file, width, scheme)
            for name, file in files.items()
            for width, scheme in ((390, "dark"), (1100, "light"))
        }


def visit(browser, file, width, scheme):
    errors, foreign = [], []
    page = browser.new_page(viewport={"width": width, "height": 844}, color_scheme=scheme)
    page.on("console", lambda line: errors.append(line.text) if line.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: request.url.startswith(("file:", "data:")) or foreign.append(request.url))
    page.goto(file.as_uri())
    page.wait_for_function("[...document.querySelectorAll('audio')].every(sound => sound.readyState)")
    marks = page.locator("svg :is([aria-roledescription=bar], [aria-roledescription=point])")
    if marks.count():
        marks.first.hover(force=True)  # another mark may cover it
    view = Visit(
        text=page.locator("main").inner_text(),
        errors=errors,
        foreign=foreign,
        overflow=page.evaluate("document.documentElement.scrollWidth - innerWidth"),
        clipped=page.evaluate(CLIPPED),
        uneven=page.evaluate(UNEVEN),
        background=page.evaluate("getComputedStyle(document.documentElement).backgroundColor"),
        marks=marks.count(),
        seconds=page.evaluate("[...document.querySelectorAll('audio')].map(sound => sound.duration)"),
        hacked=page.evaluate("'hacked' in window"),
        tooltip=page.locator(".tip").inner_text(),
    )
    page.close()
    return view


NAMES = [
    "corpus", "corpus-hostile", "corpus-empty", "shard", "broken", "search", "search-alone", "search-large", "test",
    "test-hostile", "test-languages", "test-perfect", "release", "release-hostile", "trial",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_card_opens_without_an_error_a_request_or_an_overflow(visits, name):
    for (card, width, scheme), view in visits.items():
        if card == name:
            assert not view.errors, (width, scheme)
            assert not view.foreign, (width, scheme)
            assert view.overflow <= 0, (width, scheme)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_on_a_card_is_cut_off_or_extends_beyond_its_panel(visits, name):
    for width, scheme in ((390, "dark"), (1100, "light")):
        assert not visits[name, width, scheme].clipped, (width, scheme)


@pytest.mark.parametrize("name", NAMES)
def test_columns_of_panels_end_at_the_same_height(visits, name):
    assert all(pixels < 1 for pixels in visits[name, 1100, "light"].uneven)


@pytest.mark.parametrize("name", NAMES)
def test_a_card_names_its_profile_and_the_time_of_its_run(visits, name):
    for (card, *_), view in visits.items():
        if card == name:
            assert view.text.startswith("Profile swedish-night · 27 November 2026, 23:18 UTC")


@pytest.mark.parametrize("name", NAMES)
def test_every_chart_has_its_axes(files, name):
    for chart in re.findall(r"<svg.*?</svg>", files[name].read_text(encoding="utf-8"), re.DOTALL):
        assert re.search(r'role-axis-label"', chart)


def test_cards_follow_the_colour_scheme_of_the_browser(visits):
    backgrounds = {
        scheme: visits["corpus", width, scheme].background for width, scheme in ((1100, "light"), (390, "dark"))
    }
    assert backgrounds == {"light": "rgb(246, 247, 249)", "dark": "rgb(13, 17, 23)"}


@pytest.mark.parametrize(
    ("name", "min_marks", "sounds"),
    [
        ("corpus", 60, 6), ("corpus-hostile", 40, 6), ("shard", 2, 3), ("corpus-empty", 2, 0), ("broken", 0, 0),
        ("search", 15, 0), ("search-alone", 2, 0), ("search-large", 60, 0), ("trial", 5, 0), ("test", 25, 9),
        ("test-hostile", 6, 9), ("test-perfect", 6, 0), ("release", 0, 0),
    ],
)  # fmt: skip
def test_charts_are_drawn_and_clips_can_be_played(visits, name, min_marks, sounds):
    view = visits[name, 1100, "light"]
    assert view.marks >= min_marks
    assert len(view.seconds) == sounds
    assert all(seconds > 0.4 for seconds in view.seconds)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("corpus", r"(common_voice|fleurs), train: \d+ min"),
        ("test", r"this model: \d+\.\d %, \d+\.\d to \d+\.\d"),
        ("search", r"trial \d: \d+\.\d\d %, \w+"),
        ("trial", r"step 200: \d+\.\d %, \d+\.\d to \d+\.\d"),
    ],
)
def test_a_mark_shows_its_figures_under_the_pointer(visits, name, expected):
    assert re.fullmatch(expected, visits[name, 1100, "light"].tooltip)


def test_hostile_text_is_shown_and_not_run(visits):
    for (name, *_), view in visits.items():
        assert not view.hacked
        assert (HOSTILE in view.text) == ("hostile" in name)


def test_a_card_that_failed_says_why(visits):
    assert "could not be drawn" in visits["broken", 390, "dark"].text


@pytest.mark.parametrize("name", NAMES)
def test_a_card_is_small_enough_for_a_slow_connection(files, name):
    assert files[name].stat().st_size < MAX_BYTES


def test_an_open_card_of_a_running_step_is_updated(flow_folder):
    """A viewer reads the page and its updates, and calls the page's function if their tokens agree."""
    if not CHROMIUM.exists():
        pytest.skip("Chromium is not installed")
    from playwright.sync_api import sync_playwright

    (update_file,) = flow_folder.rglob(f"runtime/{cards.LIVE}-*.json")
    update = json.loads(update_file.read_text(encoding="utf-8"))
    with sync_playwright() as playwright:
        page = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"]).new_page()
        page.goto((flow_folder / "running.html").as_uri())
        assert "Time left" in page.locator("main").inner_text()
        page.evaluate("update => { metaflow_card_update(update) }", update["data"])
        after = page.locator("main").inner_text()
        assert page.evaluate("METAFLOW_RELOAD_TOKEN") == "never"
    assert after.startswith("Profile swedish-night · 27 November 2026")
    assert "1,000\nof 1,000" in after
    assert "finished" in after
