"""Valid profiles, and the errors of invalid ones."""

import os
import tomllib
from pathlib import Path

import pytest
from asr import settings
from asr.settings import Settings
from pydantic import ValidationError

SAMPLE = Path(settings.__file__).parents[2] / "profiles" / "sample.toml"

WRONG = {
    # The profile: what the error must contain.
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
    "[search]\nlearning_rate = {low = 1e-5, high = 1e-3}": ("[search]", "learning_rate is a range", "quasi"),
    '[search]\nsampler = "quasi"\nlearning_rate = {low = 1e-3, high = 1e-5}': ("[search] learning_rate", "not below"),
    '[search]\nsampler = "quasi"\nlearning_rate = {low = 0.0, high = 0.1, log = true}': ("learning_rate", "logarithm"),
    '[search]\nsampler = "quasi"\nlearning_rate = {lwo = 1e-5, high = 1e-3}': (
        "[search] learning_rate.lwo:",
        "did you mean low?",
    ),
    '[search]\nsampler = "bayes"': ("[search] sampler", "'bayes'"),
    "[search]\nbatch_size = [8.5]": ("[search] batch_size", "8.5"),
    "[search]\nmax_hours = 0": ("[search] max_hours", "0"),
    "[search]\nstop_losers = 1": ("[search] stop_losers", "1"),
    '[training]\ncontext = "short"': ("[training] context", "'trimmed'", "'short'"),
    "[training]\nbatch_seconds = -1.0": ("[training] batch_seconds", "-1"),
    "[training]\naccumulate = 0": ("[training] accumulate", "0"),
    "[training]\nsilence_share = 0.9": ("[training] silence_share", "0.9"),
    "[training]\nspeed = 0.9": ("[training] speed", "0.9"),
    "[training]\nlora_rank = -1": ("[training] lora_rank", "-1"),
    "[training]\ntimestamps_share = 1.2": ("[training] timestamps_share", "1.2"),
    "[model]\nwidth = 100\nheads = 3": ("[model]", "width 100", "heads"),
    "[model]\nvocabulary = 256": ("[model] vocabulary", "256"),
    '[release]\nrepo_id = "a/b/c"': ("[release] repo_id", "'a/b/c'"),
    '[release]\nformats = ["ggml"]': ("[release] formats lacks ct2-int8",),
    '[release]\nspace_id = "me/hear"': ("[release] space_id needs repo_id",),
    "[release]\nkeep = 0": ("[release] keep", "0"),
    '[release]\nweights = "int4"': ("[release] weights", "'fp16'"),
    '[corpus]\nsource = "folder"': ('[corpus] source = "folder" needs path',),
    '[corpus]\nsource = "folder"\npath = ""': ("[corpus] path", "''"),
    '[corpus]\nsource = "folder"\npath = "a\\u0000b"': ("[corpus] path",),
    '[corpus]\nsource = "hub"': ('[corpus] source = "hub" needs id',),
    '[corpus]\nsource = "common_voice"': ("[corpus]", "needs path or id"),
    '[corpus]\nsource = "common_voice"\npath = "a"\nid = "b"': ("[corpus]", "needs path or id"),
    '[corpus]\nsource = "youtube"': ("[corpus] source", "common_voice", "'youtube'"),
    '[corpus]\npath = "here"': ("[corpus] path", 'source = "folder" or "common_voice"'),
    '[corpus]\ncolumns = {text = "words"}': ("[corpus] columns", 'source = "hub"'),
    '[corpus]\nsource = "hub"\nid = "a/b"\ncolumns = {txt = "words"}': ("[corpus] columns.txt:", "did you mean text?"),
    '[corpus]\nsource = "hub"\nid = "a/b"\nsplits = {trian = "a"}': ("[corpus] splits.trian:", "did you mean train?"),
    '[corpus]\nname = "two words"': ("[corpus] name", "'two words'"),
    "[corpus]\nweight = -1": ("[corpus] weight", "-1"),
    "[corpus]\nweight = inf": ("[corpus] weight", "inf"),
    "[corpus]\nlimit_clips = 0": ("[corpus] limit_clips", "0"),
    "[corpus]\nlimit_hours = 0": ("[corpus] limit_hours", "0"),
    "[corpus]\nweight = 2.0\n[[corpus.sources]]": ("[corpus] weight stands beside a list of sources",),
    "[[corpus.sources]]\n[[corpus.sources]]": ("[corpus] two sources are called sample", "name"),
    '[[corpus.sources]]\n[[corpus.sources]]\npth = "a"': ("[corpus] sources.1.pth:", "did you mean path?"),
    '[[corpus.sources]]\nsource = "folder"': ("[corpus] sources.0", "needs path"),
    '[[corpus.sources]]\nlanguage = "english"': ("[corpus] sources.0.language", "did you mean en?"),
    '[[corpus.sources]]\nlanguage = "en"': ("[corpus] no source is in sv",),
    '[[corpus.sources]]\n[[corpus.sources]]\nname = "b"\nlanguage = "en"': (
        "profile: [corpus] language: b is in en",
        "[model] base",
    ),
    "[release]\nbase_share = 0.2": ("[release] base_share goes with [model] base",),
    "[release]\nbase_share = 1.5": ("[release] base_share", "1.5"),
    "[release]\nmax_forgotten = 2.0": ("[release] max_forgotten: no source is in another language",),
    '[corpus]\nsources = "sample"': ("[corpus] sources", "'sample'"),
    '[corpus]\nexclude = "nowhere.txt"': ("[corpus] exclude", "nowhere.txt cannot be read"),
    "[corpus]\nexclude = [17]": ("[corpus] exclude", "17"),
    "[corpus]\nmin_peak = 2": ("[corpus] min_peak", "2"),
    "[corpus]\nmax_clipped = -0.1": ("[corpus] max_clipped", "-0.1"),
    "[corpus]\nmax_words_per_second = 0": ("[corpus] max_words_per_second", "0"),
    "[corpus]\nmax_foreign_letters = 0.5": ("[corpus] max_foreign_letters", "0.5"),
    "[corpus]\nspeakers_may_cross = 1": ("[corpus] speakers_may_cross", "1"),
    "[corpus]\nshard_clips = 0": ("[corpus] shard_clips", "0"),
    "[corpus]\nmin_seconds = 0.05": ("[corpus] min_seconds", "0.05"),
    "[corpus]\nmin_seconds = 5\nmax_seconds = 2": ("[corpus]", "min_seconds", "max_seconds"),
    "[corpus]\nmax_seconds = 31": ("[corpus] max_seconds", "31"),
    '[corpus]\nlanguage = "Swedish"': ("[corpus] language", "Swedish", "did you mean sv?"),
    '[corpus]\nlanguage = "se"': ("[corpus] language: Whisper has no language 'se'; did you mean sv?",),
    '[corpus]\nlanguage = "xx"': ("[corpus] language: Whisper has no language 'xx'",),
    '[training]\nnoise = "musan"': ("[training] noise is given, and noise_share is 0",),
    '[training]\nrooms = "rirs"': ("[training] rooms is given, and room_share is 0",),
    "[training]\nroom_share = 2": ("[training] room_share", "2"),
    '[text]\nwriting = ["uncode"]': ("[text] writing.0", "'unicode'", "'uncode'"),
    '[text]\nwriting = "lower"': ("[text] writing", "list", "'lower'"),
    '[text]\nscoring = "strict"': ("[text] scoring", "'lenient'", "'strict'"),
    'name = "../elsewhere"': ("name", "../elsewhere"),
    'name = ""': ("name",),
    "[training\nsteps = 3": ("not TOML", "line 1"),
    "[training]\nsteps = 3\nsteps = 4": ("not TOML",),
}
HOSTILE = {
    # The kind of attack: the profile, and what the error must contain.
    "a seed beyond NumPy's": (f"[training]\nseed = {2**70}", "[training] seed"),
    "another seed": (f"[search]\nseed = {2**32}", "[search] seed"),
    "a number of 400 digits": ("[training]\nsteps = 1" + "0" * 400, "[training] steps"),
    "a number of 5000 digits": ("[training]\nsteps = 1" + "0" * 5_000, "not TOML"),
    "hexadecimals": ("[training]\nsteps = 0x" + "f" * 100_000, "[training] steps"),
    "a float beyond floats": ("[corpus]\nweight = 1e400", "[corpus] weight"),
    "a weight of 400 digits": ("[corpus]\nweight = 1" + "0" * 400, "[corpus] weight"),
    "patience": ("[training]\npatience = 10000000000", "[training] patience"),
    "trials without end": ("[search]\ntrials = 1000000000", "[search] trials"),
    "a wide model": ("[model]\nwidth = 1000000000\nheads = 1", "[model] width"),
    "a deep model": ("[model]\nencoder_layers = 1000000", "[model] encoder_layers"),
    "minus infinity": ("[training]\nwarmup = -inf", "[training] warmup"),
    "open arrays": ("x = " + "[" * 100_000, "too deep"),
    "arrays": ("x = " + "[" * 5_000 + "]" * 5_000, "too deep"),
    "tables": ("x = " + "{a = " * 300 + "1" + "}" * 300, "x: unknown key"),
    "arrays for a number": ("[training]\nsteps = " + "[" * 90 + "]" * 90, "[training] steps"),
    "a key of many parts": ("a" + ".a" * 100_000 + " = 1", "more than 16 parts"),
    "a quoted key of many parts": ('"a"' + ' . "a"' * 40_000 + " = 1", "more than 16 parts"),
    "a table of many parts": ("[a" + ".a" * 50_000 + "]", "more than 16 parts"),
    "ten megabytes": ("# " + "a" * 10_000_000, "10,000,002 characters"),
    "sources": ("[[corpus.sources]]\n" * 10_000, "[corpus] sources"),
    "rates": ("[search]\nlearning_rate = [" + "0.001," * 20_000 + "]", "[search] learning_rate"),
    "keys": ("\n".join(f"k{at} = 1" for at in range(20_000)), "k0: unknown key"),
    "a long key": ("a" * 100_000 + " = 1", "unknown key"),
    "a long name": ('name = "' + "a" * 100_000 + '"', "name"),
    "a base with NUL": ('[model]\nbase = "a\\u0000b"', "[model] base"),
    "a folder with NUL": ('[release]\nfolder = "a\\u0000b"', "[release] folder"),
    "a list with NUL": ('[corpus]\nexclude = "a\\u0000b"', "[corpus] exclude"),
    "a source's name with NUL": ('[corpus]\nname = "a\\u0000b"', "[corpus] name"),
    "recordings of an unknown user": ('[corpus]\nsource = "folder"\npath = "~nobody-here/x"', "[corpus] path"),
    "a base of an unknown user": ('[model]\nbase = "~nobody-here/x"', "[model] base"),
    "releases of an unknown user": ('[release]\nfolder = "~nobody-here/x"', "[release] folder"),
    "a list of an unknown user": ('[text]\nhotwords = "~nobody-here/x"', "[text] hotwords"),
    "10,000 letters": (f'[corpus]\nsource = "folder"\npath = "{"a" * 10_000}"', "[corpus] path"),
    "too long a name": (f'[release]\nfolder = "{"a" * 3_000}"', "[release] folder"),
    "too long a base": (f'[model]\nbase = "{"a" * 3_000}"', "[model] base"),
    "a device": ('[corpus]\nexclude = "/dev/zero"', "[corpus] exclude"),
    "a folder": ('[text]\nhotwords = "/"', "[text] hotwords"),
    "a terminal's codes": ('[corpus]\nexclude = "\\u001b[31mred\\nnew\\u202e"', r"\x1b[31mred new\u202e cannot be"),
    "codes in a key": ('"\\u001b[31m\\n" = 1', r"\x1b[31m"),
}


def test_every_language_that_whisper_knows_is_accepted():
    from transformers.models.whisper.tokenization_whisper import LANGUAGES

    assert set(LANGUAGES) == settings.LANGUAGES


def test_the_sample_profile_spells_out_the_defaults():
    assert settings.load(SAMPLE.read_text(encoding="utf-8")) == settings.load("")


def test_the_sample_profile_leaves_out_only_keys_without_a_default():
    profile = tomllib.loads(SAMPLE.read_text(encoding="utf-8"))
    left_out = {
        f"{table}.{key}"
        for table, values in Settings().model_dump().items()
        if isinstance(values, dict)
        for key in values.keys() - profile[table].keys()
    }
    of_other_sources = "name licence path id config revision splits columns sources limit_clips limit_hours".split()
    off = "training.batch_seconds search.warmup search.label_smoothing search.batch_size search.max_hours".split()
    off += [
        f"release.{key}" for key in "keep max_invented max_timestamp_error max_forgotten repo_id tag space_id".split()
    ]
    off += ["release.space_hardware", "release.push_dataset", "training.noise", "training.rooms"]
    off += [f"compute.{key}" for key in ("image", "schedule", "trigger")]
    assert left_out == {*(f"corpus.{key}" for key in of_other_sources), "text.alphabet", "model.base", *off}


@pytest.mark.parametrize(("profile", "expected"), WRONG.items(), ids=WRONG)
def test_a_wrong_profile_is_refused_in_one_line_that_names_the_key(profile, expected, refusal):
    line = refusal(settings.load, profile)
    assert line.startswith("profile: ")
    assert [word for word in expected if word not in line] == []


@pytest.mark.parametrize(("profile", "expected"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_profile_is_refused_in_a_line_that_can_be_shown(profile, expected, refusal):
    line = refusal(settings.load, profile)
    assert line.startswith("profile: ")
    assert expected in line
    assert line.isprintable()
    assert len(line) < 2_100


def test_only_regular_files_are_opened(tmp_path, refusal):
    """Reading a pipe would block, and a device is endless."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "large.toml").touch()
    os.truncate(tmp_path / "large.toml", 1 << 34)
    (tmp_path / "link.toml").symlink_to("/proc/self/environ")
    for path in (tmp_path / "pipe", tmp_path, "/dev/zero", "/proc/self/environ", tmp_path / "link.toml"):
        assert "is not a text file" in refusal(settings.check_file, str(path))
    assert "17,179,869,184 bytes" in refusal(settings.check_file, str(tmp_path / "large.toml"))
    for name in ("pipe", "large.toml"):
        assert "[corpus] exclude" in refusal(settings.load, f'[corpus]\nexclude = "{tmp_path / name}"')


@pytest.mark.parametrize("file", sorted(SAMPLE.parent.glob("*.toml")), ids=lambda file: file.name)
def test_every_profile_of_the_repository_is_valid(file):
    assert settings.load(file.read_text(encoding="utf-8")).name


def test_a_profile_needs_only_what_differs_from_the_defaults():
    loaded = settings.load("[training]\nsteps = 7")
    assert loaded.training.steps == 7
    assert loaded.training.batch_size == Settings().training.batch_size
    assert loaded.search == Settings().search


def test_a_profile_holds_swedish_letters():
    assert settings.load('[corpus]\nsource = "folder"\npath = "/tal/åäö"').corpus.path == "/tal/åäö"


def test_relative_paths_start_at_the_folder_of_the_command(tmp_path):
    (tmp_path / "old").mkdir()
    profile = '[corpus]\nsource = "folder"\npath = "speech"\n[model]\nbase = "old"\n[release]\nfolder = "new"'
    loaded = settings.load(profile, tmp_path)
    assert loaded.corpus.path == str(tmp_path / "speech")
    assert loaded.model.base == str(tmp_path / "old")
    assert loaded.release.folder == tmp_path / "new"


def test_each_of_several_sources_has_its_path_and_name(tmp_path):
    (tmp_path / "parquet").mkdir()
    loaded = settings.load(
        """
        [[corpus.sources]]
        [[corpus.sources]]
        source = "folder"
        path = "mina inspelningar"
        [[corpus.sources]]
        source = "common_voice"
        path = "~/cv.tar.gz"
        name = "cv"
        weight = 0.5
        [[corpus.sources]]
        source = "hub"
        id = "google/fleurs"
        [[corpus.sources]]
        source = "hub"
        id = "parquet"
        [[corpus.sources]]
        source = "folder"
        path = "gs://bucket/speech/"
        name = "bucket"
        """,
        tmp_path,
    ).corpus.all_sources
    names = ["sample", "folder", "cv", "google-fleurs", "hub", "bucket"]  # without any folder name of this machine
    assert [source.display_name for source in loaded] == names
    assert [source.weight for source in loaded] == [1, 1, 0.5, 1, 1, 1]
    assert loaded[1].path == str(tmp_path / "mina inspelningar")
    assert loaded[2].path == str(Path.home() / "cv.tar.gz")
    assert [source.id for source in loaded[3:5]] == ["google/fleurs", str(tmp_path / "parquet")]
    assert loaded[5].path == "gs://bucket/speech/"


def test_a_source_may_be_in_another_language_than_the_corpus():
    corpus = settings.load(
        """
        [corpus]
        language = "fi"
        [[corpus.sources]]
        language = "fi"
        [[corpus.sources]]
        name = "other"
        [[corpus.sources]]
        name = "english"
        language = "en"
        [model]
        base = "openai/whisper-tiny"
        """
    ).corpus
    assert corpus.language == "fi"
    assert corpus.retained == {"english": "en"}
    assert [corpus.language_of(name) for name in ("sample", "other", "english")] == ["fi", "fi", "en"]
    assert settings.load('[corpus]\nlanguage = "en"').corpus.retained == {}


def test_excluded_speakers_and_clips_may_be_listed_in_a_file(tmp_path):
    """macOS may write å as two characters, and Notepad a byte order mark before the first line."""
    (tmp_path / "out.txt").write_text("# withdrew in May\nA\u030asa\n\n  clips/7.mp3 \n", encoding="utf-8-sig")
    assert settings.load('[corpus]\nexclude = "out.txt"', tmp_path).corpus.exclude == ("Åsa", "clips/7.mp3")
    assert settings.load('[corpus]\nexclude = ["A\u030asa"]', tmp_path).corpus.exclude == ("Åsa",)


def test_without_a_folder_relative_paths_start_at_the_current_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert settings.load("").release.folder == tmp_path / "released"


def test_absolute_paths_and_the_home_folder_are_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    profile = '[corpus]\nsource = "folder"\npath = "~/speech"\n[release]\nfolder = "/srv/released"'
    loaded = settings.load(profile, tmp_path / "elsewhere")
    assert loaded.corpus.path == str(tmp_path / "home" / "speech")
    assert loaded.release.folder == Path("/srv/released")


def test_a_base_that_is_no_local_folder_is_an_id_on_the_hub(tmp_path):
    assert settings.load('[model]\nbase = "KBLab/kb-whisper-tiny"', tmp_path).model.base == "KBLab/kb-whisper-tiny"


def test_a_base_given_as_released_latest_means_the_release_it_points_to_now(tmp_path):
    (tmp_path / "released" / "sample-1").mkdir(parents=True)
    (tmp_path / "released" / "latest").symlink_to("sample-1")
    loaded = settings.load('[model]\nbase = "released/latest"', tmp_path)
    assert loaded.model.base == str(tmp_path / "released" / "sample-1")


def test_settings_are_frozen():
    loaded = settings.load("")
    with pytest.raises(ValidationError):
        loaded.name = "other"
    with pytest.raises(ValidationError):
        loaded.training.steps = 1


def test_settings_survive_a_round_trip_through_json():
    corpus = '[corpus]\nexclude = ["Åsa"]\n[[corpus.sources]]\nsource = "folder"\npath = "b"'
    loaded = settings.load(f'name = "a"\n{corpus}\n[search]\nlearning_rate = [0.1, 0.2]')
    assert Settings.model_validate(loaded.model_dump(mode="json")) == loaded
