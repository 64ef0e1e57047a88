"""What a program calls."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import audio_files
import gradio as gr
from batching import Stopped
from components import why
from sessions import wanted
from transcriber import Transcriber


def api(transcriber: Transcriber, engine: dict[str, Any]) -> None:
    """Hidden parts of the page, so that a file comes in by the same door as a visitor's."""

    def transcribe(sound: str | None) -> dict[str, Any]:
        """Write down what is said in an audio or video file: text, language, seconds, segments and words with times
        in seconds and confidence from 0 to 1; fault: null, or "incomplete" or "joined", where a part of the
        recording cannot be heard."""
        try:
            samples, fault, _ = audio_files.hear(sound)
            heard = transcriber.transcript(samples, list(transcriber.segments(samples, is_wanted=wanted())))
            if not heard.text:
                raise audio_files.Unheard("wordless")
        except Stopped:
            raise gr.Error("nobody waits for this", print_exception=False) from None
        except ValueError as error:
            raise gr.Error(why(error, "en"), print_exception=False) from None
        segments = [
            {"start": one.start, "end": one.end, "text": one.text, "confidence": round(one.confidence, 3)}
            for one in heard.segments
        ]
        words = [asdict(word) for one in heard.segments for word in one.words]
        return {
            "text": heard.text,
            "language": heard.language,
            "seconds": heard.seconds,
            "fault": fault,
            "segments": segments,
            "words": words,
        }

    sound = gr.Audio(type="filepath", visible=False, label="Sound")
    heard = gr.JSON(visible=False, label="Transcript")
    gr.Button(visible=False).click(transcribe, sound, heard, api_name="transcribe", **engine)
