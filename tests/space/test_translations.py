"""The texts of the page."""

import string

import translations


def test_every_text_has_both_languages_with_the_same_fields():
    for key, (english, swedish) in translations.TEXTS.items():
        fields = [{field for _, field, *_ in string.Formatter().parse(text)} - {None} for text in (english, swedish)]
        assert fields[0] == fields[1], key
        assert english.strip() and swedish.strip(), key
