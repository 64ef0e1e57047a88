"""The page's header: title, language switch, and the script that keeps the open tab in the address."""

from __future__ import annotations

import json

from translations import GRADIO_LABELS, LANGUAGE_LABELS, LANGUAGES, bilingual

LOGO = """<svg viewBox="0 0 52 32" fill="none" stroke-width="4" stroke-linecap="round"
 aria-hidden="true"><path d="M3 13v6M12 7v18M21 3v26M30 11v10M40 12h9M40 20h6"/></svg>"""


def render_header(speech_language: tuple[str, str]) -> str:
    """HTML. `speech_language` is the name of the model's language, in each language of the page."""
    switch = "".join(
        f'<button type="button" lang="{code}" data-language="{code}">{name}</button>'
        for code, name in zip(LANGUAGES, LANGUAGE_LABELS, strict=True)
    )
    heading = f"<h1>{bilingual('title', language=speech_language)}</h1><p>{bilingual('lead')}</p>"
    return f'<div class="page-header">{LOGO}<div>{heading}</div><nav>{switch}</nav></div>'


SCRIPT = """
const heading = element.querySelector('h1'), labels = Object.entries(GRADIO_LABELS);
const tabs = () => [...document.querySelectorAll('[data-tab-id]')];
const openTab = () => tabs().find((tab) => tab.ariaSelected === 'true')?.dataset.tabId;
const swedish = document.documentElement.lang.startsWith('sv');

// Gradio resets its own title and labels at every change of the page.
new MutationObserver(translateLabels).observe(document.documentElement, { childList: true, subtree: true });
let ready = false;
function translateLabels() {
  if (!ready && openTab()) {
    ready = true;
    setTimeout(openFromAddress);
  }
  if (document.title !== heading.innerText) document.title = heading.innerText;
  if (!swedish) return;
  for (const node of document.querySelectorAll('[aria-label]')) {
    const [english, translated] = labels.find(([english]) => node.ariaLabel.startsWith(english)) || [];
    if (translated) node.ariaLabel = translated + node.ariaLabel.slice(english.length).replace('seconds', 's');
  }
}
translateLabels();

element.addEventListener('click', ({ target }) => {
  const code = target.dataset.language;
  if (!code) return;
  const scope = location.protocol === 'https:' ? 'SameSite=None; Secure; Partitioned' : 'SameSite=Lax';
  document.cookie = `language=${code}; Path=/; Max-Age=31536000; ${scope}`;  // the Hub shows a Space in a frame
  location.reload();
});

function openFromAddress() {
  const name = location.hash.slice(1) || 'transcribe';
  if (name !== openTab()) tabs().findLast((tab) => tab.dataset.tabId === name)?.click();
}
document.addEventListener('click', (event) => {
  const tab = event.isTrusted && event.target.closest('[data-tab-id]');
  if (tab && `#${tab.dataset.tabId}` !== location.hash) history.pushState(null, '', `#${tab.dataset.tabId}`);
});
window.addEventListener('popstate', openFromAddress);

// Gradio hides the recorder's button that was pressed, and the focus is lost: move it to the button that replaces it.
document.addEventListener('click', ({ target }) => {
  const pressed = target.closest('.sound .controls .wrapper button'), sound = pressed?.closest('.sound');
  const next = (tries) => {
    if (!tries || ![document.body, pressed].includes(document.activeElement)) return;
    const shown = [...sound.querySelectorAll('.controls .wrapper button')].find((button) => button.checkVisibility());
    if (shown && shown !== pressed) shown.focus();
    else setTimeout(next, 100, tries - 1);
  };
  if (pressed) next(600);
});
""".replace("GRADIO_LABELS", json.dumps(GRADIO_LABELS, ensure_ascii=False))
