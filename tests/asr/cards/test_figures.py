"""The text and the numbers of the cards of training, scoring and release."""

import math
import re

import pytest
from asr import cards
from asr.cards import charts, scoring, training
from asr.settings import Settings

SWEDISH = Settings.model_validate({"training": {"steps": 1000}})  # as many as make_status uses
CHINESE = Settings.model_validate({"corpus": {"language": "zh"}})


def test_a_running_trial_shows_its_progress_and_a_finished_one_its_end(make_outcome, make_status):
    trial = make_outcome(2, 8.0).trial
    running, early = (cards.train(trial, make_status(steps), SWEDISH) for steps in (500, 20))
    for part in ("Trial 2", "learning rate 0.003", "of 1,000", "Time left", "1:04 min"):
        assert part in running
    assert "not measured yet" in early
    assert "it no longer improved" in cards.train(trial, make_status(600, "plateau"), SWEDISH)


def test_losses_that_exploded_are_left_out_of_the_curves(make_outcome, make_status):
    from dataclasses import replace

    status = make_status(200)
    exploded = replace(status, history=tuple(replace(entry, loss=math.nan) for entry in status.history), curve=())
    assert "Loss per token" not in cards.train(make_outcome(0, 8.0).trial, exploded, SWEDISH)
    assert "<svg" in cards.train(make_outcome(0, 8.0).trial, exploded, SWEDISH)


def test_the_search_names_the_trials_that_may_be_as_good_as_the_winner(run_info, make_search):
    board, *rest = make_search()
    text = cards.select(run_info, board, *rest).content
    assert (board["p"] > 0.05).tolist() == [True, True, True, False, False, False]
    assert "Trials 1 and 2 may be as good as the winner" in text
    assert "3 ended early" in text
    assert "A cross marks a trial that ended early" in text
    assert "WER by learning rate" in text and "WER by weight decay" not in text  # all trials have the same weight decay


def test_a_trial_that_diverged_has_no_figures(make_search):
    row = [line for line in training.leaderboard_panel(make_search()[0], "WER").split("<tr>") if "diverged" in line]
    assert len(row) == 1
    assert row[0].count(">\N{EN DASH}<") == 3  # no rate, interval and p
    assert "nan" not in row[0]


def test_a_search_of_one_trial_compares_nothing(run_info, make_search):
    text = cards.select(run_info, *make_search(1)).content
    assert "all ran to their end" in text
    assert "the others" not in text and "as good as" not in text and "chance" not in text


def test_the_test_card_shows_the_three_error_rates_side_by_side(run_info, make_evaluation):
    evaluation, settings = make_evaluation()
    text = cards.evaluate(run_info, evaluation, settings).content
    for name in ("test_wer", "served_wer", "baseline_wer"):
        assert f"{evaluation.report[name]:.1f}\u00a0%" in text
    assert "better than its base (p &lt; 0.001)" in text or "better than its base (p < 0.001)" in text
    assert "hold for new speakers" in text


def test_the_rate_of_a_language_without_spaces_is_called_cer_on_every_card(
    run_info, make_evaluation, make_search, make_outcome, make_status, make_publication
):
    evaluation, settings = make_evaluation(language="zh")
    test_card = cards.evaluate(run_info, evaluation, settings).content
    for part in ("Test CER", "Character error rate", "of\u00a0characters", "CER by source", "characters wrong"):
        assert part in test_card
    board, outcomes, _ = make_search()
    publication, _ = make_publication()
    other_cards = (
        cards.select(run_info, board, outcomes, CHINESE).content,
        cards.train(make_outcome(2, 8.0).trial, make_status(500), CHINESE),
        cards.push(run_info, publication, evaluation.report).content,
    )
    for text in (test_card, *other_cards):
        assert "CER" in text and "WER" not in text


def test_the_diff_of_a_text_without_spaces_has_none():
    pairs = [("好", "好"), ("门", "们")]
    assert scoring.word_diff(pairs, "") == "好<del>门</del><ins>们</ins>"


def test_a_missing_base_and_few_speakers_are_reported(run_info, make_evaluation):
    evaluation, settings = make_evaluation(base=False, speakers=5)
    text = cards.evaluate(run_info, evaluation, settings).content
    assert "base model<" not in text and "Base model" not in text and "no base model to compare with" in text
    assert "clips of these speakers, not for new speakers" in text


def test_retained_languages_are_shown_beside_the_base_model(run_info, make_evaluation):
    evaluation, profile = make_evaluation(clips=40)
    assert "Retained languages" not in cards.evaluate(run_info, evaluation, profile).content
    evaluation.report.update(
        {
            "retained_clips": {"en": 40},
            "retained_wer": {"en": 12.3},
            "retained_wer_ci": {"en": (10.0, 14.0)},
            "retained_baseline_wer": {"en": 9.9},
            "retained_baseline_wer_ci": {"en": (8.0, 11.0)},
            "against_retained_baseline": {"en": {"difference": 2.4, "low": 1.0, "high": 3.8, "p": 0.002}},
        }
    )
    text = cards.evaluate(run_info, evaluation, profile).content
    for part in (
        "Retained languages",
        "WER in en",
        "40 clips in en",
        "12.3\u00a0%",
        "9.9\u00a0%",
        "+2.4 points",
        "1.0 to 3.8",
        "p 0.002",
    ):
        assert part in text


def test_the_averages_that_were_tried_are_shown_in_a_table(run_info, make_evaluation):
    evaluation, profile = make_evaluation()
    assert "Averages with the base model" not in cards.evaluate(run_info, evaluation, profile).content
    averages = [{"base_share": share, "wer": 5 + share, "retained": {"en": 9 - share}} for share in (0.0, 0.1, 0.2)]
    evaluation.report.update(base_share=0.1, averages=averages)
    text = cards.evaluate(run_info, evaluation, profile).content
    (row,) = re.findall(r"<td[^>]*>10\u00a0% of the base, released(.*?)<tr", text)
    assert re.sub(r"<td[^>]*\"([^>]*)\">", r"|\1 ", row) == "|validation WER 5.1\u00a0%|in en 8.9\u00a0%"
    assert text.count(", released") == 1


def test_a_perfect_test_has_no_worst_clips(run_info, make_evaluation):
    text = cards.evaluate(run_info, *make_evaluation(error_share=0.0)).content
    assert "The worst clips" not in text
    assert "every word was recognised correctly" in text


def test_groups_of_a_few_clips_are_not_shown(run_info, make_evaluation):
    evaluation, settings = make_evaluation(clips=60, speakers=30)
    assert "WER by speaker" not in cards.evaluate(run_info, evaluation, settings).content
    assert "WER by source" in cards.evaluate(run_info, evaluation, settings).content


def test_unknown_figures_are_shown_as_unknown():
    assert scoring.format_percent(None) == "unknown"
    report = {
        "unit": "word", "invented_words_per_minute": 0.0, "loops": 0.0, "wrong_language": None, "timestamp_error": None,
        "trimmed_context_wer": 1.0, "full_context_wer": 2.0, "context_clips": 10, "real_time_factor": 0.5, "threads": 2,
    }  # fmt: skip
    assert "unknown" in scoring.diagnostics_table(report)
    assert "an hour of speech, 2 cores<td>30 min" in scoring.diagnostics_table(report)
    assert "0.21 s" in scoring.diagnostics_table(report | {"timestamp_error": 0.21})


@pytest.mark.parametrize(
    ("faults", "expected"), [((), "released/latest"), (("it is worse",), "MODEL_ID=released/sample-17")]
)
def test_a_release_card_says_how_to_try_the_model(run_info, make_publication, faults, expected):
    text = cards.push(run_info, *make_publication(faults)).content
    assert expected in text
    assert ("held back" in text) == bool(faults)
    assert all(fault[1:] in text for fault in faults)


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [(0.11, 5.5, [0.2, 0.5, 1, 2, 5]), (0.002, 9.0, [0.01, 0.1, 1]), (1.2, 1.9, []), (1, 1, [1])],
)
def test_a_logarithmic_axis_has_a_few_round_ticks(low, high, ticks):
    import pandas as pd

    assert charts.log_ticks(pd.Series([low, high])) == ticks


def test_a_pushed_release_shows_its_repo_and_the_state_of_its_space(run_info, make_publication):
    text = cards.push(run_info, *make_publication(pushed=True)).content
    for part in ("me/model", "3f2a9c81", "https://huggingface.co/spaces/me/hear: it runs."):
        assert part in text
    assert "<b>passed</b>" in text and "<em>failed</em>" not in text


def test_the_test_card_shows_the_error_rates_in_noise_and_in_a_room(run_info, make_evaluation):
    evaluation, settings = make_evaluation()
    text = cards.evaluate(run_info, evaluation, settings).content
    assert "WER with noise and in a room" in text
    assert "noise 5 dB below speech: 29.8 %, 25.4 to 34.6" in text and "in a room: 12.8 %, 9.7 to 16.4" in text
    assert "The same 100 clips each time, as served. Noise: generated, white to brown. Rooms: simulated." in text
    evaluation.report.update(noise_heard="recordings", room_heard="recordings")
    assert (
        "Noise: held-out recordings. Rooms: held-out recordings."
        in cards.evaluate(run_info, evaluation, settings).content
    )


def test_all_rates_of_a_test_share_one_scale(run_info, make_evaluation, axes):
    evaluation, settings = make_evaluation()
    charts = axes(cards.evaluate(run_info, evaluation, settings).content)
    assert len(charts) == 6  # models, conditions, and four groupings of the clips
    assert all(chart == charts[0] for chart in charts) and "60 %" in charts[0][0][1]


def test_a_base_above_100_percent_does_not_compress_the_scale(run_info, make_evaluation, axes):
    evaluation, settings = make_evaluation()
    evaluation.report.update(baseline_wer=226.0, baseline_wer_ci=(201.0, 250.0))
    text = cards.evaluate(run_info, evaluation, settings).content
    assert "226.0\u00a0%" in text and "201.0 to 250.0" in text
    assert text.count(">off the scale \N{RIGHTWARDS ARROW}<") == 1
    assert list(axes(text)[0][0][1])[-1] == "100 %"


def test_the_jump_of_the_loss_is_labelled_where_batches_of_30_s_begin(run_info, make_search, make_outcome, make_status):
    label, trial = "30 s batches from step 920", make_outcome(2, 8.0).trial
    board, outcomes, _ = make_search()
    for text in (
        cards.train(trial, make_status(1000), SWEDISH),
        cards.select(run_info, board, outcomes, SWEDISH).content,
    ):
        assert text.count(f">{label}<") == 1 and "make the training loss jump" in text
    for without in ({"context": "padded"}, {"context": "packed"}, {"long_share": 0.0}, {"long_share": 1.0}):
        settings = Settings.model_validate({"training": {"steps": 1000, **without}})
        assert (
            "30 s batches" not in (text := cards.train(trial, make_status(1000), settings)) and "loss jump" not in text
        )


def test_a_release_without_a_base_is_not_called_better_than_one(run_info, make_publication, make_evaluation):
    publication, _ = make_publication()
    text = cards.push(run_info, publication, make_evaluation(base=False)[0].report).content
    assert "There is no base model to compare with." in text and "etter than its base" not in text
