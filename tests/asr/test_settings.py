"""What a profile may say, and how a wrong one is refused."""

import tomllib
from pathlib import Path

import pytest
from asr import settings
from asr.settings import Settings
from pydantic import ValidationError

SAMPLE = Path(settings.__file__).parents[1] / "profiles" / "sample.toml"

WRONG = {
    # What the profile says: what the refusal names.
    'nmae = "a"': ("nmae", "did you mean name?"),
    "[trainning]\nsteps = 3": ("trainning", "did you mean training?"),
    "[training]\nstep = 3": ("[training] step:", "did you mean steps?"),
    "[serach]\ntrials = 1": ("serach", "did you mean search?"),
    "[search]\nlearning_rat = [0.1]": ("[search] learning_rat:", "did you mean learning_rate?"),
    "[model]\nxyzzy = 3": ("[model] xyzzy: unknown key",),
    '[training]\nsteps = "many"': ("[training] steps", "'many'"),
    '[training]\nsteps = "900"': ("[training] steps", "'900'"),
    "[training]\nsteps = true": ("[training] steps", "True"),
    "[training]\nsteps = 1.5": ("[training] steps", "1.5"),
    "[training]\nsteps = 0": ("[training] steps", "0"),
    "[training]\nsteps = -3": ("[training] steps", "-3"),
    "[training]\nwarmup = 1.1": ("[training] warmup", "1.1"),
    "[training]\nwarmup = nan": ("[training] warmup", "nan"),
    '[training]\noptimizer = "sgd"': ("[training] optimizer", "'sgd'"),
    "training = 3": ("training", "3"),
    "[search]\nlearning_rate = 0.001": ("[search] learning_rate", "0.001"),
    "[search]\nlearning_rate = []": ("[search] learning_rate",),
    "[search]\nlearning_rate = [0.001, 1.5]": ("[search] learning_rate", "1.5"),
    "[search]\nlearning_rate = [inf]": ("[search] learning_rate", "inf"),
    "[search]\nweight_decay = [-0.1]": ("[search] weight_decay", "-0.1"),
    "[search]\nweight_decay = []": ("[search] weight_decay",),
    "[model]\nwidth = 100\nheads = 3": ("[model]", "width 100", "heads"),
    "[model]\nvocabulary = 256": ("[model] vocabulary", "256"),
    '[corpus]\nsource = "folder"': ("[corpus]", "path"),
    '[corpus]\npath = "here"': ("[corpus]", "path", "source"),
    "[corpus]\nmin_seconds = 5\nmax_seconds = 2": ("[corpus]", "min_seconds", "max_seconds"),
    "[corpus]\nmax_seconds = 31": ("[corpus] max_seconds", "31"),
    '[corpus]\nlanguage = "Swedish"': ("[corpus] language", "Swedish"),
    'name = "../elsewhere"': ("name", "../elsewhere"),
    'name = ""': ("name",),
    "[training\nsteps = 3": ("not TOML", "line 1"),
    "[training]\nsteps = 3\nsteps = 4": ("not TOML",),
}


def test_the_sample_profile_spells_out_the_defaults():
    assert settings.load(SAMPLE.read_text(encoding="utf-8")) == settings.load("")


def test_the_sample_profile_leaves_out_only_what_has_no_default_to_show():
    given = tomllib.loads(SAMPLE.read_text(encoding="utf-8"))
    left_out = {
        f"{table}.{key}"
        for table, values in Settings().model_dump().items()
        if isinstance(values, dict)
        for key in values.keys() - given[table].keys()
    }
    assert left_out == {"corpus.path", "corpus.limit_clips", "model.base"}


@pytest.mark.parametrize(("profile", "named"), WRONG.items(), ids=WRONG)
def test_a_wrong_profile_is_refused_in_one_line_that_names_the_key(profile, named, refusal):
    line = refusal(settings.load, profile)
    assert line.startswith("profile: ")
    assert [word for word in named if word not in line] == []


def test_a_profile_gives_only_what_differs():
    given = settings.load("[training]\nsteps = 7")
    assert given.training.steps == 7
    assert given.training.batch_size == Settings().training.batch_size
    assert given.search == Settings().search


def test_a_profile_holds_swedish_letters():
    assert settings.load('[corpus]\nsource = "folder"\npath = "/tal/åäö"').corpus.path == Path("/tal/åäö")


def test_relative_paths_mean_the_folder_the_command_is_run_in(tmp_path):
    (tmp_path / "old").mkdir()
    profile = '[corpus]\nsource = "folder"\npath = "speech"\n[model]\nbase = "old"\n[release]\nfolder = "new"'
    given = settings.load(profile, tmp_path)
    assert given.corpus.path == tmp_path / "speech"
    assert given.model.base == str(tmp_path / "old")
    assert given.release.folder == tmp_path / "new"


def test_without_a_folder_they_mean_the_current_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert settings.load("").release.folder == tmp_path / "released"


def test_absolute_paths_and_the_home_folder_are_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    profile = '[corpus]\nsource = "folder"\npath = "~/speech"\n[release]\nfolder = "/srv/released"'
    given = settings.load(profile, tmp_path / "elsewhere")
    assert given.corpus.path == tmp_path / "home" / "speech"
    assert given.release.folder == Path("/srv/released")


def test_a_base_that_is_no_folder_here_is_an_id_on_the_hub(tmp_path):
    assert settings.load('[model]\nbase = "KBLab/kb-whisper-tiny"', tmp_path).model.base == "KBLab/kb-whisper-tiny"


def test_a_base_given_as_released_latest_means_the_release_it_points_to_now(tmp_path):
    (tmp_path / "released" / "sample-1").mkdir(parents=True)
    (tmp_path / "released" / "latest").symlink_to("sample-1")
    given = settings.load('[model]\nbase = "released/latest"', tmp_path)
    assert given.model.base == str(tmp_path / "released" / "sample-1")


def test_settings_are_frozen():
    given = settings.load("")
    with pytest.raises(ValidationError):
        given.name = "other"
    with pytest.raises(ValidationError):
        given.training.steps = 1


def test_settings_survive_the_journey_through_json():
    given = settings.load('name = "a"\n[corpus]\nsource = "folder"\npath = "b"\n[search]\nlearning_rate = [0.1, 0.2]')
    assert Settings.model_validate(given.model_dump(mode="json")) == given
