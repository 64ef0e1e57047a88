"""What the page says of a release whose record a stranger wrote."""

import itertools

import about_tab
import pytest

KEYS = "test_wer served_wer served_wer_ci baseline_wer baseline_wer_ci clips split_hours sources created name".split()
ODD = ["x", [1], [None, 2], {}, {"train": "x"}, float("nan"), float("inf"), -1, True, 10**400, "<script>"]


@pytest.mark.parametrize(("key", "value"), itertools.product(KEYS, ODD))
def test_an_odd_record_is_shown_without_what_cannot_be(key, value):
    told = about_tab.render_model({"test_wer": 5.0, "served_wer": 5.0, "served_wer_ci": [4, 6], key: value})
    assert told.startswith(("<div", "<p>"))
    assert "<script" not in told
