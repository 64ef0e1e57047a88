"""The About tab: the model, its measured error rates, and examples of API calls.

Facts that are missing in the release's record are omitted.
"""

from __future__ import annotations

import html
import math
from typing import Any

from components import SAVE_SCRIPT
from translations import TEXTS, bilingual, format_number

MAX_NUMBER = 1e9  # a larger figure in a release's record is ignored
SCALE_ENDS = (10, 20, 50, 100)  # percent, where the bars' scale may end; a base that hallucinates goes beyond
API_EXAMPLES = {
    "curl": """curl ORIGIN/v1/audio/transcriptions \\
  -F file=@speech.wav -F response_format=srt""",
    "Python": """from openai import OpenAI

client = OpenAI(base_url="ORIGIN/v1", api_key="none")
with open("speech.wav", "rb") as file:
    print(client.audio.transcriptions.create(file=file, model="whisper-1").text)""",
    "JavaScript": """import { openAsBlob } from "node:fs";

const form = new FormData();
form.append("file", await openAsBlob("speech.wav"), "speech.wav");
const answer = await fetch("ORIGIN/v1/audio/transcriptions", { method: "POST", body: form });
console.log((await answer.json()).text);""",
}


def render_model(release: dict[str, Any], repo_id: str = "", revision: str | None = None) -> str:
    """HTML about a release, by its record. `repo_id` is the Hub repository it came from, if any."""
    return _render_error_rate(release) + _render_facts(release, repo_id, revision)


def _percent(value: float) -> str:
    return bilingual("percent", rate=format_number(value))


def _render_error_rate(release: dict[str, Any]) -> str:
    # The served model's rate where it is known: that is what the visitor gets.
    key = "served_wer" if release.get("served_wer") is not None else "test_wer"
    rate, interval = _number(release.get(key)), _interval(release.get(f"{key}_ci"))
    if rate is None:
        return f"<p>{bilingual('unmeasured')}</p>"
    by_character = release.get("unit") == "character"  # the language puts no spaces between words
    name = bilingual("cer" if by_character else "wer")
    parts = [f'<div class="rate"><strong>{_percent(rate)}</strong><span>{name}</span></div>']
    baseline = _number(release.get("baseline_wer"))
    if interval:
        rows = [("this_model", rate, interval)]
        if baseline is not None:
            rows.append(("baseline", baseline, _interval(release.get("baseline_wer_ci")) or (baseline, baseline)))
        parts.append(_render_bars(rows))
    count = [text.format(count=f"{rate:.0f}") for text in TEXTS["roughly" if rate >= 1 else "under_one"]]
    clips = _number(release.get("clips"))
    measured_on = tuple(text.format(clips=clips) for text in TEXTS["measured_on"]) if clips else ("", "")
    sentence = "of_hundred_characters" if by_character else "of_hundred"
    sentences = [bilingual(sentence, wrong=tuple(count), where=measured_on)]
    if interval:
        others = "other_speakers" if release.get("test_wer_ci_unit") == "speaker" else "other_clips"
        sentences.append(bilingual(others, low=format_number(interval[0]), high=format_number(interval[1])))
    if baseline is not None:
        sentences.append(bilingual("before", rate=format_number(baseline)))
    return "".join(parts) + f"<p>{' '.join(sentences)}</p>"


def _number(value: Any) -> float | None:
    """A figure that can be shown; None for anything else that a foreign record may have."""
    return value if type(value) in (int, float) and 0 <= value <= MAX_NUMBER else None


def _interval(value: Any) -> tuple[float, float] | None:
    ends = [_number(end) for end in value] if isinstance(value, list | tuple) else []
    return (ends[0], ends[1]) if len(ends) == 2 and ends[0] is not None and ends[1] is not None else None


def _render_bars(rows: list[tuple[str, float, tuple[float, float]]]) -> str:
    """Bars of error rates with their intervals, on the same scale."""
    highest = max(high for _, _, (_, high) in rows)
    end = next((end for end in SCALE_ENDS if highest < end), 100 * math.ceil((highest + 1) / 100))
    return (
        f'<div class="bars">{"".join(_render_bar(*row, 100 / end) for row in rows)}'
        f'<span></span><div class="ends" aria-hidden="true"><span>0</span><span>{end:.0f}\u00a0%</span></div>'
        "</div>"
    )


def _render_bar(key: str, rate: float, interval: tuple[float, float], scale: float) -> str:
    low, high = interval
    name = "bar base" if key == "baseline" else "bar"
    return (
        f'<span>{bilingual(key)}</span><div class="{name}" aria-hidden="true"><i style="left:{low * scale:.1f}%;'
        f'width:{max(0.0, high - low) * scale:.1f}%"></i><u style="left:{rate * scale:.1f}%"></u></div>'
        f"<b>{_percent(rate)}</b>"
    )


def _render_facts(release: dict[str, Any], repo_id: str, revision: str | None) -> str:
    facts = [("model", html.escape(str(release.get("name", "unnamed"))))]
    if release.get("created"):
        facts.append(("made", html.escape(str(release["created"])[:10])))
    if release.get("run_id"):
        facts.append(("run", html.escape(str(release["run_id"]))))
    split_hours = release.get("split_hours")
    if hours := _number(split_hours.get("train") if isinstance(split_hours, dict) else None):
        facts.append(("speech", _hours(hours)))
    if sources := release.get("sources"):
        facts.append(("sources", _sources(sources)))
    if licences := release.get("licences"):
        facts.append(("licences", html.escape(_list(licences))))
    if release.get("served_wer") is not None and (float_wer := _number(release.get("test_wer"))) is not None:
        facts.append(("float_wer", _percent(float_wer)))
    if revision:
        facts.append(("revision", f"<code>{html.escape(revision[:12])}</code>"))
    if repo_id:
        url = f"https://huggingface.co/{html.escape(repo_id)}" + (f"/tree/{html.escape(revision)}" if revision else "")
        facts.append(("card", f'<a href="{url}" rel="noopener" target="_blank">{html.escape(repo_id)}</a>'))
    return f"<dl>{''.join(f'<div><dt>{bilingual(key)}</dt><dd>{value}</dd></div>' for key, value in facts)}</dl>"


def _hours(hours: float) -> str:
    return bilingual("hours", hours=format_number(hours))


def _sources(sources: Any) -> str:
    """The names of the speech's sources, with the hours of each where a table states them."""
    if not isinstance(sources, dict):
        return html.escape(_list(sources))
    hours_by_name = {html.escape(str(name)): _number(hours) for name, hours in sources.items()}
    return ", ".join(name if hours is None else f"{name} ({_hours(hours)})" for name, hours in hours_by_name.items())


def _list(value: Any) -> str:
    """A text, or a list or table of texts, on one line."""
    if isinstance(value, dict):
        return ", ".join(f"{name}: {text}" for name, text in value.items())
    return ", ".join(map(_list, value)) if isinstance(value, list | tuple) else str(value)


def render_api_examples() -> str:
    """HTML on how programs call the API; the page's script fills in its own address."""
    examples = "".join(
        f'<h3>{name}</h3><div class="sample"><pre tabindex=0><code>{html.escape(code)}</code></pre>'
        f'<button type="button" data-copy>{bilingual("copy")}</button></div>'
        for name, code in API_EXAMPLES.items()
    )
    docs = f"<a href='docs'><code>/docs</code></a> {bilingual('docs')}"
    health = f"<a href='health'><code>/health</code></a> {bilingual('health')}"
    heading = f"<h2>{bilingual('program')}</h2><p>{bilingual('program_lead')}</p>"
    return f"{heading}{examples}<p>{docs} {health}</p>"


SCRIPT = (
    SAVE_SCRIPT
    + """
const origin = location.origin + location.pathname.replace(/\\/$/, '');
for (const code of element.querySelectorAll('code')) code.textContent = code.textContent.replaceAll('ORIGIN', origin);
element.addEventListener('click', ({ target }) => {
  const button = target.closest('[data-copy]');
  if (button) toClipboard(button.parentElement.querySelector('code').textContent, button);
});
"""
)
