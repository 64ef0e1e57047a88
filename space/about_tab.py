"""Which model this is and how far to trust it; whatever the release does not tell is left out."""

from __future__ import annotations

import html
import math
from typing import Any

from components import TAKE
from translations import WORDS, both, number

MOST = 1e9  # that a figure may be
PROGRAMS = {
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


def model(release: dict[str, Any], where: str = "", revision: str | None = None) -> str:
    """HTML about the release; `where` is the Hub id it came from."""
    return _rate(release) + _facts(release, where, revision)


def percent(value: float) -> str:
    return both("percent", rate=number(value))


def _rate(release: dict[str, Any]) -> str:
    kind = (
        "served_wer" if release.get("served_wer") is not None else "test_wer"
    )  # what the visitor gets, if it is known
    rate, interval = _number(release.get(kind)), _interval(release.get(f"{kind}_ci"))
    if rate is None:
        return f"<p>{both('unmeasured')}</p>"
    by_character = release.get("unit") == "character"  # the language puts no spaces between words
    name = both("cer" if by_character else "wer")
    parts = [f'<div class="rate"><strong>{percent(rate)}</strong><span>{name}</span></div>']
    base = _number(release.get("baseline_wer"))
    if interval:
        rows = [("this_model", rate, interval)]
        rows += (
            [("baseline", base, _interval(release.get("baseline_wer_ci")) or (base, base))] if base is not None else []
        )
        highest = max(high for _, _, (_, high) in rows)
        ends = (10, 20, 50, 100)  # percent, where the scale may end; a base that invents words goes beyond
        full = next((end for end in ends if highest < end), 100 * math.ceil((highest + 1) / 100))
        parts.append(
            f'<div class="bars">{"".join(_bar(*row, 100 / full) for row in rows)}'
            f'<span></span><div class="ends" aria-hidden="true"><span>0</span><span>{full:.0f}\u00a0%</span></div>'
            "</div>"
        )
    count = [wording.format(count=f"{rate:.0f}") for wording in WORDS["roughly" if rate >= 1 else "under_one"]]
    clips = _number(release.get("clips"))
    on = tuple(wording.format(clips=clips) for wording in WORDS["measured_on"]) if clips else ("", "")
    told = [both("of_hundred_characters" if by_character else "of_hundred", wrong=tuple(count), where=on)]
    if interval:
        others = "other_speakers" if release.get("test_wer_ci_unit") == "speaker" else "other_clips"
        told.append(both(others, low=number(interval[0]), high=number(interval[1])))
    if base is not None:
        told.append(both("before", rate=number(base)))
    return "".join(parts) + f"<p>{' '.join(told)}</p>"


def _number(told: Any) -> float | None:
    """A figure that can be shown; None for anything else that a stranger's record holds."""
    return told if type(told) in (int, float) and 0 <= told <= MOST else None


def _interval(told: Any) -> tuple[float, float] | None:
    ends = [_number(end) for end in told] if isinstance(told, list | tuple) else []
    return (ends[0], ends[1]) if len(ends) == 2 and ends[0] is not None and ends[1] is not None else None


def _bar(key: str, rate: float, interval: tuple[float, float], scale: float) -> str:
    low, high = interval
    kind = "bar base" if key == "baseline" else "bar"
    return (
        f'<span>{both(key)}</span><div class="{kind}" aria-hidden="true"><i style="left:{low * scale:.1f}%;'
        f'width:{max(0.0, high - low) * scale:.1f}%"></i><u style="left:{rate * scale:.1f}%"></u></div>'
        f"<b>{percent(rate)}</b>"
    )


def _facts(release: dict[str, Any], where: str, revision: str | None) -> str:
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
        facts.append(("licences", html.escape(_listed(licences))))
    if release.get("served_wer") is not None and (float_wer := _number(release.get("test_wer"))) is not None:
        facts.append(("float_wer", percent(float_wer)))
    if revision:
        facts.append(("revision", f"<code>{html.escape(revision[:12])}</code>"))
    if where:
        link = f"https://huggingface.co/{html.escape(where)}" + (f"/tree/{html.escape(revision)}" if revision else "")
        facts.append(("card", f'<a href="{link}" rel="noopener" target="_blank">{html.escape(where)}</a>'))
    return f"<dl>{''.join(f'<div><dt>{both(key)}</dt><dd>{value}</dd></div>' for key, value in facts)}</dl>"


def _hours(hours: float) -> str:
    return both("hours", hours=number(hours))


def _sources(sources: Any) -> str:
    """Where the speech comes from: names, with the hours of each where a table tells them."""
    if not isinstance(sources, dict):
        return html.escape(_listed(sources))
    told = {html.escape(str(name)): _number(hours) for name, hours in sources.items()}
    return ", ".join(name if hours is None else f"{name} ({_hours(hours)})" for name, hours in told.items())


def _listed(value: Any) -> str:
    """A text, or a list or table of them."""
    if isinstance(value, dict):
        return ", ".join(f"{name}: {text}" for name, text in value.items())
    return ", ".join(map(_listed, value)) if isinstance(value, list | tuple) else str(value)


def program() -> str:
    """How a program asks; the page puts its own address in."""
    samples = "".join(
        f'<h3>{name}</h3><div class="sample"><pre tabindex=0><code>{html.escape(sample)}</code></pre>'
        f'<button type="button" data-copy>{both("copy")}</button></div>'
        for name, sample in PROGRAMS.items()
    )
    more = f"<a href='docs'><code>/docs</code></a> {both('docs')} <a href='health'><code>/health</code></a> "
    return f"<h2>{both('program')}</h2><p>{both('program_lead')}</p>{samples}<p>{more}{both('health')}</p>"


SCRIPT = (
    TAKE
    + """
const origin = location.origin + location.pathname.replace(/\\/$/, '');
for (const one of element.querySelectorAll('code')) one.textContent = one.textContent.replaceAll('ORIGIN', origin);
element.addEventListener('click', ({ target }) => {
  const button = target.closest('[data-copy]');
  if (button) toClipboard(button.parentElement.querySelector('code').textContent, button);
});
"""
)
