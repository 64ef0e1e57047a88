"""Transcripts as HTML."""

from dataclasses import dataclass

import transcript_html


def test_segments_are_escaped_and_styled_by_confidence():
    @dataclass
    class Word:
        text: str
        confidence: float
        start: float = 0.25
        end: float = 0.5

    @dataclass
    class Segment:
        start: float
        end: float
        text: str
        words: tuple

    segment = Segment(0.0, 1.0, "a <b>", (Word("a", 0.99), Word("<b>", 0.3)))
    html = transcript_html.render_segment(segment)
    assert '<span class="u3" data-at="0.25" data-to="0.50" data-sure="0.300">&lt;b&gt;</span>' in html
    assert "<b>" not in html
    assert 'src="gradio_api/file=/tmp/%C3%A5%20b.wav"' in transcript_html.open_transcript("/tmp/å b.wav", "x")
