"""Accessibility: both languages, keyboard and screen reader, light and dark, desktop and phone."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from browser import CHROMIUM, TABS, visit

pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason=f"needs {CHROMIUM}")
SMALL = """[...document.querySelectorAll('button, a, input, select, summary')].filter((one) => {
  const { width, height } = one.getBoundingClientRect();
  const reached = one.checkVisibility({ visibilityProperty: true }) && one.tabIndex >= 0 && !one.closest('p');
  return reached && Math.min(width, height) < 24;
}).map((one) => one.outerHTML.slice(0, 120))"""


def serious(page):
    found = Axe().run(page).response["violations"]
    return [
        (one["id"], node["html"][:200]) for one in found if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]  # fmt: skip


@pytest.mark.parametrize(("width", "dark", "locale"), [(1100, False, "sv-SE"), (390, True, "en-GB")])
def test_axe_finds_no_serious_violation_in_any_state(url, clip, silent_clip, width, dark, locale):
    with visit(url, width=width, dark=dark, locale=locale, speak=clip) as seen:
        seen.page.wait_for_timeout(300)  # it fades in
        found = serious(seen.page)
        seen.upload(clip, silent_clip)
        seen.page.locator("#result [data-edit]").click()
        seen.page.locator("#result [data-unsure]").click()
        found += serious(seen.page) + seen.page.evaluate(SMALL)
        seen.record("#sound", 0.5)
        found += serious(seen.page) + seen.page.evaluate(SMALL)
        seen.stop("#sound")
        seen.page.locator("#result .foot").wait_for()
        seen.tab("live")
        seen.speak()
        seen.page.locator("#words [data-state=listening]").wait_for()
        found += serious(seen.page)
        seen.stop_speaking()
        found += serious(seen.page)
        seen.tab("teach")
        seen.page.locator("#give").click()
        seen.page.locator("#answer .wrong").wait_for()
        seen.page.locator("#take_back button").first.click()
        found += serious(seen.page) + seen.page.evaluate(SMALL)
        seen.tab("about")
        found += serious(seen.page) + seen.page.evaluate(SMALL)
        seen.tab("transcribe")
        seen.page.reload()
        seen.page.locator(".kept .paper").wait_for()
        found += serious(seen.page) + seen.page.evaluate(SMALL)
        assert not found, "\n".join(map(str, set(found)))
        assert (seen.errors, seen.foreign, seen.overflow) == ([], [], 0)


def test_the_language_is_switched_on_the_page_and_stays(url, silent_clip):
    with visit(url, locale="en-GB") as seen:
        assert seen.page.title() == "Swedish speech to text"
        seen.page.get_by_role("button", name="Svenska").click()
        seen.page.wait_for_function("document.title === 'Tal till text på svenska'")
        seen.page.locator("#files input[type=file]").wait_for(state="attached")
        assert seen.page.evaluate("document.documentElement.lang").startswith("sv")
        seen.upload(silent_clip)
        assert seen.read("#result .wrong p") == "Inspelningen är tyst."  # the server knows it, too
        seen.page.reload()
        seen.page.get_by_role("tab", name="Transkribera").wait_for()
        seen.page.get_by_role("button", name="English").click()
        seen.page.get_by_role("tab", name="Transcribe").wait_for()
        assert seen.errors == []


def test_a_swedish_page_has_no_english_labels(url, clip):
    names = """[...document.querySelectorAll('[aria-label], [placeholder], [title]')].flatMap((one) =>
      [one.ariaLabel, one.placeholder, one.title]).filter(Boolean)"""
    with visit(url, locale="sv-SE", speak=clip) as seen:
        found = set(seen.page.evaluate(names))
        seen.upload(clip)
        found |= set(seen.page.evaluate(names))
        seen.record("#sound", 0.3)
        found |= set(seen.page.evaluate(names))
        for tab in TABS[1:]:
            seen.tab(tab)
            seen.page.wait_for_timeout(200)
            found |= set(seen.page.evaluate(names))
        seen.tab("teach")
        seen.page.locator("#clip input[type=file], #clip .playback").first.wait_for(state="attached")
        found |= set(seen.page.evaluate(names))
        english = {
            "upload",
            "record",
            "select",
            "clear",
            "file upload",
            "drop",
            "common",
            "tabs",
            "pause",
            "play",
            "adjust",
            "remove",
            "skip",
        }
        assert [name for name in found if english & set(name.lower().replace(".", " ").split())] == []


def test_recording_is_indicated_and_shifts_no_layout(url, clip):
    with visit(url, speak=clip) as seen:
        hints = seen.page.locator("#hints")
        before = hints.bounding_box()["y"]
        seen.record("#sound", 0.5)
        assert abs(hints.bounding_box()["y"] - before) <= 1
        said = "getComputedStyle(document.querySelector('#sound > label'), '::after').content"
        assert seen.page.evaluate(said) == '"Recording …"'
        seen.page.locator("#sound .pause-button").click()
        assert abs(hints.bounding_box()["y"] - before) <= 1
        assert seen.overflow == 0


def test_recording_by_keyboard_keeps_the_focus(url, clip):
    focused = "document.activeElement.className.includes('%s')"
    with visit(url, speak=clip) as seen:
        seen.page.locator("#sound .record-button").focus()
        for shown in ("stop-button", "record-button"):
            seen.page.keyboard.press("Enter")
            seen.page.wait_for_function(focused % shown)
            seen.page.wait_for_timeout(800)  # of speech
        seen.page.locator("#result .foot").wait_for()
        assert seen.errors == []


def test_a_queued_visitor_sees_the_queue_message_only(url, clip):
    with visit(url) as seen:
        shown = seen.page.evaluate("""() => {
          document.querySelector('#status > .wrap').classList.remove('hide');
          return getComputedStyle(document.querySelector('#status > .wrap'), '::after').content;
        }""")
        assert shown == '"Waiting for its turn …"'
