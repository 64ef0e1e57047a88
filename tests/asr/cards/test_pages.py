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
from asr import cards as made
from asr.cards import charts, page
from asr.settings import Settings

CHROMIUM = Path("/usr/bin/chromium")
HOSTILE = "<script>window.hacked = 1</script><img src=x onerror=window.hacked=2>\"'&"
MOST_BYTES = 3_000_000
BEYOND = """() => [...document.querySelectorAll(".card *")].filter((one) => {
  const [{ right }, room] = [one, one.closest("section") ?? document.body].map((of) => of.getBoundingClientRect());
  const cut = getComputedStyle(one).overflowX !== "visible" && one.scrollWidth > one.clientWidth + 1;
  return cut || right > Math.min(room.right, innerWidth) + 1;
}).map((one) => `${one.tagName} ${one.textContent}`.slice(0, 99))"""
RAGGED = """() => [...document.querySelectorAll(".stack")].map((stack) => {
  const ends = [...stack.children].map((column) => column.lastElementChild.getBoundingClientRect().bottom);
  return Math.max(...ends) - Math.min(...ends);
})"""
FLOW = """
import pickle, sys
from pathlib import Path
from asr import cards
from metaflow import FlowSpec, card, current, step

class Cards(FlowSpec):
DECORATORS
    @step
    def start(self):
        for name, make, given in pickle.loads(Path("given.pkl").read_bytes()):
            current.card[name].append(getattr(cards, make)(*given))
        self.next(self.follow)

    @card(type=cards.LIVE, refresh_interval=0)
    @step
    def follow(self):
        import time
        cards.page.REFRESH_SECONDS = 0
        live = cards.Live(current.card, pickle.loads(Path("about.pkl").read_bytes()), cards.train)
        for given in pickle.loads(Path("standings.pkl").read_bytes()):
            live(*given)
            time.sleep(5)
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
def test_colours_stand_out_from_their_ground_in_light_and_in_dark(dark):
    pairs = re.findall(r"--(\w+): light-dark\((#\w+), (#\w+)\)", page.STYLE)
    light = {name: luminance(both[dark]) for name, *both in pairs}

    def contrast(name, ground):
        low, high = sorted((light[name], light[ground]))
        return (high + 0.05) / (low + 0.05)

    for ground in ("panel", "paper"):
        assert min(contrast(name, ground) for name in ("ink", "quiet", "warn")) >= 4.5
    assert min(contrast(name, "panel") for name in (*charts.SPLITS, "plain")) >= 3


@dataclass(frozen=True)
class Visit:
    """What a visitor saw of a card."""

    text: str
    errors: list[str]  # of the console
    foreign: list[str]  # requests for anything that is not in the file
    overflow: int  # pixels by which the page is wider than the window
    beyond: list[str]  # what is cut, or stands beyond its panel or the window
    ragged: list[float]  # pixels by which columns of panels end apart
    ground: str  # the page's colour
    marks: int  # bars and points
    seconds: list[float]  # of the sounds
    hacked: bool  # a text of the corpus was run
    tip: str  # what the first mark says when it is touched


@pytest.fixture(scope="module")
def given(about, corpus, exam, searched, released):
    """(name, step, what its card is given) of every card."""
    clips, rejected, summary, _, examples = corpus()
    empty = summary | {"found": 9, "kept": 0, "hours": 0.0, "speakers_crossing": None}
    tested, settings = exam()
    tested.report.update(_languages(4))
    given = [
        ("corpus", "collect", corpus()),
        ("corpus-hostile", "collect", corpus(said=HOSTILE)),
        ("corpus-empty", "collect", (clips.head(0), rejected, empty, 0, [])),
        ("shard", "preprocess", (clips, rejected, examples[:3])),
        ("broken", "collect", (None, None, None, None, None)),
        ("search", "select", searched()),
        ("search-alone", "select", searched(1)),
        ("search-large", "select", searched(24)),
        ("test", "evaluate", exam()),
        ("test-hostile", "evaluate", exam(said=HOSTILE)),
        ("test-languages", "evaluate", (tested, settings)),
        ("test-perfect", "evaluate", exam(base=False, speakers=0, wrong=0.0)),
        ("release", "push", released(pushed=True)),
        ("release-hostile", "push", released([HOSTILE, "it is worse than its base"], HOSTILE, True)),
    ]
    return [(name, make, (about, *what)) for name, make, what in given]


def _languages(count):
    """What a report holds of languages that were to be kept, and of averages that were tried for them."""
    names = ["en", "de", "nl", "da"][:count]
    found = {"difference": 2.4, "low": 1.0, "high": 3.8, "p": 0.002}
    tried = [{"base_share": share, "wer": 5.0, "retained": dict.fromkeys(names, 12.3)} for share in (0.0, 0.1)]
    return {
        "retained_clips": dict.fromkeys(names, 40), "retained_wer": dict.fromkeys(names, 12.3),
        "retained_baseline_wer": dict.fromkeys(names, 9.9), "against_retained_baseline": dict.fromkeys(names, found),
        "averages": tried, "base_share": 0.1,
    }  # fmt: skip


@pytest.fixture(scope="module")
def run(about, given, standing, outcome, tmp_path_factory):
    """The folder in which a flow with all of these cards ran, and what its live card looked like on the way."""
    place = tmp_path_factory.mktemp("cards")
    decorators = "\n".join(f'    @card(type=cards.PAGE, id="{name.replace("-", "_")}")' for name, *_ in given)
    (place / "flow.py").write_text(FLOW.replace("DECORATORS", decorators), encoding="utf-8")
    named = [(name.replace("-", "_"), make, what) for name, make, what in given]
    (place / "given.pkl").write_bytes(pickle.dumps(named))
    (place / "about.pkl").write_bytes(pickle.dumps(about))
    trial = outcome(2, 8.0).trial
    steps = ((20, ""), (500, ""), (1000, "finished"))
    (place / "standings.pkl").write_bytes(pickle.dumps([(trial, standing(*of), Settings()) for of in steps]))
    flows = str(Path(made.__file__).parents[2])
    environment = os.environ | {
        "PYTHONPATH": flows,
        "METAFLOW_USER": "tests",
        "METAFLOW_DATASTORE_SYSROOT_LOCAL": str(place),
    }
    command = [sys.executable, "flow.py", "--no-pylint", "run"]
    with (
        (place / "log").open("w") as log,
        subprocess.Popen(command, cwd=place, env=environment, stdout=log, stderr=log) as ran,
    ):
        while ran.poll() is None:
            for page in place.rglob(f"{made.LIVE}-*.html"):
                if "Time left" in (text := page.read_text(encoding="utf-8")):
                    (place / "running.html").write_text(text, encoding="utf-8")
            time.sleep(0.5)
    assert ran.returncode == 0, (place / "log").read_text()
    return place


@pytest.fixture(scope="module")
def files(run, given):
    """{name: file}, as Metaflow writes them."""
    found = {name: next(run.rglob(f"{made.PAGE}-{name.replace('-', '_')}-*.html")) for name, *_ in given}
    return found | {"trial": next(run.rglob(f"{made.LIVE}-*.html"))}


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
    page.on("request", lambda asked: asked.url.startswith(("file:", "data:")) or foreign.append(asked.url))
    page.goto(file.as_uri())
    page.wait_for_function("[...document.querySelectorAll('audio')].every(sound => sound.readyState)")
    marks = page.locator("svg :is([aria-roledescription=bar], [aria-roledescription=point])")
    if marks.count():
        marks.first.hover(force=True)  # another may lie on it
    seen = Visit(
        text=page.locator("main").inner_text(),
        errors=errors,
        foreign=foreign,
        overflow=page.evaluate("document.documentElement.scrollWidth - innerWidth"),
        beyond=page.evaluate(BEYOND),
        ragged=page.evaluate(RAGGED),
        ground=page.evaluate("getComputedStyle(document.documentElement).backgroundColor"),
        marks=marks.count(),
        seconds=page.evaluate("[...document.querySelectorAll('audio')].map(sound => sound.duration)"),
        hacked=page.evaluate("'hacked' in window"),
        tip=page.locator(".tip").inner_text(),
    )
    page.close()
    return seen


NAMES = [
    "corpus", "corpus-hostile", "corpus-empty", "shard", "broken", "search", "search-alone", "search-large", "test",
    "test-hostile", "test-languages", "test-perfect", "release", "release-hostile", "trial",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_card_opens_without_an_error_a_request_or_an_overflow(visits, name):
    for (card, width, scheme), seen in visits.items():
        if card == name:
            assert not seen.errors, (width, scheme)
            assert not seen.foreign, (width, scheme)
            assert seen.overflow <= 0, (width, scheme)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_of_a_card_is_cut_or_stands_beyond_its_panel(visits, name):
    for width, scheme in ((390, "dark"), (1100, "light")):
        assert not visits[name, width, scheme].beyond, (width, scheme)


@pytest.mark.parametrize("name", NAMES)
def test_columns_of_panels_end_together(visits, name):
    assert all(apart < 1 for apart in visits[name, 1100, "light"].ragged)


@pytest.mark.parametrize("name", NAMES)
def test_a_card_names_its_profile_and_the_day_of_its_run(visits, name):
    for (card, *_), seen in visits.items():
        if card == name:
            assert seen.text.startswith("Profile swedish-night · 27 November 2026, 23:18 UTC")


@pytest.mark.parametrize("name", NAMES)
def test_every_chart_has_its_axes(files, name):
    for chart in re.findall(r"<svg.*?</svg>", files[name].read_text(encoding="utf-8"), re.DOTALL):
        assert re.search(r'role-axis-label"', chart)


def test_cards_follow_the_reader_s_light_and_dark(visits):
    grounds = {scheme: visits["corpus", width, scheme].ground for width, scheme in ((1100, "light"), (390, "dark"))}
    assert grounds == {"light": "rgb(246, 247, 249)", "dark": "rgb(13, 17, 23)"}


@pytest.mark.parametrize(
    ("name", "fewest", "sounds"),
    [
        ("corpus", 60, 6), ("corpus-hostile", 40, 6), ("shard", 2, 3), ("corpus-empty", 2, 0), ("broken", 0, 0),
        ("search", 15, 0), ("search-alone", 2, 0), ("search-large", 60, 0), ("trial", 5, 0), ("test", 25, 9),
        ("test-hostile", 6, 9), ("test-perfect", 6, 0), ("release", 0, 0),
    ],
)  # fmt: skip
def test_charts_are_drawn_and_clips_can_be_heard(visits, name, fewest, sounds):
    seen = visits[name, 1100, "light"]
    assert seen.marks >= fewest
    assert len(seen.seconds) == sounds
    assert all(seconds > 0.4 for seconds in seen.seconds)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("corpus", r"(common_voice|fleurs), train: \d+ min"),
        ("test", r"this model: \d+\.\d %, \d+\.\d to \d+\.\d"),
        ("search", r"trial \d: \d+\.\d\d %, \w+"),
        ("trial", r"step 200: \d+\.\d %, \d+\.\d to \d+\.\d"),
    ],
)
def test_a_mark_says_its_figures_where_it_is_touched(visits, name, told):
    assert re.fullmatch(told, visits[name, 1100, "light"].tip)


def test_hostile_text_is_shown_and_not_run(visits):
    for (name, *_), seen in visits.items():
        assert not seen.hacked
        assert (HOSTILE in seen.text) == ("hostile" in name)


def test_a_card_that_failed_says_why(visits):
    assert "could not be drawn" in visits["broken", 390, "dark"].text


@pytest.mark.parametrize("name", NAMES)
def test_a_card_is_small_enough_for_a_slow_line(files, name):
    assert files[name].stat().st_size < MOST_BYTES


def test_an_open_card_of_a_running_step_takes_up_the_news(run):
    """A viewer reads the page and its news, and calls the page's function where their tokens agree."""
    if not CHROMIUM.exists():
        pytest.skip("Chromium is not installed")
    from playwright.sync_api import sync_playwright

    (news,) = run.rglob(f"runtime/{made.LIVE}-*.json")
    sent = json.loads(news.read_text(encoding="utf-8"))
    with sync_playwright() as playwright:
        page = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"]).new_page()
        page.goto((run / "running.html").as_uri())
        assert "Time left" in page.locator("main").inner_text()
        page.evaluate("news => { metaflow_card_update(news) }", sent["data"])
        after = page.locator("main").inner_text()
        assert page.evaluate("METAFLOW_RELOAD_TOKEN") == "never"
    assert after.startswith("Profile swedish-night · 27 November 2026")
    assert "1,000\nof 1,000" in after
    assert "finished" in after
