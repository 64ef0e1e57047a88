"""Pieces that the tabs share."""

from __future__ import annotations

import logging
from typing import Any

import audio_files
import gradio as gr
from translations import tell

# What a visitor takes along, for the scripts of the tabs.
TAKE = """
function toClipboard(text, button) {
  navigator.clipboard?.writeText(text).then(() => {
    button.classList.add('done');
    setTimeout(() => button.classList.remove('done'), 1500);
  }, () => {});  // the browser does not allow it
}

function toFile(blob, name) {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  URL.revokeObjectURL(link.href);
}
"""

logger = logging.getLogger(__name__)


def html(value: str = "", **more: Any) -> gr.HTML:
    return gr.HTML(value, apply_default_css=False, **more)


def microphone(label: Any, **more: Any) -> gr.Audio:
    return gr.Audio(
        sources=["microphone"],
        type="filepath",
        label=label,
        buttons=["download"],  # the other one, share, sends the sound away
        editable=False,
        elem_classes="sound",
        min_width=280,
        waveform_options=gr.WaveformOptions(waveform_color="#9db4d6", waveform_progress_color="#2563eb"),
        **more,
    )


def why(error: ValueError, language: str) -> str:
    """What the page says about a file that could not be heard."""
    if isinstance(error, audio_files.Unheard):
        return tell(error.key, language, **error.values)
    logger.warning("a file could not be heard: %s", type(error).__name__)
    return tell("broken", language)
