"""Components that several tabs of the page share."""

from __future__ import annotations

import logging
from typing import Any

import audio_files
import gradio as gr
from translations import translate

# For the scripts of the tabs: copy a text, save a file.
SAVE_SCRIPT = """
function toClipboard(text, button) {
  navigator.clipboard?.writeText(text).then(() => {
    button.classList.add('done');
    setTimeout(() => button.classList.remove('done'), 1500);
  }, () => {});  // the browser may forbid it
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


def html(value: str = "", **options: Any) -> gr.HTML:
    """An HTML block without Gradio's own styles."""
    return gr.HTML(value, apply_default_css=False, **options)


def microphone_input(label: Any, **options: Any) -> gr.Audio:
    """A recorder for the microphone, whose value is the path of the recording."""
    return gr.Audio(
        sources=["microphone"],
        type="filepath",
        label=label,
        buttons=["download"],  # the other button, share, uploads to a third party
        editable=False,
        elem_classes="sound",
        min_width=280,
        waveform_options=gr.WaveformOptions(waveform_color="#9db4d6", waveform_progress_color="#2563eb"),
        **options,
    )


def describe_file_error(error: ValueError, language: str) -> str:
    """The message to show for a file that could not be read or transcribed."""
    if isinstance(error, audio_files.AudioFileError):
        return translate(error.key, language, **error.values)
    logger.warning("a file could not be transcribed: %s", type(error).__name__)
    return translate("broken", language)
