"""A trial, small enough to be run twice."""

import math
import os
import re
import signal
from dataclasses import replace

import psutil
import pytest
import torch
from asr import TakenOver, Terminated
from asr.console import format_duration
from asr.corpus.shards import SpeechDataset
from asr.scoring import rates
from asr.settings import Corpus, Settings
from asr.training import checkpoints, trial
from asr.training.callback import is_diverged
from asr.training.checkpoints import Checkpoints
from asr.training.decoding import Validation
from asr.training.halving import SuccessiveHalving
from asr.training.learner import Learner
from asr.training.search import Trial

POINT = Trial(0, learning_rate=4e-3, weight_decay=0.01)


@pytest.fixture
def run(tiny, speech, one_thread):
    """A function that trains; its outcome, the model and the lines it printed."""

    def fine_tune(point=POINT, keeper=None, siblings=None, say=None, show=None, name="trial", gpus=1, **training):
        settings = tiny.model_copy(update={"training": tiny.training.model_copy(update=training)})
        lines = []
        given = point, settings, speech, say or lines.append, keeper, siblings, show, name, gpus
        outcome, model, _ = trial.fine_tune(*given)
        return outcome, model, lines

    return fine_tune


def test_a_trial_is_the_same_to_the_last_bit_when_repeated_and_learns(run):
    once, model, lines = run()
    again, repeated, _ = run()
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, repeated.state_dict()[name]), name
    assert replace(once, seconds=0) == replace(again, seconds=0)

    assert (once.steps, once.stopped, once.trial) == (24, "finished", POINT)
    assert [point.step for point in once.curve] == [8, 16, 24]
    assert once.curve[-1].loss < once.curve[0].loss
    assert once.validation_wer == once.curve[-1].validation_wer
    assert once.seconds > 0

    assert [line for line in lines if not re.fullmatch(r"step +\d+/24  .*  \d+:\d\d min left", line)] == []
    assert sum("loss" in line for line in lines) >= 12
    assert sum("validation WER" in line for line in lines) == 3
    assert lines[-1].endswith("0:00 min left")


@pytest.mark.parametrize(("steps", "evaluations", "at"), [(3, 1, [3]), (3, 3, [1, 2, 3]), (2, 5, [1, 2])])
def test_a_curve_has_its_points_evenly_and_ends_at_the_last_step(run, steps, evaluations, at):
    outcome, _, _ = run(steps=steps, evaluations=evaluations, validation_clips=1)
    assert [point.step for point in outcome.curve] == at
    assert outcome.steps == steps


def test_a_trial_shows_how_it_is_doing_some_fifty_times_and_at_its_end(run):
    shown = []
    outcome, *_ = run(show=shown.append, steps=120, evaluations=3, validation_clips=2)
    assert 50 <= len(shown) <= 80
    assert [standing.stopped for standing in shown] == [*[""] * (len(shown) - 1), "finished"]
    assert shown[-1].seconds_left == 0 < shown[0].seconds_left
    assert (shown[-1].history, shown[-1].curve) == (outcome.history, outcome.curve)
    steps = [look.step for look in outcome.history]
    assert steps[0] == 1 and steps[-1] == 120 and steps == sorted(set(steps)) and len(steps) >= 50
    assert all(math.isfinite(look.loss) and look.clips_per_second > 0 for look in outcome.history)
    rates = [look.learning_rate for look in outcome.history]
    assert max(rates) == pytest.approx(POINT.learning_rate, rel=0.1)
    assert rates[-1] == 0


def test_each_evaluation_has_its_interval_and_the_best_its_errors_clip_by_clip(run):
    outcome, *_ = run(validation_clips=4)
    assert all(point.low <= point.validation_wer <= point.high for point in outcome.curve)
    heard = outcome.clip_errors
    assert len(heard.errors) == len(heard.words) == len(heard.speakers) == 4
    assert 100 * sum(heard.errors) / sum(heard.words) == pytest.approx(outcome.validation_wer)


def test_trackers_see_the_figures_under_the_trials_name(run, tmp_path, monkeypatch):
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path))
    outcome, *_ = run(trackers=("tensorboard",), name="tiny-7/trial-0", validation_clips=2)
    seen = reader.EventAccumulator(str(tmp_path / "tiny-7" / "trial-0"))
    seen.Reload()
    found = {at.step: at.value for at in seen.Scalars("eval/wer")}
    assert found == {point.step: pytest.approx(point.validation_wer, rel=1e-5) for point in outcome.curve}
    assert [at.step for at in seen.Scalars("train/loss")] == [look.step for look in outcome.history]
    assert {"train/learning_rate", "train/clips_per_second"} <= set(seen.Tags()["scalars"])


def test_another_seed_is_another_trial(run):
    losses = {run(steps=1, evaluations=1, validation_clips=1, seed=seed)[0].curve[-1].loss for seed in (0, 1)}
    assert len(losses) == 2


def test_a_base_is_trained_further(run, tiny, base, speech, one_thread):
    onward = Settings.model_validate(
        {**tiny.model_dump(), "model": {"base": str(base)}, "training": {"steps": 2, "validation_clips": 1}}
    )
    outcome, model, processor = trial.fine_tune(POINT, onward, speech, lambda line: None)
    assert model.config.d_model == 32
    assert outcome.steps == 2
    assert len(processor.tokenizer) == model.config.vocab_size


def test_clips_are_drawn_by_their_sources_weights_and_compared_as_the_profile_says(
    tiny, preprocess, store, tmp_path, monkeypatch, one_thread
):
    mixed = {
        "sources": [{"limit_clips": 4, "weight": 0.5}, {"name": "again", "limit_clips": 6, "weight": 3.0}],
        "speakers_may_cross": True, "duplicates_may_stay": True,
    }  # fmt: skip
    training = {"steps": 1, "evaluations": 1, "validation_clips": 1}
    settings = Settings.model_validate(
        {**tiny.model_dump(), "corpus": mixed, "text": {"scoring": "lenient"}, "training": training}
    )
    drawn, compared = [], []
    buckets, errors = trial.BucketBatchSampler, rates.count_errors
    monkeypatch.setattr(
        trial, "BucketBatchSampler", lambda pool, *more: drawn.append(pool.weights) or buckets(pool, *more)
    )
    monkeypatch.setattr(rates, "count_errors", lambda *texts: compared.append(texts[2:]) or errors(*texts))
    speech = SpeechDataset(preprocess(settings, store)[1].shards, tmp_path / "shards", store.fetch)
    trial.fine_tune(POINT, settings, speech, lambda line: None)
    assert drawn == [[0.5] * 4 + [3.0] * 6]
    assert compared == [("lenient", "sv")]


def test_the_alignment_head_is_no_part_of_the_model(run):
    _, model, _ = run(steps=1, evaluations=1, validation_clips=1)
    assert [name for name in model.state_dict() if "aligner" in name] == []


def same(one, other):
    """Whether two trials ended the same, every loss to the last bit."""
    assert replace(one[0], seconds=0) == replace(other[0], seconds=0)
    weights = other[1].state_dict()
    for name, weight in one[1].state_dict().items():
        assert torch.equal(weight, weights[name]), name
    return True


class Killed(BaseException):
    """Stands in for a SIGKILL: nothing catches it."""


@pytest.fixture
def keeper(store, tiny, monkeypatch):
    """A function to the next life's checkpoints, saved after every step unless they are to be rare."""
    monkeypatch.setattr(checkpoints, "MAX_TIME_SHARE", math.inf)

    def make(minutes=0.0):
        often = tiny.training.model_copy(update={"checkpoint_minutes": minutes})
        return Checkpoints(store, "trials/7/0", often, lambda line: None)

    return make


def killed_at(steps, keeper, run, **training):
    """A trial killed after each of the steps, its last life's outcome, model and lines."""
    for step in (*steps, None):
        life = keeper()
        if step is not None:
            saved = life.save

            def save(folder, at, last=step, saved=saved):
                saved(folder, at)
                if at == last:
                    raise Killed

            life.save = save
            with pytest.raises(Killed):
                run(keeper=life, **training)
        else:
            return run(keeper=life, **training)


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
def test_a_trial_killed_again_and_again_ends_as_one_left_alone(run, keeper, training):
    undisturbed = run(**training)
    disturbed = killed_at((3, 8, 13, 22), keeper, run, **training)
    assert same(undisturbed, disturbed)
    assert disturbed[2][0] == "goes on from step 22 of 24, where it was stopped"


@pytest.fixture
def at_wer(monkeypatch):
    """A function to let the evaluations to come find these WERs, the last of them for good."""

    def set_(*wers):
        left = list(wers)

        def errors(validation, learner):
            wer = left.pop(0) if len(left) > 1 else left[0]
            return [rates.ErrorCounts(1000, round(10 * wer), 0, 0, 0, 0)] * len(validation.chosen)

        monkeypatch.setattr(Validation, "errors", errors)

    return set_


def test_what_was_best_before_a_kill_is_still_the_model_after_it(run, keeper, at_wer):
    """The WER rises after the first evaluation, which stands before the kill."""
    at_wer(5.0, 7.0, 6.0)
    undisturbed = run()
    at_wer(5.0, 7.0, 6.0)
    disturbed = killed_at((10,), keeper, run)
    assert same(undisturbed, disturbed)
    assert undisturbed[0].validation_wer == 5.0
    assert sum(undisturbed[0].clip_errors.errors) == 4 * 50
    at_wer(5.0, 4.0, 3.0)
    assert not torch.equal(undisturbed[1].proj_out.weight, run()[1].proj_out.weight)


def test_asked_to_end_a_trial_saves_at_once_and_says_so(run, keeper):
    def line(text):
        if "step  8" in text:
            os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Terminated, match="step 8"):
        run(keeper=keeper(minutes=99.0), say=line)
    assert signal.getsignal(signal.SIGTERM) == before
    assert same(run(), run(keeper=keeper()))


def test_an_exploding_loss_ends_a_trial_with_its_reason(run, tiny):
    outcome, _, lines = run(replace(POINT, learning_rate=0.9), optimizer="adamw", warmup=0.0, steps=24)
    assert outcome.stopped == "diverged"
    assert outcome.steps < 24
    assert math.isnan(outcome.validation_wer) == (not outcome.curve)
    assert "0:00 min left" not in lines[-1]


@pytest.mark.parametrize(
    ("losses", "bad"),
    [([], False), ([7.0], False), ([7.0, math.nan], True), ([math.inf], True), ([3.0, 3.0, 40.0, 50.0], True),
     ([40.0, 3.0, 3.0, 3.0], False)],
)  # fmt: skip
def test_a_loss_explodes_where_it_is_far_worse_than_guessing_or_no_number(losses, bad):
    assert is_diverged(losses, vocabulary=2_000) == bad


def test_a_trial_that_stands_still_ends_with_its_best_model(run, at_wer):
    at_wer(9.0, 9.5, 9.0, 9.1, 1.0)
    outcome, model, _ = run(evaluations=6, patience=2)
    assert (outcome.stopped, outcome.steps, outcome.validation_wer) == ("plateau", 12, 9.0)
    assert len(outcome.curve) == 3
    at_wer(9.0)
    early = run(evaluations=6, patience=1)
    assert (early[0].stopped, early[0].steps) == ("plateau", 8)
    assert all(torch.equal(one, other) for one, other in zip(model.parameters(), early[1].parameters(), strict=True))


def test_a_trial_whose_siblings_do_better_ends_early_with_an_honest_wer(run, store):
    siblings = [SuccessiveHalving(store, "7", number, 3) for number in range(3)]
    for better in siblings[1:]:
        better.report(0, 0.1)
    outcome, _, lines = run(siblings=siblings[0])
    assert (outcome.stopped, outcome.steps) == ("outpaced", 4)
    assert [point.step for point in outcome.curve] == [4]
    assert outcome.validation_wer == outcome.curve[0].validation_wer
    assert "validation WER" in lines[-1]


def test_a_trial_without_living_siblings_comes_to_its_end_as_if_it_had_none(run, store):
    siblings = SuccessiveHalving(store, "7", 0, 9)
    assert same(run(siblings=siblings), run())
    told = store.recall_all([f"rungs/7/{rung}/0" for rung in (0, 1)])
    assert all(math.isfinite(loss) for loss in told.values())
    assert len(told) == 2


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # on one core
def test_batches_made_by_other_processes_are_the_same(tiny, speech, whisper):
    heard = speech.split("train")
    made = [list(trial.make_dataloader(heard, whisper[1], tiny, processes=count)) for count in (0, 2)]
    assert len(made[0]) == 24
    for one, other in zip(*made, strict=True):
        assert torch.equal(one["input_features"], other["input_features"])
        assert torch.equal(one["labels"], other["labels"])


def test_a_step_that_never_ends_is_broken_off_when_the_trial_is_to_end(run, keeper, monkeypatch):
    monkeypatch.setattr(trial, "GRACE_SECONDS", 0.3)
    forward, steps = Learner.forward, []

    def endless(learner, *given, **more):
        steps.append(1)
        if len(steps) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
            while True:
                pass
        return forward(learner, *given, **more)

    monkeypatch.setattr(Learner, "forward", endless)
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGALRM)}
    with pytest.raises(Terminated, match="asked to end at step 2"):
        run(keeper=keeper(minutes=99.0))
    assert {number: signal.getsignal(number) for number in before} == before
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
    monkeypatch.setattr(Learner, "forward", forward)
    again = run(keeper=keeper())
    assert again[2][0].startswith("goes on from step 2 of 24")
    assert same(run(), again)


@pytest.mark.parametrize("step", [8, 24])
def test_asked_to_end_while_it_listens_a_trial_keeps_its_steps_and_listens_again(run, keeper, monkeypatch, step):
    monkeypatch.setattr(trial, "GRACE_SECONDS", 0.3)
    errors, listened = Validation.errors, []

    def endless(validation, learner):
        listened.append(1)
        if len(listened) == step // 8:
            os.kill(os.getpid(), signal.SIGTERM)
            while True:
                pass
        return errors(validation, learner)

    monkeypatch.setattr(Validation, "errors", endless)
    with pytest.raises(Terminated, match=f"asked to end at step {step}"):
        run(keeper=keeper(minutes=99.0))
    monkeypatch.setattr(Validation, "errors", errors)
    again = run(keeper=keeper())
    assert again[2][0].startswith(f"goes on from step {step} of 24")
    assert same(run(), again)


def test_a_trial_that_another_process_goes_on_with_ends_at_its_next_checkpoint(run, keeper, store):
    """As an orphan does beside `resume`, or a pod whose scheduler is gone."""

    def line(text):
        if "step  6" in text:
            others.append(run(keeper=keeper(minutes=99.0)))

    others = []
    with pytest.raises(TakenOver, match=r"ended at step \d+: process \d+ on .+ continues this trial"):
        run(keeper=keeper(), say=line)
    assert others[0][2][0].startswith("goes on from step 5 of 24")
    assert same(others[0], run())


@pytest.mark.parametrize("given", [(59.6, "1:00 min"), (0, "0:00 min"), (3_600, "1:00 h")])
def test_time_left_is_told_in_whole_units(given):
    assert format_duration(given[0]) == given[1]


def test_ranks_share_a_steps_batches_and_learn_what_one_alone_would_though_it_is_interrupted(run, keeper):
    def line(text):
        if "step  6" in text:
            os.kill(os.getpid(), signal.SIGTERM)

    alone, model, _ = run(accumulate=2, steps=12)
    with pytest.raises(Terminated, match="step 6"):
        run(accumulate=2, steps=12, gpus=2, keeper=keeper(minutes=99.0), say=line)
    shared, other, lines = run(accumulate=2, steps=12, gpus=2, keeper=keeper())
    assert lines[0].startswith("goes on from step 6 of 12")
    assert (shared.stopped, [point.step for point in shared.curve]) == ("finished", [4, 8, 12])
    for mine, theirs in zip(alone.curve, shared.curve, strict=True):
        assert theirs.validation_loss == pytest.approx(mine.validation_loss, rel=1e-3)
    for name, weight in model.state_dict().items():
        torch.testing.assert_close(other.state_dict()[name], weight, rtol=0, atol=2e-3, msg=name)
    assert "RANK" not in os.environ


def test_a_trial_ends_where_one_of_its_ranks_does(run):
    before = set(psutil.Process().children())

    def others():
        return set(psutil.Process().children()) - before

    def line(text):
        if "step  6" in text:
            for child in others():
                child.kill()

    with pytest.raises(RuntimeError):
        run(accumulate=2, steps=12, gpus=2, say=line)
    assert not others()


def test_no_pack_joins_two_languages_and_each_is_learnt_with_its_own_prompt(tiny, speech, whisper):
    train = speech.split("train")
    told = [["sample", "english"][at % 2] for at in range(len(train))]
    mixed = train.remove_columns(["source", "speaker"]).add_column("source", told)
    mixed = mixed.add_column("speaker", ["one"] * len(train))
    settings = tiny.model_copy(
        update={
            "corpus": Corpus.model_validate({"sources": [{}, {"name": "english", "language": "en"}]}),
            "training": tiny.training.model_copy(update={"context": "packed", "steps": 6}),
        }
    )
    batches = trial.make_dataloader(mixed, whisper[1], settings, processes=0)
    ids = [whisper[1].tokenizer.convert_tokens_to_ids(f"<|{code}|>") for code in ("sv", "en")]
    packed = 0
    for draws, batch in zip(batches.batch_sampler, batches, strict=True):
        for draw, labels in zip(draws, batch["labels"], strict=True):
            (language,) = {clip % 2 for clip in draw.unit.clips}
            assert labels[1] == ids[language]
            packed += len(draw.unit.clips) > 1
    assert packed
