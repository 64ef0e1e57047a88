"""What the cards show: as sums, and as Metaflow writes them, in a browser."""

import io
import os
import pickle
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from asr import charts, page
from asr.corpus.clips import Clip

CHROMIUM = Path("/usr/bin/chromium")
HOSTILE = "<script>window.hacked = 1</script><img src=x onerror=window.hacked=2>\"'&"
FLOW = """
import pickle, sys
from pathlib import Path
from asr import charts, page
from metaflow import FlowSpec, card, current, step

class Cards(FlowSpec):
    @card(type=charts.PAGE, id="whole")
    @card(type=charts.PAGE, id="hostile")
    @card(type=charts.PAGE, id="nothing")
    @card(type=charts.PAGE, id="shard")
    @card(type=charts.PAGE, id="broken")
    @step
    def start(self):
        for name, make, given in pickle.loads(Path("given.pkl").read_bytes()):
            current.card[name].append(getattr(charts, make)(*given))
        self.next(self.end)

    @step
    def end(self):
        pass

if __name__ == "__main__":
    Cards()
"""


def corpus(clips=300, speakers=30, rejected=9, said=None, seed=0):
    """What `charts.corpus` takes: a plausible corpus; `said` is every text, name and reason of it."""
    random = np.random.default_rng(seed)
    split = random.choice(charts.SPLITS, clips, p=[0.8, 0.1, 0.1])
    kept = pd.DataFrame(
        {
            "clip": [f"clip_{at:06d}.flac" for at in range(clips)],
            "split": split,
            "source": said or random.choice(["common_voice", "fleurs"], clips),
            "speaker": said or ([f"voice {who}" for who in random.zipf(1.5, clips) % speakers] if speakers else None),
            "seconds": random.lognormal(1.2, 0.5, clips),
            "words": random.integers(1, 15, clips),
            "text": said or "Åsa köper ägg på lördag.",
        }
    )
    reasons = random.choice(["too short", "silent", "unreadable audio"], rejected)
    aside = pd.DataFrame({"clip": [said or f"bad_{at}.flac" for at in range(rejected)], "reason": said or reasons})
    summary = {
        "found": clips + rejected, "kept": clips, "rejected": rejected, "hours": kept["seconds"].sum() / 3600,
        "fingerprint": "3f2a9c81d04be756", "clips": dict(kept["split"].value_counts()),
        "speakers_crossing": 0 if speakers else None,
    }  # fmt: skip
    examples = [
        Clip(row.clip, name, row.source, row.text, row.speaker, row.seconds, flac(), "")
        for name in charts.SPLITS
        for row in kept[kept["split"] == name].head(2).itertuples()
    ]
    return kept, aside, summary, 3, examples


def flac(seconds=0.5):
    """A sine as FLAC."""
    file = io.BytesIO()
    wave = 0.3 * np.sin(2 * np.pi * 440 * np.arange(round(seconds * 16_000)) / 16_000)
    soundfile.write(file, wave, 16_000, format="FLAC")
    return file.getvalue()


def shown(**of):
    return charts.corpus(*corpus(**of)).content


def table(*rows):
    return pd.DataFrame(rows, columns=["name", "split", "value"])


def test_the_largest_stand_first_and_the_smallest_of_many_are_one():
    many = table(*((f"n{at}", "train", at) for at in range(charts.NAMED + 5)), ("n3", "test", 100))
    ranked = charts.top(many)
    assert list(ranked["name"].unique()) == ["n3", *(f"n{at}" for at in range(14, 6, -1)), "6 others"]
    assert ranked["value"].sum() == many["value"].sum()


def test_few_names_all_stay():
    ranked = charts.top(table(("a", "train", 1), ("b", "train", 2), ("b", "test", 1)))
    assert [tuple(row) for row in ranked.to_numpy()] == [("b", "train", 2), ("b", "test", 1), ("a", "train", 1)]


def test_speakers_are_counted_by_how_much_they_say_without_gaps():
    counted = charts.brackets(table(("a", "train", 5), ("b", "train", 10), ("c", "test", 90), ("d", "train", 4e6)))
    filled = counted[counted["value"] > 0]
    assert [tuple(row) for row in filled.to_numpy()] == [
        ("0 s to 10 s", "train", 1),
        ("10 s to 30 s", "train", 1),
        ("1 min to 2 min", "test", 1),
        ("over 10 h", "train", 1),
    ]
    assert "30 s to 1 min" in set(counted["name"])


@pytest.mark.parametrize("longest", [0.4, 6, 30, 5000])
def test_a_histogram_holds_every_clip_and_its_bins_are_few(longest):
    random = np.random.default_rng(1)
    seconds = pd.Series(random.uniform(0, longest, 1000))
    seconds[0] = 10 * longest
    splits = pd.Series(random.choice(["test", "train"], 1000))
    bins = charts.spread(seconds, splits, " s")
    assert bins["clips"].sum() == 1000
    assert list(bins["split"].unique()) == ["train", "test"]
    assert (bins.groupby("split").size() <= charts.BINS).all()
    assert bins["high"].max() < 2 * longest


def test_a_histogram_of_one_clip():
    assert charts.spread(pd.Series([3.0]), pd.Series(["train"]))["clips"].sum() == 1


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0 s"), (59.4, "59 s"), (59.7, "1 min"), (3580, "1 h"), (5400, "1.5 h"), (4_464_000, "1,240 h")],
)
def test_an_amount_of_speech_is_in_the_unit_one_would_say(seconds, said):
    assert charts.amount(seconds) == said


def test_a_hundred_thousand_clips_take_no_more_room_than_a_thousand():
    assert len(shown(clips=100_000, speakers=5000, rejected=3000)) < 1.2 * len(shown(clips=1000, speakers=60))


def test_the_figures_are_the_summary_s():
    text = shown(clips=1740, rejected=60)
    for figure in ("1,740", "of 1,800 found", "3.3\u00a0%", "3f2a9c81d04be756", "3 shards taken over"):
        assert figure in text


@pytest.mark.parametrize(("crossing", "said"), [(None, ""), (0, "none in two splits"), (4, "<em>4 in two splits</em>")])
def test_voices_that_stand_in_two_splits_are_told(crossing, said):
    clips, rejected, summary, _, examples = corpus()
    text = charts.corpus(clips, rejected, summary | {"speakers_crossing": crossing}, 0, examples).content
    assert said in text
    assert ("in two splits" in text) == bool(said)


def test_what_there_is_nothing_of_is_said():
    assert "does not say who speaks" in shown(speakers=0)
    assert "Nothing was set aside" in shown(rejected=0)
    clips, rejected, summary, *_ = corpus()
    text = charts.corpus(clips.head(0), rejected, summary | {"kept": 0}, 0, []).content
    assert "No clip is fit to use" in text
    assert "Listen" not in text


def test_speakers_are_named_where_they_are_few_and_clips_without_one_counted():
    clips, rejected, summary, _, examples = corpus(speakers=4)
    clips.loc[:9, "speaker"] = None
    text = charts.corpus(clips, rejected, summary, 0, examples).content
    assert "voice 1" in text
    assert "10 clips name no speaker" in text


def test_of_the_clips_set_aside_every_reason_shows_before_any_shows_twice():
    aside = pd.DataFrame({"clip": [f"clip {at}" for at in range(20)], "reason": ["silent"] * 19 + ["too long"]})
    text = charts.set_aside(aside)[1]
    assert text.index("clip 19") < text.index("clip 1<")
    assert text.count("<li>") == charts.LISTED


def test_a_card_that_cannot_be_drawn_does_not_end_the_step(capsys):
    part = charts.corpus(pd.DataFrame(), pd.DataFrame(), {}, 0, [])
    assert "could not be drawn" in part.content
    assert "KeyError" in capsys.readouterr().err


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
    ground: str  # the page's colour
    bars: int
    seconds: list[float]  # of the sounds
    hacked: bool  # a text of the corpus was run
    tip: str  # what the first bar says when it is touched


@pytest.fixture(scope="module")
def cards(tmp_path_factory):
    """The cards of a run of a flow, {name: file}, as Metaflow writes them."""
    place = tmp_path_factory.mktemp("cards")
    (place / "flow.py").write_text(FLOW, encoding="utf-8")
    clips, rejected, summary, _, examples = corpus()
    empty = summary | {"found": 9, "kept": 0, "hours": 0.0, "speakers_crossing": None}
    given = [
        ("whole", "corpus", corpus()),
        ("hostile", "corpus", corpus(said=HOSTILE)),
        ("nothing", "corpus", (clips.head(0), rejected, empty, 0, [])),
        ("shard", "shard", (clips, rejected, examples[:3])),
        ("broken", "corpus", (None, None, None, None, None)),
    ]
    (place / "given.pkl").write_bytes(pickle.dumps(given))
    flows = str(Path(charts.__file__).parents[1])
    environment = os.environ | {
        "PYTHONPATH": flows,
        "METAFLOW_USER": "tests",
        "METAFLOW_DATASTORE_SYSROOT_LOCAL": str(place),
    }
    command = [sys.executable, "flow.py", "--no-pylint", "run"]
    ran = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return {name: next(place.rglob(f"{charts.PAGE}-{name}-*.html")) for name, *_ in given}


@pytest.fixture(scope="module")
def visits(cards):
    """{(card, width, scheme): what a visitor saw}."""
    if not CHROMIUM.exists():
        pytest.skip("Chromium is not installed")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        return {
            (name, width, scheme): visit(browser, file, width, scheme)
            for name, file in cards.items()
            for width, scheme in ((390, "light"), (390, "dark"), (1100, "light"))
        }


def visit(browser, file, width, scheme):
    errors, foreign = [], []
    page = browser.new_page(viewport={"width": width, "height": 844}, color_scheme=scheme)
    page.on("console", lambda line: errors.append(line.text) if line.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda asked: asked.url.startswith(("file:", "data:")) or foreign.append(asked.url))
    page.goto(file.as_uri())
    page.wait_for_function("[...document.querySelectorAll('audio')].every(sound => sound.readyState)")
    bars = page.locator("svg [aria-roledescription=bar]")
    if bars.count():
        bars.first.hover()
    seen = Visit(
        text=page.locator("main").inner_text(),
        errors=errors,
        foreign=foreign,
        overflow=page.evaluate("document.documentElement.scrollWidth - innerWidth"),
        ground=page.evaluate("getComputedStyle(document.documentElement).backgroundColor"),
        bars=bars.count(),
        seconds=page.evaluate("[...document.querySelectorAll('audio')].map(sound => sound.duration)"),
        hacked=page.evaluate("'hacked' in window"),
        tip=page.locator(".tip").inner_text(),
    )
    page.close()
    return seen


NAMES = ["whole", "hostile", "nothing", "shard", "broken"]


@pytest.mark.parametrize("name", NAMES)
def test_a_card_opens_without_an_error_a_request_or_an_overflow(visits, name):
    for (card, width, scheme), seen in visits.items():
        if card == name:
            assert not seen.errors, (width, scheme)
            assert not seen.foreign, (width, scheme)
            assert seen.overflow <= 0, (width, scheme)


def test_cards_follow_the_reader_s_light_and_dark(visits):
    grounds = {scheme: visits["whole", 390, scheme].ground for scheme in ("light", "dark")}
    assert grounds == {"light": "rgb(246, 247, 249)", "dark": "rgb(13, 17, 23)"}


def test_charts_are_drawn_and_clips_can_be_heard(visits):
    for (name, *_), seen in visits.items():
        assert seen.bars > {"whole": 60, "hostile": 40, "shard": 2, "nothing": 2, "broken": -1}[name]
        assert len(seen.seconds) == {"whole": 6, "hostile": 6, "shard": 3}.get(name, 0)
        assert all(seconds > 0.4 for seconds in seen.seconds)


def test_a_bar_says_its_figures_where_it_is_touched(visits):
    assert re.fullmatch(r"(common_voice|fleurs), train: \d+ min", visits["whole", 1100, "light"].tip)


def test_hostile_text_is_shown_and_not_run(visits):
    for (name, *_), seen in visits.items():
        assert not seen.hacked
        assert (HOSTILE in seen.text) == (name == "hostile")


def test_a_card_that_failed_says_why(visits):
    assert "could not be drawn" in visits["broken", 390, "light"].text
