"""The events of the page, without a browser."""

import shutil

import page


def test_hotwords_reach_the_engine_and_known_files_are_not_decoded_again(clip, tmp_path):
    from transcriber import DecodingOptions

    asked = []

    class Listener:
        language, joint, release, longest = "sv", " ", {}, 30.0

        def segments(self, sound, options, **_):
            asked.append(options)
            return iter([])

    hints = DecodingOptions(hotwords=("Kiruna",))
    copied = shutil.copy(clip, tmp_path)
    pictures = list(page.transcribe_files(Listener(), [str(clip), copied], "en", hints))
    assert asked == [hints, hints]
    assert "wrong" in pictures[-1][1]  # nothing was said
    again = list(page.transcribe_files(Listener(), [copied], "en", hints, known=pictures[-1][-1]))
    assert asked == [hints, hints] and again[-1][1].count("wrong") == 1  # what is known is not heard again
