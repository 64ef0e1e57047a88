"""The frame of every card: a self-contained page, and the HTML elements of the cards."""

from __future__ import annotations

import html
import math
import re
import sys
import time
import traceback
from base64 import b64encode
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import wraps
from hashlib import sha256
from typing import Any, Concatenate, ParamSpec

from metaflow.cards import MetaflowCard, MetaflowCardComponent
from metaflow.plugins import CARDS

from asr import memory

P = ParamSpec("P")

PAGE, LIVE = "whisper_page", "whisper_live_page"  # card types
MAX_COLUMNS, GAP = 3, 16  # of panels; pixels between them
REFRESH_SECONDS = 30.0  # of a running step's card; each refresh starts a process that imports the flow


@dataclass(frozen=True)
class Run:
    """The run that a card shows."""

    profile: str  # the name
    created: str  # start of the run, ISO 8601


class CardPart(MetaflowCardComponent):
    """A part of a card, as HTML."""

    def __init__(self, content: str) -> None:
        self.content = content

    def render(self) -> str:
        return self.content


class Page(MetaflowCard):
    """A card: its parts, one below the other."""

    type = PAGE  # type: ignore[assignment]
    ALLOW_USER_COMPONENTS = True

    def __init__(self, components: Sequence[str] = (), **_: object) -> None:
        self.parts = components

    def render(self, task: Any) -> str:
        return render_page(task.pathspec, "".join(self.parts))


class LivePage(Page):
    """A card that is updated while its step runs."""

    type = LIVE
    RUNTIME_UPDATABLE = True

    def render_runtime(self, task: Any, data: Any) -> str:
        return self.render(task)

    def refresh(self, task: Any, data: Any) -> Any:
        """The update for an open card."""
        return data["user"]


CARDS += [Page, LivePage]  # registers the types with Metaflow


class Live(MetaflowCardComponent):
    """A part of a card that follows a running step: call it with the arguments of `draw` after each change."""

    def __init__(self, card: Any, run: Run, draw: Callable[..., str]) -> None:
        self.card, self.run, self.draw, self.arguments, self.next_refresh = card, run, draw, (), 0.0
        card.append(self)

    def __call__(self, *arguments: Any) -> None:
        self.arguments = arguments
        if time.monotonic() >= self.next_refresh:
            self.next_refresh = time.monotonic() + REFRESH_SECONDS
            self.card.refresh({"content": self.render()})

    def render(self) -> str:
        return card_part(self.draw)(self.run, *self.arguments).content if self.arguments else ""


def card_part(render: Callable[P, str]) -> Callable[Concatenate[Run, P], CardPart]:
    """Decorator: the HTML as a part of a run's card. An error is shown on the card and does not end the step."""

    @wraps(render)
    def part(run: Run, *args: P.args, **kwargs: P.kwargs) -> CardPart:
        try:
            return CardPart(run_line(run) + render(*args, **kwargs))
        except Exception as error:
            if reason := memory.explain(error):
                print(f"a card could not be drawn: {reason}", file=sys.stderr)
            else:
                traceback.print_exc()
            details = escape(reason or traceback.format_exc())
            return CardPart(f"{run_line(run)}<h1>This card could not be drawn</h1><pre>{details}</pre>")

    return part


def run_line(run: Run) -> str:
    """The line above a card's title.

    >>> run_line(Run("sample", "2026-11-27T23:18:05+00:00"))
    '<p class=run>Profile sample · 27 November 2026, 23:18 UTC</p>'
    """
    began = datetime.fromisoformat(run.created)
    return f"<p class=run>{join_facts([f'Profile {run.profile}', f'{began.day} {began:%B %Y, %H:%M %Z}'])}</p>"


def stat_tiles(title: str, stats: Sequence[tuple[str, str, str]], more: str = "") -> str:
    """The head of a card: name, value and note of each number."""
    items = "".join(f"<div><dt>{name}<dd>{value}<dd>{note}</div>" for name, value, note in stats)
    return f"<h1>{title}</h1>{f'<p class=lead>{more}</p>' if more else ''}<dl>{items}</dl>"


def panel(title: str, *content: str) -> str:
    return f"<section><h2>{title}</h2>{''.join(content)}</section>"


def panel_columns(panels: Sequence[str]) -> str:
    """Panels in up to three balanced columns; one below the other on a small screen.

    Panels stretch so that all columns end at the same height.
    """
    columns: list[list[int]] = [[] for _ in panels[:MAX_COLUMNS]]
    heights = [panel_height(panel) for panel in panels]
    for number in sorted(range(len(panels)), key=lambda number: -heights[number]):
        min(columns, key=lambda column: sum(heights[index] + GAP for index in column)).append(number)
    placed = [panel.replace("<section", f'<section style="order: {index}"', 1) for index, panel in enumerate(panels)]
    contents = ("".join(placed[number] for number in sorted(column)) for column in sorted(columns, key=min))
    return f"<div class=stack>{''.join(f'<div>{column}</div>' for column in contents)}</div>" if panels else ""


def panel_height(panel: str) -> float:
    """Approximate height in pixels of a panel in a column of three."""
    charts = sum(float(height) for height in re.findall(r'<svg [^>]*height="([\d.]+)"', panel))
    paragraphs = [
        re.sub("<[^>]*>", "", text) for _, text in re.findall(r"<(p|pre)\b[^>]*>(.*?)</\1>", panel, re.DOTALL)
    ]
    names = re.findall(r"<tr><td>([^<]*)", panel)
    lines = sum(math.ceil(len(text) / 40) for text in paragraphs) + sum(len(name) > 21 for name in names)
    return 60 + 0.9 * charts + 33 * len(re.findall(r"<(?:tr|li)\b", panel)) + 12 * len(paragraphs) + 21 * lines


def html_table(heads: Sequence[str], lines: Iterable[Sequence[str]], kind: str = "") -> str:
    """A table. Kind "words" is for text; with "records" each row becomes a paragraph on a small screen."""
    head = f"<tr>{''.join(f'<th>{name}' for name in heads)}" if any(heads) else ""
    starts = [f'<td data-head="{name}">' if kind == "records" else "<td>" for name in heads]
    body = "".join(f"<tr>{''.join(map(''.join, zip(starts, line, strict=True)))}" for line in lines)
    return f'<table class="{kind}">{head}{body}</table>'


def join_facts(parts: Iterable[str]) -> str:
    """Notes side by side."""
    return " · ".join(escape(part) for part in parts if part)


def audio_player(flac: bytes) -> str:
    """An audio player."""
    return f'<audio controls preload="metadata" src="data:audio/flac;base64,{b64encode(flac).decode()}"></audio>'


def escape(text: object) -> str:
    """Any text as HTML that shows it."""
    return html.escape(str(text))


# Blue, amber and plum are distinct for colour-blind readers, with a contrast of at least 3 to 1 in light and dark. All
# rules are below `.card`, so that a card does not change the notebook around it.
STYLE = """
html:has(> body > .card) { color-scheme: light dark; background: light-dark(#f6f7f9, #0d1117); }
.card { color-scheme: light dark; --paper: light-dark(#f6f7f9, #0d1117); --panel: light-dark(#fff, #161c26);
  --ink: light-dark(#16202e, #e6ebf2); --quiet: light-dark(#556275, #9fadc0); --warn: light-dark(#b42318, #ff9b8e);
  --line: light-dark(#dde2ea, #2a3342); --plain: light-dark(#64748b, #8fa0b8);
  --train: light-dark(#2f6fde, #7aa9ff); --validation: light-dark(#c88200, #f2bd5c);
  --test: light-dark(#9c2f6b, #cf5f98);
  max-width: 72rem; margin: 0 auto; padding: clamp(.75rem, 3vw, 2.5rem) clamp(.5rem, 3vw, 2rem);
  background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif;
  font-variant-numeric: tabular-nums; overflow-wrap: anywhere;
  * { box-sizing: border-box; margin: 0; }
  h1 { font-size: 2rem; letter-spacing: -.03em; line-height: 1.2; }
  h2 { font-size: 1.25rem; letter-spacing: -.02em; margin: 1.5rem 0 1rem; }
  dl { display: grid; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); gap: 1.5rem 1rem; margin: 1.75rem 0; }
  dd { font-size: 1.75rem; font-weight: 600; letter-spacing: -.03em; line-height: 1.3; }
  dd code { font-size: .95rem; letter-spacing: 0; }
  dt, dd + dd, footer, section p, li span, th { color: var(--quiet); font: inherit; letter-spacing: 0; }
  dt, dd + dd, footer, section p, table, ul, .chip { font-size: .87rem; }
  em { color: var(--warn); font-style: normal; }
  .content { container: page / inline-size; }
  .stack, .stack > div, .clips { display: flex; flex-wrap: wrap; gap: 1rem; }
  .stack > div, .clips section { flex: 1 1 min(100%, 18.5rem); min-width: 0; }
  .stack > div { flex-flow: column; }
  .stack section { flex: 1 0 auto; }
  @container page (38rem <= width < 57.5rem) { /* the third column is rows below the others */
    .stack > div:nth-child(3) { flex-flow: row wrap; }
    .stack > div:nth-child(3) section { flex: 1 1 18.5rem; }
  }
  @container page (width < 38rem) { /* one column, in the panels' own order */
    .stack { flex-flow: column; }
    .stack > div { display: contents; }
  }
  section { background: var(--panel); border: 1px solid var(--line); border-radius: 1rem; padding: 1.1rem 1.2rem;
    container: panel / inline-size; }
  .clips section { display: flex; flex-direction: column; }
  section h2 { font-size: .95rem; font-weight: 600; letter-spacing: 0; margin: 0 0 .9rem; }
  section p { margin-top: .75rem; }
  svg { display: block; width: 100%; max-width: 21rem; height: auto; overflow: visible; }
  svg text { font-family: inherit; }
  svg .mark-text text { paint-order: stroke; stroke: var(--panel); stroke-width: 4px; stroke-linejoin: round; }
  table { width: 100%; border-collapse: collapse; margin-top: .5rem; }
  td, th { padding: .35rem 0; text-align: right; white-space: nowrap; }
  td { border-top: 1px solid var(--line); }
  td:first-child, th:first-child { text-align: left; }
  td:first-child { white-space: normal; overflow-wrap: normal; }
  td + td, th + th { padding-left: 1rem; }
  th { white-space: normal; overflow-wrap: normal; vertical-align: bottom; }
  .words :is(td, th) { text-align: left; white-space: normal; vertical-align: top; }
  td :is(b, em) { white-space: nowrap; }
  @container panel (width < 40rem) {
    .records tr { display: flex; flex-wrap: wrap; gap: .1rem 1rem; padding: .6rem 0; }
    .records tr + tr { border-top: 1px solid var(--line); }
    .records tr:has(th) { display: none; }
    .records td { padding: 0; border: 0; }
    .records td::before { content: attr(data-head) " "; color: var(--quiet); font-weight: 400; }
  }
  .records td:first-child { font-weight: 600; }
  .content > section { margin-bottom: 1rem; }
  .lead, .key, .run { color: var(--quiet); }
  .run { font-size: .87rem; margin-bottom: .35rem; }
  .key { margin-bottom: .75rem; }
  .chip + .chip { margin-left: 1rem; }
  del { color: var(--warn); }
  ins { color: var(--train); text-underline-offset: .2em; }
  ul { list-style: none; padding: 0; }
  li { display: flex; flex-wrap: wrap; justify-content: space-between; gap: 0 1rem; padding: .4rem 0; }
  li + li { border-top: 1px solid var(--line); }
  .chip { font-weight: 400; }
  .chip::before { content: ""; display: inline-block; width: .65em; height: .65em; margin-right: .5em;
    border-radius: .2em; background: var(--chip); }
  code, pre { font-family: ui-monospace, "SF Mono", Menlo, Consolas, monospace; }
  blockquote { flex: 1; font-size: 1.1rem; line-height: 1.45; margin: -.4rem 0 .9rem; }
  audio { width: 100%; height: 2.5rem; }
  pre { white-space: pre-wrap; }
  p + pre { margin-top: .75rem; }
  footer { margin-top: 2rem; }
  .tip { position: fixed; width: max-content; max-width: calc(100vw - 16px); padding: .3rem .6rem;
    border-radius: .5rem; pointer-events: none; background: var(--ink); color: var(--panel); font-size: .85rem; }
}
"""

# Shows the label of a bar under the pointer, and plays one clip at a time.
SCRIPT = """{
const tip = document.querySelector(".card .tip"), content = document.querySelector(".card .content");
// Metaflow's interface for updating an open card: the viewer compares the token and calls the function.
window.METAFLOW_RELOAD_TOKEN = document.querySelector("meta[name=reload]").content;
window.metaflow_card_update = (update) => { if (update?.content) content.innerHTML = update.content; };
addEventListener("pointerover", ({ target, clientX, clientY }) => {
  const bar = target.closest(".card [aria-roledescription=bar], .card [aria-roledescription=point]");
  tip.hidden = !bar;
  tip.textContent = bar?.getAttribute("aria-label");
  tip.style.left = `${Math.max(8, Math.min(clientX - 20, innerWidth - tip.offsetWidth - 8))}px`;
  tip.style.top = `${clientY - 44}px`;
});
addEventListener("play", ({ target }) => {
  for (const sound of document.querySelectorAll(".card audio")) if (sound !== target) sound.pause();
}, true);
}"""


def render_page(title: str, content: str) -> str:
    """A whole card. Its security policy allows only its own script, and no requests."""
    script_hash = b64encode(sha256(SCRIPT.encode()).digest()).decode()
    policy = (
        "default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{script_hash}'"
    )
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="reload" content="{MetaflowCard.RELOAD_POLICY_TOKEN}">
<link rel="icon" href="data:,"><title>{escape(title)}</title><style>{STYLE}</style>
<main class="card"><div class="content">{content}</div>
<footer>{escape(title)}</footer><div class="tip" hidden></div></main>
<script>{SCRIPT}</script></html>"""
