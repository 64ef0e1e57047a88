"""The winner as a release: what it is evaluated on, and what its record holds."""

import json
from dataclasses import replace
from types import SimpleNamespace

import datasets
import numpy as np
import pyarrow as pa
import pytest
from asr.release import engine, evaluation, folder, gate, record
from asr.scoring import diagnostics, rates
from asr.settings import Corpus
from asr.training import search
from asr.training.dataset import ClipDataset
from asr.training.search import ClipErrors, CurvePoint, Outcome, Trial

SPACE = engine.capture_space()
CREATED = "2026-11-25T08:00:00+00:00"
POINTS = (CurvePoint(12, 3.0, 2.9, 80.0, 70.0, 90.0), CurvePoint(24, 2.0, 2.1, 60.0, 50.0, 70.0))
ERRORS = ClipErrors((1, 2), (5, 5), (None, None))
WINNER = Outcome(Trial(0, 0.003, 0.01), 60.0, 24, 5.0, "finished", POINTS, ERRORS)
LEADERBOARD = search.leaderboard([WINNER, Outcome(Trial(1, 0.09, 0.01), float("nan"), 4, 1.0, "diverged", ())])


@pytest.fixture(scope="module")
def untrained(tiny, base, joined, speech, tmp_path_factory):
    """The evaluation, the record and the log of a release of an untrained model, which is its own base."""
    corpus = {**joined.summary, "speakers_crossing": 3}
    run_facts = record.run_record(tiny, "17", CREATED, "0.1.0+abc", corpus, LEADERBOARD, WINNER, ("2 CPU cores", 20))
    release_folder, lines = tmp_path_factory.mktemp("ready"), []
    settings = tiny.model_copy(
        update={
            "model": tiny.model.model_copy(update={"base": str(base)}),
            "release": tiny.release.model_copy(update={"formats": ("ct2-int8", "ggml")}),
        }
    )
    evaluated = evaluation.build_and_evaluate(release_folder, settings, base, speech, SPACE, run_facts, lines.append)
    return evaluated, json.loads((release_folder / "release.json").read_text(encoding="utf-8")), lines


@pytest.fixture(scope="module")
def with_retained(tiny, base, joined, speech, tiny_store, tmp_path_factory):
    """The evaluation and the record of the same release, with half of the test clips as retained English."""
    corpus = Corpus.model_validate({"sources": [{}, {"name": "english", "language": "en", "weight": 0.5}]})
    settings = tiny.model_copy(
        update={
            "model": tiny.model.model_copy(update={"base": str(base)}),
            "corpus": corpus,
            "text": tiny.text.model_copy(update={"hotwords": ("Kiruna",)}),
        }
    )
    test_shards = [shard for shard in joined.shards if shard.split == "test"]
    shards = [shard for shard in joined.shards if shard is not test_shards[0]] + [
        replace(test_shards[0], retained="en")
    ]
    halved = replace(speech, shards=shards, folder=tmp_path_factory.mktemp("speech"))
    summary = {**joined.summary, "sources": {"sample": 0.1, "english": 0.1}}
    run_facts = record.run_record(
        settings, "17", CREATED, "0.1.0+abc", summary, LEADERBOARD, WINNER, ("2 CPU cores", 20)
    )
    release_folder = tmp_path_factory.mktemp("ready")
    evaluated = evaluation.build_and_evaluate(
        release_folder, settings, base, halved, SPACE, run_facts, lambda line: None
    )
    return (
        evaluated,
        json.loads((release_folder / "release.json").read_text(encoding="utf-8")),
        release_folder,
        len(test_shards[0].clips),
    )


def test_the_served_engine_gets_the_hotwords(with_retained):
    report = with_retained[0].report
    assert report["hotwords"] == 1
    assert {"hotword_recall", "hinted_recall"} <= report.keys()


def test_retained_languages_are_evaluated_apart_from_the_test_set(with_retained, untrained):
    evaluated, record, release_folder, count = with_retained
    report = evaluated.report
    assert report["clips"] == len(evaluated.scores) == 16 - count
    assert report["retained_clips"] == {"en": count}
    assert report["retained_wer"].keys() == {"en"}
    low, high = report["retained_wer_ci"]["en"]
    assert low <= report["retained_wer"]["en"] <= high
    assert set(report["against_retained_baseline"]["en"]) == {"difference", "low", "high", "p"}
    assert record["retained_wer"] == report["retained_wer"]
    assert record["retained_sources"] == {"english": "en"}
    page = (release_folder / "README.md").read_text(encoding="utf-8")
    assert f"WER in English, {count} clips" in page
    assert "in English, retained" in page
    assert "retained_wer" not in untrained[0].report


def test_every_test_clip_is_scored_once_under_its_own_name(untrained, joined):
    scores = untrained[0].scores
    tested = [clip for shard in joined.shards if shard.split == "test" for clip in shard.clips["clip"]]
    assert scores["clip"].tolist() == tested
    assert set(scores["source"]) == {"sample"}
    assert scores["speaker"].notna().all()
    assert scores["reference"].str.len().min() > 3


def test_a_model_that_is_its_own_base_is_no_better(untrained):
    scores, report = untrained[0].scores, untrained[0].report
    assert scores["hypothesis"].tolist() == scores["baseline"].tolist()
    assert report["test_wer"] == report["baseline_wer"]
    assert report["against_baseline"]["p"] == 1


def test_the_record_holds_the_corpus_and_the_scores(untrained, joined):
    evaluated, record, _ = untrained
    assert record["hours"] == joined.summary["hours"]
    assert record["fingerprint"] == joined.summary["fingerprint"]
    assert record["speakers_crossing"] == 3
    assert record["wer_by_source"] == {"sample": pytest.approx(evaluated.report["test_wer"])}
    for name in ("test_wer", "served_wer", "orthographic_wer", "clips", "invented_words_per_minute", "loops"):
        assert record[name] == evaluated.report[name], name


class Engine:
    """A fake of the Space's engine: it returns "tack", or with 30 s of context `full`, from 0.5 to 1.5 s."""

    full = "tack tack"

    def __init__(self, folder):
        assert (folder / "ct2-int8" / "model.bin").is_file()
        self.context = "trimmed"

    def transcribe_batch(self, sounds):
        return ["tack" if self.context == "trimmed" else self.full] * len(sounds)

    def transcribe(self, sound):
        assert self.context == "trimmed"
        return SimpleNamespace(segments=[SimpleNamespace(start=0.5, end=1.5)])


@pytest.fixture
def evaluate_clips(tiny, base, speech, tmp_path, monkeypatch):
    """A function that evaluates some test clips, with times of their words, by that engine."""
    monkeypatch.setattr(engine, "load_engine", lambda space: SimpleNamespace(Transcriber=Engine))

    def evaluate(times=None, clip_count=4, folder_name="ready"):
        clips = speech.split("test").select(range(clip_count))
        if times:
            segments = pa.array([[{"start": start, "end": end, "text": "x"}] for start, end in times])
            clips = datasets.Dataset(
                clips.with_format("arrow")[:].drop_columns("segments").append_column("segments", segments)
            )
            clips = clips.cast_column("audio", datasets.Audio(decode=False))
        return evaluation.evaluate_model(tmp_path / folder_name, tiny, base, clips, SPACE, log=lambda line: None)

    return evaluate


def test_a_format_that_needs_a_larger_vocabulary_is_reported_and_left_out(untrained):
    evaluated, record, lines = untrained
    assert [line for line in lines if line.startswith("ggml is left out: ")]
    assert record["formats"] == ["ct2-int8"] and "ggml_wer" not in evaluated.report


def test_each_kind_for_whisper_cpp_is_scored(tiny, base, speech, tmp_path, monkeypatch):
    test = ClipDataset(speech.split("test"))
    monkeypatch.setattr(evaluation.ggml, "unsupported_reason", lambda tokens: "")
    transcripts = {"f16": test.texts, "q5_0": [""] * len(test)}
    monkeypatch.setattr(
        evaluation.ggml, "transcribe", lambda folder, kind, *_: transcripts[kind][: evaluation.FULL_CONTEXT_CLIPS]
    )
    settings = tiny.model_copy(update={"release": tiny.release.model_copy(update={"formats": ("ct2-int8", "ggml")})})
    evaluated = evaluation.evaluate_model(tmp_path, settings, base, speech.split("test"), SPACE, log=lambda line: None)
    assert evaluated.report["formats"] == ["ct2-int8", "ggml"] and evaluated.report["ggml_clips"] == len(test)
    assert evaluated.report["ggml_wer"] == {"f16": 0, "q5_0": 100}
    low, high = evaluated.report["ggml_wer_ci"]["q5_0"]
    assert low < 100 <= high


def test_the_record_is_json_and_holds_the_whole_search(untrained):
    record = untrained[1]
    assert record["leaderboard"][1]["validation_wer"] is None  # it diverged, and JSON knows no NaN
    assert [point["step"] for point in record["curve"]] == [12, 24]
    assert record["hyperparameters"] == {"learning_rate": 0.003, "weight_decay": 0.01}
    assert (record["created"], record["hardware"], record["watts"]) == (CREATED, "2 CPU cores", 20)
    assert record["licences"] == {"sample": "CC0-1.0"}
    assert [clip["licence"] for clip in record["examples"]] == ["CC0-1.0"] * 3
    assert record["loads"] == [] and record["vocabulary"] > 300 and record["parameters"] > 10_000
    assert len(record["faults"]) == 1  # it is no better than its base


def test_the_release_keeps_error_counts_by_audio_hash_and_no_text(untrained, tmp_path_factory):
    evaluated = untrained[0]
    counts = gate.error_counts(evaluated.scores, "basic")
    assert len(counts["clips"]) == 16
    assert (
        gate.match_published_counts(counts, evaluated.scores, "basic")
        == evaluated.scores["served_word_errors"].tolist()
    )


def test_a_model_trained_from_scratch_records_its_limits(tiny, untrained, speech, tmp_path):
    train = ClipDataset(speech.split("train"))

    def limits(base=None, **training):
        training = tiny.training.model_copy(update={"quiet_seconds": 0.5, **training})
        model = tiny.model.model_copy(update={"base": base})
        return record.model_limits(tiny.model_copy(update={"training": training, "model": model}), train)

    from_scratch = limits()
    assert from_scratch["longest_seconds"] == pytest.approx(max(train.seconds) + 0.5)
    assert 0.3 < from_scratch["peak"] < 0.8
    assert limits(context="packed").keys() == {"peak"}
    assert limits("openai/whisper-small") == limits(str(tmp_path)) == {}  # they have no such limits
    folder.write_json(tmp_path / "release.json", {"longest_seconds": 9.0, "peak": 0.1})
    assert limits(str(tmp_path)) == from_scratch | {"longest_seconds": 9.0}


def test_a_hub_dataset_is_named_by_its_id_on_the_card(tiny):
    hub, own = {"source": "hub", "id": "KBLab/rixvox-v2"}, {"source": "hub", "id": "a/b", "name": "tal"}
    local = {"source": "folder", "path": "/somewhere"}
    mixed = tiny.model_copy(update={"corpus": Corpus.model_validate({"sources": [hub, own, local]})})
    assert [record.source_name(source.display_name, mixed) for source in mixed.corpus.all_sources] == [
        "KBLab/rixvox-v2",
        "tal",
        "folder",
    ]


def test_the_same_artifacts_give_the_same_bytes(untrained, tiny, base, tmp_path_factory):
    record = untrained[1]
    folders = [tmp_path_factory.mktemp("again") for _ in range(2)]
    for release_folder in folders:
        folder.build_release(release_folder, base, "sv")
        folder.write_description(
            release_folder, {name: value for name, value in record.items() if name != "base_is_local"}
        )
    names = [
        sorted(str(path.relative_to(release_folder)) for path in release_folder.rglob("*") if path.is_file())
        for release_folder in folders
    ]
    assert names[0] == names[1] and "training.png" in names[0]
    assert all((folders[0] / name).read_bytes() == (folders[1] / name).read_bytes() for name in names[0])


def test_a_published_model_is_scored_as_served_on_the_same_clips(tiny, base, speech, untrained):
    errors = evaluation.score_published_model(base, tiny, speech.split("test"), SPACE, lambda line: None)
    assert errors == untrained[0].scores["served_word_errors"].tolist()


def test_diagnostics_are_measured_on_the_release_as_served(evaluate_clips):
    evaluated = evaluate_clips()
    report = evaluated.report
    assert report["invented_words_per_minute"] == pytest.approx(24 / 3.2)
    assert report["context_clips"] == report["clips"] == 4
    assert report["trimmed_context_wer"] == report["served_wer"] == 100
    assert report["full_context_wer"] == 100
    assert report["full_context_p"] == 1
    assert report["timestamp_error"] is None  # the sample has no times of words
    assert report["real_time_factor"] > 0 and report["threads"] > 0
    assert report["test_hours"] == pytest.approx(evaluated.scores["seconds"].sum() / 3600)


def test_a_release_that_needs_30_seconds_is_evaluated_and_served_padded(evaluate_clips, monkeypatch):
    """The difference must be significant, which it cannot be with four clips."""
    contexts = []  # of the float model, which is slow at 30 s

    def transcribe(source, settings, speech, context, log):
        contexts.append(context)
        return ["hej"] * len(speech)

    monkeypatch.setattr(evaluation, "_transcribe", transcribe)
    monkeypatch.setattr(evaluation.folder, "check_formats", lambda *_: [])
    monkeypatch.setattr(Engine, "full", "")  # empty, where "tack" would be an extra word
    assert evaluate_clips().report["context"] == "trimmed"
    monkeypatch.setattr(
        rates,
        "count_errors",
        lambda references, transcripts, *_: [rates.ErrorCounts(5, text == "tack", 0, 0, 9, 0) for text in transcripts],
    )
    report = evaluate_clips(clip_count=16, folder_name="other").report
    assert (report["context"], contexts) == ("full", ["trimmed", "full"])
    assert report["full_context_p"] < 0.05
    assert report["served_wer"] == report["full_context_wer"] == 0 < report["trimmed_context_wer"]


def test_served_timestamps_are_compared_with_the_known_ones(evaluate_clips):
    report = evaluate_clips([(0.5, 1.5), (0.4, 1.5), (0.4, 1.4), (0.3, 1.5)]).report
    assert report["timestamp_error"] == pytest.approx(0.05)  # the median of 0, 0, 0.1, 0, 0.1, 0.1, 0.2, 0


def test_the_worst_clips_have_audio(untrained, speech):
    scores, sounds = untrained[0].scores, untrained[0].sounds
    share = scores.set_index("clip")["word_errors"] / scores.set_index("clip")["words"]
    assert share[next(iter(sounds))] == share.max()
    test_audio = {clip["clip"]: clip["audio"]["bytes"] for clip in speech.split("test")}
    assert all(test_audio[name] == flac for name, flac in sounds.items())
    assert 1 < len(sounds) <= evaluation.WORST_CLIPS


def test_worst_clips_that_do_not_fit_on_a_card_are_left_out(untrained, speech, monkeypatch):
    monkeypatch.setattr(evaluation, "MAX_AUDIO_BYTES", 100_000)
    sounds = evaluation._worst_audio(speech.split("test"), untrained[0].scores)
    assert sum(map(len, sounds.values())) <= 100_000
    assert len(sounds) < len(untrained[0].sounds)


def test_probes_are_loud_enough_not_to_count_as_silence():
    assert (
        min(np.abs(probe).max() for probe in diagnostics.non_speech_probes()) > 1e-3
    )  # what the engine takes for silence


def test_progress_is_logged(untrained):
    assert [line for line in untrained[2] if not line.startswith("ggml")] == [
        "the base transcribes the test clips", "building the release", "the model transcribes the test clips",
        "and as served", "and with noise and in a room",
    ]  # fmt: skip
