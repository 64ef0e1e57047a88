"""A Common Voice release: unpacked or not, its lists become splits, and its clips are decoded."""

import shutil
import tarfile
from pathlib import Path

import pytest
from asr.corpus import common_voice, sources
from asr.settings import Settings, Source

COLUMNS = ["client_id", "path", "sentence_id", "sentence", "sentence_domain", "up_votes", "down_votes", "locale"]
SENTENCES = ['Hon sade: "Hej', '"Åsa" köper ägg.', "Det är 'halv åtta'.", "En \\ två.", 'Han sade ""nej""', "Tack."]
LISTS = {"train": "ab", "dev": "cd", "test": "ef", "validated": "abcdefgh", "other": "ij"}


def write_list(file, clips, columns=COLUMNS, end="\n"):
    """Write a list of the clips, each with its own speaker."""
    lines = [columns]
    for at, clip in enumerate(clips):
        cells = {"client_id": f"{ord(clip):064x}", "path": f"common_voice_sv-SE_{clip}.mp3", "locale": "sv-SE"}
        lines.append([{**cells, "sentence": SENTENCES[at % len(SENTENCES)]}.get(column, "") for column in columns])
    file.write_text(end.join(map("\t".join, lines)) + end, encoding="utf-8", newline="")


@pytest.fixture(scope="session")
def release(tmp_path_factory, tone, encoded):
    """A release with its ten clips, 48 kHz MP3 as Mozilla makes them."""
    locale = tmp_path_factory.mktemp("shipped") / "cv-corpus-24.0-2025-12-05" / "sv-SE"
    (locale / "clips").mkdir(parents=True)
    for at, clip in enumerate("abcdefghij"):
        sound = tone(1 + at / 10, 300 + 50 * at, rate=48_000)
        encoded(locale / "clips" / f"common_voice_sv-SE_{clip}.mp3", sound, 48_000, "libmp3lame")
    for name, clips in LISTS.items():
        write_list(locale / f"{name}.tsv", clips)
    return locale


@pytest.fixture
def locale(release, tmp_path):
    """A copy of the release, which tests may change."""
    return Path(shutil.copytree(release, tmp_path / "download" / release.parent.name / release.name))


def list_rows(path, language="sv", **keys):
    return common_voice.list_rows(Source(source="common_voice", path=str(path), **keys), language)


def splits(rows):
    """The letters of each split's clips."""
    letters = {
        split: "".join(Path(row.clip).stem[-1] for row in rows if row.split == split) for split in sources.SPLITS
    }
    return tuple(letters.values())


@pytest.mark.parametrize("up", [0, 1, 2], ids=["the locale", "the release", "the folder it was downloaded to"])
def test_a_release_is_found_in_the_folder_or_below_it(locale, up):
    rows = list_rows([locale, *locale.parents][up])
    assert splits(rows) == ("ab", "cd", "ef")
    assert all(row.problem is None and row.audio.is_file() for row in rows)
    assert rows[0].clip == "clips/common_voice_sv-SE_a.mp3"
    assert rows[0].speaker == f"{ord('a'):064x}"


def test_an_archive_is_unpacked_into_the_cache_and_every_clip_decoded(
    release, tmp_path, monkeypatch, store, preprocess
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    archive = tmp_path / "cv-corpus-24.0-2025-12-05-sv-SE.tar.gz"
    with tarfile.open(archive, "w:gz") as file:
        file.add(release.parent, release.parent.name)
    settings = Settings.model_validate({"corpus": {"source": "common_voice", "path": str(archive)}})
    _, joined = preprocess(settings, store)
    assert joined.summary["clips"] == {"train": 2, "validation": 2, "test": 2}
    assert joined.summary["speakers"] == 6
    assert joined.summary["hours"] * 3600 == pytest.approx(sum(1 + at / 10 for at in range(6)), abs=0.1)
    assert list(tmp_path.glob("cache/**/*.mp3"))


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_sentences_keep_their_quotation_marks(locale, end):
    write_list(locale / "train.tsv", "abghij", end=end)
    assert [row.text for row in list_rows(locale) if row.split == "train"] == SENTENCES


def test_validated_clips_are_for_training_except_those_of_dev_and_test(locale):
    assert splits(list_rows(locale, splits={"train": "validated"})) == ("abgh", "cd", "ef")


def test_any_list_may_be_any_split(locale):
    assert splits(list_rows(locale, splits={"train": "other", "validation": "train"})) == ("ij", "ab", "ef")


def test_a_release_without_a_train_list_needs_another(locale, refusal):
    (locale / "train.tsv").unlink()
    assert "has no list train.tsv" in refusal(list_rows, locale.parent)
    assert splits(list_rows(locale.parent, splits={"train": "validated"}))[0] == "abgh"


def test_old_releases_name_clips_without_their_suffix(locale):
    text = (locale / "train.tsv").read_text(encoding="utf-8")
    (locale / "train.tsv").write_text(text.replace(".mp3", ""), encoding="utf-8")
    assert all(row.problem is None for row in list_rows(locale))


@pytest.mark.parametrize("missing", ["path", "sentence", "client_id"])
def test_a_missing_column_is_refused_in_one_line(locale, refusal, missing):
    write_list(locale / "dev.tsv", "cd", [column for column in COLUMNS if column != missing])
    assert refusal(list_rows, locale).endswith(f"dev.tsv has no column {missing}")


def test_a_missing_list_is_refused_in_one_line(locale, refusal):
    (locale / "dev.tsv").unlink()
    assert refusal(list_rows, locale).endswith("has no list dev.tsv")


@pytest.mark.parametrize("language", ["fi", "s"])
def test_a_missing_language_is_refused_with_the_available_ones(locale, refusal, language):
    line = refusal(list_rows, locale.parent, language)
    assert f'no Common Voice lists for "{language}"' in line
    assert "it holds sv-SE" in line


def test_two_releases_in_a_folder_are_refused_by_name(locale, refusal):
    shutil.copytree(locale.parent, locale.parents[1] / "cv-corpus-23.0-2025-09-05")
    line = refusal(list_rows, locale.parents[1])
    assert "cv-corpus-23.0-2025-09-05, cv-corpus-24.0-2025-12-05" in line


def test_a_folder_without_a_release_is_refused(tmp_path, refusal):
    assert "there is no folder" in refusal(list_rows, tmp_path / "nowhere")
    assert "it holds nothing" in refusal(list_rows, tmp_path)


def test_a_list_that_is_a_link_out_of_the_release_is_not_read(locale, tmp_path, refusal):
    (locale / "train.tsv").rename(tmp_path / "train.tsv")
    (locale / "train.tsv").symlink_to(tmp_path / "train.tsv")
    assert "leads out of the folder" in refusal(list_rows, locale)


def test_invalid_lines_are_rejected_and_none_is_lost(locale, tmp_path):
    (tmp_path / "secret.mp3").write_bytes(b"secret")
    (locale / "clips" / "link.mp3").symlink_to(tmp_path / "secret.mp3")
    end = "\t\t\t\t"
    lines = {
        f"x\tgone.mp3\t\tHej.{end}": "missing file",
        f"x\t\t\tHej.{end}": "missing file",
        "x\t\t\tHej.": "fewer values than columns",
        f"x\t../../../secret.mp3\t\tHej.{end}": "outside the folder",
        f"x\t/etc/passwd\t\tHej.{end}": "outside the folder",
        f"x\tlink.mp3\t\tHej.{end}": "outside the folder",
        f"x\tcommon_voice_sv-SE_g.mp3\t\tHej\tdu.{end}": "more values than columns",
        f"x\tcommon_voice_sv-SE_h.mp3\t\tHej\0\udce5\r\u2028 du.{end}": None,
        f"x\tcommon_voice_sv-SE_i.mp3\t\t{'Hej ' * 50_000}{end}": None,
    }
    with (locale / "train.tsv").open("a", encoding="utf-8", errors="surrogateescape", newline="") as file:
        file.write("\n".join(lines) + "\n\n")
    assert [row.problem for row in list_rows(locale) if row.split == "train"] == [None, None, *lines.values()]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("sentence", ["Hej\ndu.", "Hej\n\ndu\n.", "\nHej.", "Hej.\n", "Hej\r\ndu."])
def test_a_row_that_a_line_feed_broke_is_one_row_and_rejected(locale, end, sentence):
    """Otherwise half of a sentence is trained on, and the other half is counted as a clip."""
    write_list(locale / "train.tsv", "abg", end=end)
    text = (locale / "train.tsv").read_bytes().decode()
    (locale / "train.tsv").write_bytes(text.replace(SENTENCES[1], sentence).encode())
    rows = [row for row in list_rows(locale) if row.split == "train"]
    assert [(Path(row.clip).stem[-1], row.problem) for row in rows] == [
        ("a", None), ("b", "broken by a line feed"), ("g", None),
    ]  # fmt: skip


@pytest.mark.parametrize("cells_left", [7, 4, 3])
def test_a_row_that_lost_its_end_is_rejected_and_its_neighbours_stay(locale, cells_left):
    """It may have lost some of its sentence. A list need not end with a line end."""
    write_list(locale / "train.tsv", "abgh")
    lines = [line.split("\t") for line in (locale / "train.tsv").read_text(encoding="utf-8").splitlines()]
    lines[2], lines[4] = lines[2][:cells_left], lines[4][:cells_left]
    (locale / "train.tsv").write_text("\n".join(map("\t".join, lines)), encoding="utf-8")
    problem = "fewer values than columns"
    assert [row.problem for row in list_rows(locale) if row.split == "train"] == [None, problem, None, problem]


def test_a_clip_listed_twice_is_rejected(locale):
    write_list(locale / "train.tsv", "aab")
    settings = Settings.model_validate({"corpus": {"source": "common_voice", "path": str(locale)}})
    rows = [row for part in sources.list_parts(settings.corpus) for row in part.rows]
    assert [row.problem for row in rows] == [None, "listed twice", None, None, None, None, None]
