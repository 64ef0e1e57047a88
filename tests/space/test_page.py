"""The events of the page, without a browser."""

import shutil

import page


def test_hotwords_reach_the_engine_and_known_files_are_not_decoded_again(clip, tmp_path):
    from transcriber import DecodingOptions

    calls = []

    class FakeEngine:
        language, joint, release, longest = "sv", " ", {}, 30.0

        def segments(self, sound, options, **_):
            calls.append(options)
            return iter([])

    decoding = DecodingOptions(hotwords=("Kiruna",))
    copy = shutil.copy(clip, tmp_path)
    updates = list(page.transcribe_files(FakeEngine(), [str(clip), copy], "en", decoding))
    assert calls == [decoding, decoding]
    assert "wrong" in updates[-1][1]  # the engine wrote no words
    later_updates = list(page.transcribe_files(FakeEngine(), [copy], "en", decoding, known=updates[-1][-1]))
    assert calls == [decoding, decoding]  # the known file is not decoded again
    assert later_updates[-1][1].count("wrong") == 1
