"""Progress lines."""

from asr import terminal


def test_long_work_prints_its_progress():
    lines = []
    assert list(terminal.with_progress([[1, 2], [3, 4], [5]], 5, lines.append, every=-1)) == [[1, 2], [3, 4], [5]]
    assert [line.split(",")[0] for line in lines] == ["2 of 5 clips", "4 of 5 clips"]
    assert all(line.endswith("min left") for line in lines)


def test_short_work_prints_nothing():
    lines = []
    assert list(terminal.with_progress([[1]], 1, lines.append)) == [[1]]
    assert lines == []
