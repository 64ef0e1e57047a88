"""Gradio's own API: the endpoint `/transcribe`, for `gradio_client` and MCP."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import audio_files
import gradio as gr
from batching import Cancelled
from components import describe_file_error
from sessions import watch_caller
from transcriber import Transcriber


def add_transcribe_endpoint(transcriber: Transcriber, engine: dict[str, Any]) -> None:
    """Add hidden components to the page, so that a program's file is checked as a visitor's upload is.

    `engine` holds the event's concurrency options.
    """

    def transcribe(sound: str | None) -> dict[str, Any]:
        """Transcribe an audio or video file: text, language, seconds, and segments and words with their times in
        seconds and confidence from 0 to 1. `fault` is null, or "incomplete" or "joined" if a part of the recording
        could not be read."""
        try:
            samples, fault, _ = audio_files.read_upload(sound)
            segments = list(transcriber.segments(samples, is_wanted=watch_caller()))
            transcript = transcriber.transcript(samples, segments)
            if not transcript.text:
                raise audio_files.AudioFileError("wordless")
        except Cancelled:
            raise gr.Error("the caller has left", print_exception=False) from None
        except ValueError as error:
            raise gr.Error(describe_file_error(error, "en"), print_exception=False) from None
        return {
            "text": transcript.text,
            "language": transcript.language,
            "seconds": transcript.seconds,
            "fault": fault,
            "segments": [
                {
                    "start": segment.start,
                    "end": segment.end,
                    "text": segment.text,
                    "confidence": round(segment.confidence, 3),
                }
                for segment in transcript.segments
            ],
            "words": [asdict(word) for segment in transcript.segments for word in segment.words],
        }

    sound = gr.Audio(type="filepath", visible=False, label="Sound")
    result = gr.JSON(visible=False, label="Transcript")
    gr.Button(visible=False).click(transcribe, sound, result, api_name="transcribe", **engine)
