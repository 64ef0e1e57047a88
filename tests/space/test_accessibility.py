"""Accessibility: both languages, keyboard and screen reader, light and dark, desktop and phone."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from browser import CHROMIUM, TABS

pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason=f"needs {CHROMIUM}")

SMALL_CONTROLS = """[...document.querySelectorAll('button, a, input, select, summary')].filter((control) => {
  const { width, height } = control.getBoundingClientRect();
  const visible = control.checkVisibility({ visibilityProperty: true });
  return visible && control.tabIndex >= 0 && !control.closest('p') && Math.min(width, height) < 24;
}).map((control) => control.outerHTML.slice(0, 120))"""


def serious_violations(page):
    violations = Axe().run(page).response["violations"]
    return [
        (violation["id"], node["html"][:200]) for violation in violations
        if violation["impact"] in ("serious", "critical") for node in violation["nodes"]
    ]  # fmt: skip


@pytest.mark.parametrize(("width", "dark", "locale"), [(1100, False, "sv-SE"), (390, True, "en-GB")])
def test_axe_finds_no_serious_violation_in_any_state(url, visit, clip, silent_clip, width, dark, locale):
    with visit(url, width=width, dark=dark, locale=locale, microphone=clip) as visitor:
        visitor.page.wait_for_timeout(300)  # the page fades in
        violations = serious_violations(visitor.page)
        visitor.upload(clip, silent_clip)
        visitor.page.locator("#result [data-edit]").click()
        visitor.page.locator("#result [data-unsure]").click()
        violations += serious_violations(visitor.page) + visitor.page.evaluate(SMALL_CONTROLS)
        visitor.record("#sound", 0.5)
        violations += serious_violations(visitor.page) + visitor.page.evaluate(SMALL_CONTROLS)
        visitor.stop("#sound")
        visitor.page.locator("#result .foot").wait_for()
        visitor.tab("live")
        visitor.speak()
        visitor.page.locator("#words [data-state=listening]").wait_for()
        violations += serious_violations(visitor.page)
        visitor.stop_speaking()
        violations += serious_violations(visitor.page)
        visitor.tab("teach")
        visitor.page.locator("#give").click()
        visitor.page.locator("#answer .wrong").wait_for()
        visitor.page.locator("#take_back button").first.click()
        violations += serious_violations(visitor.page) + visitor.page.evaluate(SMALL_CONTROLS)
        visitor.tab("about")
        violations += serious_violations(visitor.page) + visitor.page.evaluate(SMALL_CONTROLS)
        visitor.tab("transcribe")
        visitor.page.reload()
        visitor.page.locator(".kept .paper").wait_for()
        violations += serious_violations(visitor.page) + visitor.page.evaluate(SMALL_CONTROLS)
        assert not violations, "\n".join(map(str, set(violations)))
        assert (visitor.errors, visitor.foreign, visitor.overflow) == ([], [], 0)


def test_the_chosen_language_is_kept_after_a_reload(url, visit, silent_clip):
    with visit(url, locale="en-GB") as visitor:
        assert visitor.page.title() == "Swedish speech to text"
        visitor.page.get_by_role("button", name="Svenska").click()
        visitor.page.wait_for_function("document.title === 'Tal till text på svenska'")
        visitor.page.locator("#files input[type=file]").wait_for(state="attached")
        assert visitor.page.evaluate("document.documentElement.lang").startswith("sv")
        visitor.upload(silent_clip)
        assert visitor.read("#result .wrong p") == "Inspelningen är tyst."  # from the server, in the chosen language
        visitor.page.reload()
        visitor.page.get_by_role("tab", name="Transkribera").wait_for()
        visitor.page.get_by_role("button", name="English").click()
        visitor.page.get_by_role("tab", name="Transcribe").wait_for()
        assert visitor.errors == []


def test_a_swedish_page_has_no_english_labels(url, visit, clip):
    read_labels = """[...document.querySelectorAll('[aria-label], [placeholder], [title]')].flatMap((element) =>
      [element.ariaLabel, element.placeholder, element.title]).filter(Boolean)"""
    with visit(url, locale="sv-SE", microphone=clip) as visitor:
        labels = set(visitor.page.evaluate(read_labels))
        visitor.upload(clip)
        labels |= set(visitor.page.evaluate(read_labels))
        visitor.record("#sound", 0.3)
        labels |= set(visitor.page.evaluate(read_labels))
        for tab in TABS[1:]:
            visitor.tab(tab)
            visitor.page.wait_for_timeout(200)
            labels |= set(visitor.page.evaluate(read_labels))
        visitor.tab("teach")
        visitor.page.locator("#clip input[type=file], #clip .playback").first.wait_for(state="attached")
        labels |= set(visitor.page.evaluate(read_labels))
        english_words = {
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
        assert [label for label in labels if english_words & set(label.lower().replace(".", " ").split())] == []


def test_recording_is_indicated_and_shifts_no_layout(url, visit, clip):
    with visit(url, microphone=clip) as visitor:
        hints = visitor.page.locator("#hints")
        y = hints.bounding_box()["y"]
        visitor.record("#sound", 0.5)
        assert abs(hints.bounding_box()["y"] - y) <= 1
        message = "getComputedStyle(document.querySelector('#sound > label'), '::after').content"
        assert visitor.page.evaluate(message) == '"Recording …"'
        visitor.page.locator("#sound .pause-button").click()
        assert abs(hints.bounding_box()["y"] - y) <= 1
        assert visitor.overflow == 0


def test_recording_by_keyboard_keeps_the_focus(url, visit, clip):
    focused = "document.activeElement.className.includes('%s')"
    with visit(url, microphone=clip) as visitor:
        visitor.page.locator("#sound .record-button").focus()
        for button in ("stop-button", "record-button"):
            visitor.page.keyboard.press("Enter")
            visitor.page.wait_for_function(focused % button)
            visitor.page.wait_for_timeout(800)  # so that some speech is recorded
        visitor.page.locator("#result .foot").wait_for()
        assert visitor.errors == []


def test_a_queued_visitor_sees_the_queue_message_only(url, visit, clip):
    with visit(url) as visitor:
        message = visitor.page.evaluate("""() => {
          document.querySelector('#status > .wrap').classList.remove('hide');
          return getComputedStyle(document.querySelector('#status > .wrap'), '::after').content;
        }""")
        assert message == '"Waiting for its turn …"'
