"""Progress lines."""

from asr import console


def test_long_work_says_now_and_then_how_far_it_is():
    said = []
    assert list(console.with_progress([[1, 2], [3, 4], [5]], 5, said.append, every=-1)) == [[1, 2], [3, 4], [5]]
    assert [line.split(",")[0] for line in said] == ["2 of 5 clips", "4 of 5 clips"]
    assert all(line.endswith("min left") for line in said)


def test_short_work_says_nothing():
    said = []
    assert list(console.with_progress([[1]], 1, said.append)) == [[1]]
    assert said == []
