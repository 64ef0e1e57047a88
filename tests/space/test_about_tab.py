"""The About tab: what it shows of a release's record, which may come from a stranger."""

import itertools

import about_tab
import pytest

KEYS = "test_wer served_wer served_wer_ci baseline_wer baseline_wer_ci clips split_hours sources created name".split()
INVALID = ["x", [1], [None, 2], {}, {"train": "x"}, float("nan"), float("inf"), -1, True, 10**400, "<script>"]


@pytest.mark.parametrize(("key", "value"), itertools.product(KEYS, INVALID))
def test_invalid_values_in_a_record_are_not_shown(key, value):
    html = about_tab.render_model({"test_wer": 5.0, "served_wer": 5.0, "served_wer_ci": [4, 6], key: value})
    assert html.startswith(("<div", "<p>"))
    assert "<script" not in html


@pytest.mark.parametrize(
    ("release", "expected"),
    [
        ({}, "Nobody has measured"),
        ({"test_wer": 0.4}, "fewer than 1 wrong."),
        ({"test_wer": 130.0, "test_wer_ci": [90.0, 180.0]}, "With other clips"),
        ({"test_wer": 20.0, "baseline_wer": 61.7}, "Before training it was 61.7"),
        ({"test_wer": 2, "test_wer_ci": [1, 3], "baseline_wer": 139.4}, "<span>200\u00a0%</span>"),
        ({"test_wer": 20.0, "test_wer_ci": [18, 22], "baseline_wer": 61.7}, "<span>100\u00a0%</span>"),
        ({"test_wer": 20.0, "baseline_wer": 61.7}, "Före träningen var det 61,7"),
        ({"test_wer": 20.0, "test_wer_ci": [18, 22], "baseline_wer": 61.7, "baseline_wer_ci": None}, "bar base"),
        ({"test_wer": 8.2, "unit": "character"}, "Of 100 characters it gets about 8 wrong"),
        ({"test_wer": 8.2, "unit": "character"}, "Av 100 tecken blir ungefär 8 fel"),
        ({"test_wer": 8.2, "unit": "character"}, "character error rate"),
        ({"test_wer": 8.2, "unit": "word"}, "Of 100 words it gets about 8 wrong"),
        ({"name": "<script>"}, "&lt;script&gt;"),
        ({"licences": ["CC0-1.0", "CC-BY-4.0"]}, "CC0-1.0, CC-BY-4.0"),
        ({"licences": {"sample": "CC0-1.0"}}, "sample: CC0-1.0"),
        ({"sources": {"sample": 1.0871180555555555}}, '(<span lang="en">1.1 hours</span><span lang="sv">1,1 timmar'),
        ({"sources": ["common_voice"]}, "<dd>common_voice</dd>"),
        ({"hours": 1.2, "split_hours": {"train": 0.88, "test": 0.14}}, '<span lang="en">0.9 hours</span>'),
        ({"test_wer": 5.0, "served_wer": 5.4}, '<strong><span lang="en">5.4\u00a0%'),
        ({"test_wer": 5.0, "served_wer": 5.4}, "Before it was made 8-bit"),
        ({"test_wer": 5, "served_wer": 5.4, "served_wer_ci": [4, 7]}, "most likely be 4.0 to 7.0"),
    ],
)
def test_the_about_tab_shows_what_the_record_states(release, expected):
    html = about_tab.render_model(release)
    assert expected in html
    assert "None" not in html
