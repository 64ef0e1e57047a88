"""The head of the page: what it is, in which language it speaks, and its tab in the address."""

from __future__ import annotations

import json

from translations import LABELS, LANGUAGES, NAMES, both

WAVE = """<svg viewBox="0 0 52 32" fill="none" stroke-width="4" stroke-linecap="round"
 aria-hidden="true"><path d="M3 13v6M12 7v18M21 3v26M30 11v10M40 12h9M40 20h6"/></svg>"""


def masthead(spoken: tuple[str, str]) -> str:
    """HTML; `spoken` is the name of the model's language in each of the page's."""
    switch = "".join(
        f'<button type="button" lang="{code}" data-language="{code}">{name}</button>'
        for code, name in zip(LANGUAGES, NAMES, strict=True)
    )
    heading = f"<h1>{both('title', language=spoken)}</h1><p>{both('lead')}</p>"
    return f'<div class="masthead">{WAVE}<div>{heading}</div><nav>{switch}</nav></div>'


SCRIPT = """
const heading = element.querySelector('h1'), labels = Object.entries(LABELS);
const tabs = () => [...document.querySelectorAll('[data-tab-id]')];
const open = () => tabs().find((tab) => tab.ariaSelected === 'true')?.dataset.tabId;
const swedish = document.documentElement.lang.startsWith('sv');

// Gradio writes its own title and labels again and again
new MutationObserver(tidy).observe(document.documentElement, { childList: true, subtree: true });
let arrived = false;
function tidy() {
  if (!arrived && open()) {
    arrived = true;
    setTimeout(go);
  }
  if (document.title !== heading.innerText) document.title = heading.innerText;
  if (!swedish) return;
  for (const one of document.querySelectorAll('[aria-label]')) {
    const [english, ours] = labels.find(([english]) => one.ariaLabel.startsWith(english)) || [];
    if (ours) one.ariaLabel = ours + one.ariaLabel.slice(english.length).replace('seconds', 's');
  }
}
tidy();

element.addEventListener('click', ({ target }) => {
  const code = target.dataset.language;
  if (!code) return;
  const there = location.protocol === 'https:' ? 'SameSite=None; Secure; Partitioned' : 'SameSite=Lax';
  document.cookie = `language=${code}; Path=/; Max-Age=31536000; ${there}`;  // a Space stands in a frame of the Hub
  location.reload();
});

function go() {
  const wanted = location.hash.slice(1) || 'transcribe';
  if (wanted !== open()) tabs().findLast((tab) => tab.dataset.tabId === wanted)?.click();
}
document.addEventListener('click', (event) => {
  const tab = event.isTrusted && event.target.closest('[data-tab-id]');
  if (tab && `#${tab.dataset.tabId}` !== location.hash) history.pushState(null, '', `#${tab.dataset.tabId}`);
});
window.addEventListener('popstate', go);

// Gradio hides the button of the microphone that was pressed, and the focus with it: the next one takes it.
document.addEventListener('click', ({ target }) => {
  const pressed = target.closest('.sound .controls .wrapper button'), sound = pressed?.closest('.sound');
  const next = (tries) => {
    const here = document.activeElement;
    if (!tries || ![document.body, pressed].includes(here)) return;
    const shown = [...sound.querySelectorAll('.controls .wrapper button')].find((button) => button.checkVisibility());
    if (shown && shown !== pressed) shown.focus();
    else setTimeout(next, 100, tries - 1);
  };
  if (pressed) next(600);
});
""".replace("LABELS", json.dumps(LABELS, ensure_ascii=False))
