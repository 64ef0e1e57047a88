"""Complete trials of a tiny model."""

import functools
import math
import os
import re
import signal
from dataclasses import replace

import psutil
import pytest
import torch
from asr import TakenOver, Terminated
from asr.corpus.shards import SpeechDataset
from asr.scoring import rates
from asr.settings import Corpus, Settings
from asr.terminal import format_duration
from asr.training import checkpoints, trial
from asr.training.callback import is_diverged
from asr.training.checkpoints import Checkpoints
from asr.training.decoding import Validation
from asr.training.halving import SuccessiveHalving
from asr.training.learner import Learner
from asr.training.search import Trial

POINT = Trial(0, learning_rate=4e-3, weight_decay=0.01)


@pytest.fixture(scope="module")
def run(tiny, speech):
    """A function that trains: the outcome, the model and the printed lines."""

    def fine_tune(
        point=POINT, checkpoints=None, siblings=None, log=None, on_status=None, name="trial", gpus=1, **training
    ):
        settings = tiny.model_copy(update={"training": tiny.training.model_copy(update=training)})
        lines = []
        arguments = point, settings, speech, log or lines.append, checkpoints, siblings, on_status, name, gpus
        outcome, model, _ = trial.fine_tune(*arguments)
        return outcome, model, lines

    return fine_tune


@pytest.fixture(scope="module")
def undisturbed(run):
    """Like `run`, but the same trial is only run once. Nothing may be replaced in it."""
    return functools.cache(run)


def test_a_repeated_trial_is_bit_identical_and_learns(run, undisturbed):
    first, model, lines = undisturbed()
    second, repeated, _ = run()
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, repeated.state_dict()[name]), name
    assert replace(first, seconds=0) == replace(second, seconds=0)

    assert (first.steps, first.stopped, first.trial) == (24, "finished", POINT)
    assert [point.step for point in first.curve] == [8, 16, 24]
    assert first.curve[-1].loss < first.curve[0].loss
    assert first.validation_wer == first.curve[-1].validation_wer
    assert first.seconds > 0

    assert [line for line in lines if not re.fullmatch(r"step +\d+/24  .*  \d+:\d\d min left", line)] == []
    assert sum("loss" in line for line in lines) >= 12
    assert sum("validation WER" in line for line in lines) == 3
    assert lines[-1].endswith("0:00 min left")


@pytest.mark.parametrize(("steps", "evaluations", "expected"), [(3, 1, [3]), (3, 3, [1, 2, 3]), (2, 5, [1, 2])])
def test_the_points_of_a_curve_are_evenly_spaced_and_end_at_the_last_step(run, steps, evaluations, expected):
    outcome, _, _ = run(steps=steps, evaluations=evaluations, validation_clips=1)
    assert [point.step for point in outcome.curve] == expected
    assert outcome.steps == steps


def test_a_trial_reports_its_status_about_fifty_times_and_at_its_end(run):
    statuses = []
    outcome, *_ = run(on_status=statuses.append, steps=120, evaluations=3, validation_clips=2)
    assert 50 <= len(statuses) <= 80
    assert [status.stopped for status in statuses] == [*[""] * (len(statuses) - 1), "finished"]
    assert statuses[-1].seconds_left == 0 < statuses[0].seconds_left
    assert (statuses[-1].history, statuses[-1].curve) == (outcome.history, outcome.curve)
    steps = [entry.step for entry in outcome.history]
    assert steps[0] == 1 and steps[-1] == 120 and steps == sorted(set(steps)) and len(steps) >= 50
    assert all(math.isfinite(entry.loss) and entry.clips_per_second > 0 for entry in outcome.history)
    rates = [entry.learning_rate for entry in outcome.history]
    assert max(rates) == pytest.approx(POINT.learning_rate, rel=0.1)
    assert rates[-1] == 0


def test_each_evaluation_has_an_interval_and_the_best_has_errors_by_clip(run):
    outcome, *_ = run(validation_clips=4)
    assert all(point.low <= point.validation_wer <= point.high for point in outcome.curve)
    clip_errors = outcome.clip_errors
    assert len(clip_errors.errors) == len(clip_errors.words) == len(clip_errors.speakers) == 4
    assert 100 * sum(clip_errors.errors) / sum(clip_errors.words) == pytest.approx(outcome.validation_wer)


def test_trackers_get_the_figures_under_the_trials_name(run, tmp_path, monkeypatch):
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path))
    outcome, *_ = run(trackers=("tensorboard",), name="tiny-7/trial-0", validation_clips=2)
    events = reader.EventAccumulator(str(tmp_path / "tiny-7" / "trial-0"))
    events.Reload()
    wers = {scalar.step: scalar.value for scalar in events.Scalars("eval/wer")}
    assert wers == {point.step: pytest.approx(point.validation_wer, rel=1e-5) for point in outcome.curve}
    assert [scalar.step for scalar in events.Scalars("train/loss")] == [entry.step for entry in outcome.history]
    assert {"train/learning_rate", "train/clips_per_second"} <= set(events.Tags()["scalars"])


def test_another_seed_gives_another_loss(run):
    losses = {run(steps=1, evaluations=1, validation_clips=1, seed=seed)[0].curve[-1].loss for seed in (0, 1)}
    assert len(losses) == 2


def test_a_base_is_fine_tuned(run, tiny, base, speech):
    settings = Settings.model_validate(
        {**tiny.model_dump(), "model": {"base": str(base)}, "training": {"steps": 2, "validation_clips": 1}}
    )
    outcome, model, processor = trial.fine_tune(POINT, settings, speech, lambda line: None)
    assert model.config.d_model == 32
    assert outcome.steps == 2
    assert len(processor.tokenizer) == model.config.vocab_size


def test_clips_are_drawn_by_their_sources_weights_and_scored_by_the_profiles_rule(
    tiny, preprocess, store, tmp_path, monkeypatch
):
    mixed = {
        "sources": [{"limit_clips": 4, "weight": 0.5}, {"name": "again", "limit_clips": 6, "weight": 3.0}],
        "speakers_may_cross": True, "duplicates_may_stay": True,
    }  # fmt: skip
    training = {"steps": 1, "evaluations": 1, "validation_clips": 1}
    settings = Settings.model_validate(
        {**tiny.model_dump(), "corpus": mixed, "text": {"scoring": "lenient"}, "training": training}
    )
    weights, rules = [], []
    buckets, errors = trial.BucketBatchSampler, rates.count_errors
    monkeypatch.setattr(
        trial, "BucketBatchSampler", lambda pool, *arguments: weights.append(pool.weights) or buckets(pool, *arguments)
    )
    monkeypatch.setattr(rates, "count_errors", lambda *texts: rules.append(texts[2:]) or errors(*texts))
    speech = SpeechDataset(preprocess(settings, store)[1].shards, tmp_path / "shards", store.fetch)
    trial.fine_tune(POINT, settings, speech, lambda line: None)
    assert weights == [[0.5] * 4 + [3.0] * 6]
    assert rules == [("lenient", "sv")]


def test_the_alignment_head_is_not_part_of_the_model(run):
    _, model, _ = run(steps=1, evaluations=1, validation_clips=1)
    assert [name for name in model.state_dict() if "aligner" in name] == []


def is_identical(first, second):
    """Whether two trials have exactly the same outcome and weights."""
    assert replace(first[0], seconds=0) == replace(second[0], seconds=0)
    weights = second[1].state_dict()
    for name, weight in first[1].state_dict().items():
        assert torch.equal(weight, weights[name]), name
    return True


class Kill(BaseException):
    """Simulates a SIGKILL: no code catches it."""


@pytest.fixture
def new_checkpoints(store, tiny, monkeypatch):
    """A function that returns the checkpoints of a new process, by default saved after every step."""
    monkeypatch.setattr(checkpoints, "MAX_TIME_SHARE", math.inf)

    def make(minutes=0.0):
        training = tiny.training.model_copy(update={"checkpoint_minutes": minutes})
        return Checkpoints(store, "trials/7/0", training, lambda line: None)

    return make


def run_killed_at(steps, new_checkpoints, run, **training):
    """Kill a trial after each of the steps; return what its last run returns."""
    for step in (*steps, None):
        checkpoints = new_checkpoints()
        if step is not None:
            saved = checkpoints.save

            def save(folder, at, last=step, saved=saved):
                saved(folder, at)
                if at == last:
                    raise Kill

            checkpoints.save = save
            with pytest.raises(Kill):
                run(checkpoints=checkpoints, **training)
        else:
            return run(checkpoints=checkpoints, **training)


VARIANTS = {
    "plain": {},
    "everything": {
        "speed": 0.1, "noise_share": 0.3, "bpe_dropout": 0.1, "timestamps_share": 0.3, "silence_share": 0.1,
        "room_share": 0.2, "telephone_share": 0.2, "codec_share": 0.2, "accumulate": 2, "batch_seconds": 12.0,
    },
    "packed": {"context": "packed"},
    "adapters": {"lora_rank": 2, "optimizer": "adamw"},
}  # fmt: skip


@pytest.mark.parametrize("training", VARIANTS.values(), ids=VARIANTS)
def test_a_trial_that_is_killed_repeatedly_ends_like_an_undisturbed_one(run, undisturbed, new_checkpoints, training):
    disturbed = run_killed_at((3, 8, 13, 22), new_checkpoints, run, **training)
    assert is_identical(undisturbed(**training), disturbed)
    assert disturbed[2][0] == "resumed at step 22 of 24"


@pytest.fixture
def set_wers(monkeypatch):
    """A function that sets the WERs of the next evaluations; the last is repeated."""

    def set_all(*wers):
        remaining = list(wers)

        def errors(validation, learner):
            wer = remaining.pop(0) if len(remaining) > 1 else remaining[0]
            return [rates.ErrorCounts(1000, round(10 * wer), 0, 0, 0, 0)] * len(validation.chosen)

        monkeypatch.setattr(Validation, "errors", errors)

    return set_all


def test_the_best_model_from_before_a_kill_is_the_result(run, new_checkpoints, set_wers):
    """The WER rises after the first evaluation, which is before the kill."""
    set_wers(5.0, 7.0, 6.0)
    whole = run()
    set_wers(5.0, 7.0, 6.0)
    disturbed = run_killed_at((10,), new_checkpoints, run)
    assert is_identical(whole, disturbed)
    assert whole[0].validation_wer == 5.0
    assert sum(whole[0].clip_errors.errors) == 4 * 50
    set_wers(5.0, 4.0, 3.0)
    assert not torch.equal(whole[1].proj_out.weight, run()[1].proj_out.weight)


def test_a_terminated_trial_saves_at_once_and_says_so(run, undisturbed, new_checkpoints):
    def terminate(text):
        if "step  8" in text:
            os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Terminated, match="step 8"):
        run(checkpoints=new_checkpoints(minutes=99.0), log=terminate)
    assert signal.getsignal(signal.SIGTERM) == before
    assert is_identical(undisturbed(), run(checkpoints=new_checkpoints()))


def test_a_diverging_loss_ends_a_trial_with_the_reason(run, tiny):
    outcome, _, lines = run(replace(POINT, learning_rate=0.9), optimizer="adamw", warmup=0.0, steps=24)
    assert outcome.stopped == "diverged"
    assert outcome.steps < 24
    assert math.isnan(outcome.validation_wer) == (not outcome.curve)
    assert "0:00 min left" not in lines[-1]


@pytest.mark.parametrize(
    ("losses", "diverged"),
    [([], False), ([7.0], False), ([7.0, math.nan], True), ([math.inf], True), ([3.0, 3.0, 40.0, 50.0], True),
     ([40.0, 3.0, 3.0, 3.0], False)],
)  # fmt: skip
def test_a_loss_has_diverged_if_it_is_far_worse_than_guessing_or_not_finite(losses, diverged):
    assert is_diverged(losses, vocabulary=2_000) == diverged


def test_a_trial_on_a_plateau_ends_with_its_best_model(run, set_wers):
    set_wers(9.0, 9.5, 9.0, 9.1, 1.0)
    outcome, model, _ = run(evaluations=6, patience=2)
    assert (outcome.stopped, outcome.steps, outcome.validation_wer) == ("plateau", 12, 9.0)
    assert len(outcome.curve) == 3
    set_wers(9.0)
    short = run(evaluations=6, patience=1)
    assert (short[0].stopped, short[0].steps) == ("plateau", 8)
    assert all(
        torch.equal(weight, short_weight)
        for weight, short_weight in zip(model.parameters(), short[1].parameters(), strict=True)
    )


def test_a_trial_whose_siblings_do_better_ends_early_with_a_measured_wer(run, store):
    siblings = [SuccessiveHalving(store, "7", number, 3) for number in range(3)]
    for sibling in siblings[1:]:
        sibling.report(0, 0.1)
    outcome, _, lines = run(siblings=siblings[0])
    assert (outcome.stopped, outcome.steps) == ("outpaced", 4)
    assert [point.step for point in outcome.curve] == [4]
    assert outcome.validation_wer == outcome.curve[0].validation_wer
    assert "validation WER" in lines[-1]


def test_a_trial_without_running_siblings_finishes_as_if_it_had_none(run, undisturbed, store):
    siblings = SuccessiveHalving(store, "7", 0, 9)
    assert is_identical(run(siblings=siblings), undisturbed())
    losses = store.recall_all([f"rungs/7/{rung}/0" for rung in (0, 1)])
    assert all(math.isfinite(loss) for loss in losses.values())
    assert len(losses) == 2


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # on one core
def test_batches_from_worker_processes_are_the_same(tiny, speech, whisper):
    clips = speech.split("train")
    runs = [list(trial.make_dataloader(clips, whisper[1], tiny, processes=count)) for count in (0, 2)]
    assert len(runs[0]) == 24
    for batch, same_batch in zip(*runs, strict=True):
        assert torch.equal(batch["input_features"], same_batch["input_features"])
        assert torch.equal(batch["labels"], same_batch["labels"])


def test_a_step_that_never_ends_is_interrupted_when_the_trial_is_terminated(
    run, undisturbed, new_checkpoints, monkeypatch
):
    monkeypatch.setattr(trial, "GRACE_SECONDS", 0.3)
    forward, steps = Learner.forward, []

    def endless(learner, *arguments, **options):
        steps.append(1)
        if len(steps) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
            while True:
                pass
        return forward(learner, *arguments, **options)

    monkeypatch.setattr(Learner, "forward", endless)
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGALRM)}
    with pytest.raises(Terminated, match="asked to end at step 2"):
        run(checkpoints=new_checkpoints(minutes=99.0))
    assert {number: signal.getsignal(number) for number in before} == before
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
    monkeypatch.setattr(Learner, "forward", forward)
    resumed = run(checkpoints=new_checkpoints())
    assert resumed[2][0].startswith("resumed at step 2 of 24")
    assert is_identical(undisturbed(), resumed)


@pytest.mark.parametrize("step", [8, 24])
def test_a_trial_terminated_during_an_evaluation_keeps_its_steps_and_evaluates_again(
    run, undisturbed, new_checkpoints, monkeypatch, step
):
    monkeypatch.setattr(trial, "GRACE_SECONDS", 0.3)
    errors, evaluations = Validation.errors, []

    def endless(validation, learner):
        evaluations.append(1)
        if len(evaluations) == step // 8:
            os.kill(os.getpid(), signal.SIGTERM)
            while True:
                pass
        return errors(validation, learner)

    monkeypatch.setattr(Validation, "errors", endless)
    with pytest.raises(Terminated, match=f"asked to end at step {step}"):
        run(checkpoints=new_checkpoints(minutes=99.0))
    monkeypatch.setattr(Validation, "errors", errors)
    resumed = run(checkpoints=new_checkpoints())
    assert resumed[2][0].startswith(f"resumed at step {step} of 24")
    assert is_identical(undisturbed(), resumed)


def test_a_trial_that_another_process_continues_ends_at_its_next_checkpoint(run, undisturbed, new_checkpoints):
    """The first is then an orphan of a resumed run, or a pod whose scheduler has died."""

    def take_over(text):
        if "step  6" in text:
            results.append(run(checkpoints=new_checkpoints(minutes=99.0)))

    results = []
    with pytest.raises(TakenOver, match=r"ended at step \d+: process \d+ on .+ continues this trial"):
        run(checkpoints=new_checkpoints(), log=take_over)
    assert results[0][2][0].startswith("resumed at step 5 of 24")
    assert is_identical(results[0], undisturbed())


@pytest.mark.parametrize(("seconds", "text"), [(59.6, "1:00 min"), (0, "0:00 min"), (3_600, "1:00 h")])
def test_time_left_is_shown_in_whole_units(seconds, text):
    assert format_duration(seconds) == text


def test_ranks_share_the_batches_of_a_step_and_match_a_single_process_after_an_interruption(run, new_checkpoints):
    def terminate(text):
        if "step  6" in text:
            os.kill(os.getpid(), signal.SIGTERM)

    single, model, _ = run(accumulate=2, steps=12)
    with pytest.raises(Terminated, match="step 6"):
        run(accumulate=2, steps=12, gpus=2, checkpoints=new_checkpoints(minutes=99.0), log=terminate)
    shared, shared_model, lines = run(accumulate=2, steps=12, gpus=2, checkpoints=new_checkpoints())
    assert lines[0].startswith("resumed at step 6 of 12")
    assert (shared.stopped, [point.step for point in shared.curve]) == ("finished", [4, 8, 12])
    for single_point, shared_point in zip(single.curve, shared.curve, strict=True):
        assert shared_point.validation_loss == pytest.approx(single_point.validation_loss, rel=1e-3)
    for name, weight in model.state_dict().items():
        torch.testing.assert_close(shared_model.state_dict()[name], weight, rtol=0, atol=2e-3, msg=name)
    assert "RANK" not in os.environ


def test_a_trial_ends_when_one_of_its_ranks_does(run):
    before = set(psutil.Process().children())

    def ranks():
        return set(psutil.Process().children()) - before

    def kill_ranks(text):
        if "step  6" in text:
            for child in ranks():
                child.kill()

    with pytest.raises(RuntimeError):
        run(accumulate=2, steps=12, gpus=2, log=kill_ranks)
    assert not ranks()


def test_no_pack_joins_two_languages_and_each_is_learnt_with_its_own_prompt(tiny, speech, whisper):
    train = speech.split("train")
    sources = [["sample", "english"][number % 2] for number in range(len(train))]
    mixed = train.remove_columns(["source", "speaker"]).add_column("source", sources)
    mixed = mixed.add_column("speaker", ["one"] * len(train))
    settings = tiny.model_copy(
        update={
            "corpus": Corpus.model_validate({"sources": [{}, {"name": "english", "language": "en"}]}),
            "training": tiny.training.model_copy(update={"context": "packed", "steps": 6}),
        }
    )
    batches = trial.make_dataloader(mixed, whisper[1], settings, processes=0)
    ids = [whisper[1].tokenizer.convert_tokens_to_ids(f"<|{code}|>") for code in ("sv", "en")]
    pack_count = 0
    for draws, batch in zip(batches.batch_sampler, batches, strict=True):
        for draw, labels in zip(draws, batch["labels"], strict=True):
            (language,) = {clip % 2 for clip in draw.unit.clips}
            assert labels[1] == ids[language]
            pack_count += len(draw.unit.clips) > 1
    assert pack_count
