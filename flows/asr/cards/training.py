"""The live card of `train`, and the card of the search, of `select`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pandas as pd

from asr.cards.charts import HEIGHT, SMALL_HEIGHT, line_chart, render_svg, scatter_chart, split_chip
from asr.cards.page import card_part, escape, html_table, join_facts, panel, panel_columns, stat_tiles
from asr.corpus.text import RATES, rate_unit
from asr.scoring.intervals import SIGNIFICANCE
from asr.terminal import format_duration, format_p
from asr.training.batches import long_phase_start
from asr.training.search import CurvePoint, LogEntry, Outcome, Trial, best_evaluation

if TYPE_CHECKING:
    from asr.settings import Settings
    from asr.training.callback import TrialStatus

MIN_LOSS = 1e-3  # the smallest loss on a logarithmic axis
LOG_RATIO = 8  # from this ratio of its values on, a hyperparameter gets a logarithmic axis
MAX_LISTED_TRIALS = 12  # trials listed in a sentence
STOP_REASONS = {
    "finished": "all steps done",
    "plateau": "it no longer improved",
    "outpaced": "other trials did better",
    "diverged": "its loss exploded",
}


def train(trial: Trial, standing: TrialStatus, settings: Settings) -> str:
    """One trial, while it runs and at its end."""
    name = f"Validation {_rate_name(settings)}"
    best_point, latest = best_evaluation(standing.curve), standing.history[-1]
    ended = ("Status", escape(standing.stopped), STOP_REASONS.get(standing.stopped, ""))
    head = [
        ("Step", f"{latest.step:,}", f"of {standing.steps:,}"),
        (name, f"{best_point.validation_wer:.1f}\u00a0%", format_interval(best_point.low, best_point.high))
        if best_point else (name, "\N{EN DASH}", "not measured yet"),
        ("Clips per second", f"{latest.clips_per_second:,.0f}", ""),
        ended if standing.stopped
        else ("Time left", format_duration(standing.seconds_left), "estimated from the steps so far"),
    ]  # fmt: skip
    panels = progress_panels(standing, name, long_phase_start(settings.training))
    return stat_tiles(f"Trial {trial.number}", head, format_hyperparameters(trial)) + panel_columns(panels)


def progress_panels(standing: TrialStatus, name: str, padded_from: int | None) -> list[str]:
    """The panels about one trial; `padded_from` is the step from which on some batches are padded to 30 s."""
    steps, history, curve = standing.steps, standing.history, standing.curve

    def values(points: Sequence[LogEntry] | Sequence[CurvePoint], column: str, split: str) -> pd.DataFrame:
        pairs = [(point.step, getattr(point, column)) for point in points]
        return pd.DataFrame(pairs, columns=["step", "value"]).assign(series=split, split=split)

    losses = pd.concat([values(history, "loss", "train"), values(curve, "validation_loss", "validation")])
    losses = drop_infinite(losses.assign(value=losses["value"].clip(lower=MIN_LOSS)))
    panels = []
    if len(losses):
        drawn = render_svg(line_chart(losses, steps, log=True, padded_from=padded_from))
        panels.append(panel("Loss per token", drawn, legend("train", "validation"), padding_note(padded_from)))
    if curve:
        wers = values(curve, "validation_wer", "validation")
        labels = [
            f"step {point.step:,}: {point.validation_wer:.1f} %, {point.low:.1f} to {point.high:.1f}" for point in curve
        ]
        marks = wers.assign(label=labels, low=[point.low for point in curve], high=[point.high for point in curve])
        drawn = render_svg(line_chart(wers, steps, marks, unit=" %"))
        panels.append(panel(name, drawn, "<p>The vertical lines are 95\u00a0% intervals.</p>"))
    rate, speed = values(history, "learning_rate", ""), values(history, "clips_per_second", "")
    both = (
        line_chart(rate, steps, title="learning rate", height=SMALL_HEIGHT),
        line_chart(speed, steps, padded_from=padded_from, title="clips per second", height=SMALL_HEIGHT),
    )
    return [*panels, panel("Learning rate and speed", *map(render_svg, both))]


def padding_note(padded_from: int | None) -> str:
    """Explains the jump of the loss towards the end."""
    note = "<p>Some batches there are padded to 30\u00a0s, which can make the training loss jump.</p>"
    return note if padded_from is not None else ""


@card_part
def select(board: pd.DataFrame, outcomes: Sequence[Outcome], settings: Settings) -> str:
    """The leaderboard, the curves of all trials, and the effect of the hyperparameters."""
    winner, name = board.iloc[0], _rate_name(settings)
    by_number = {outcome.trial.number: outcome for outcome in outcomes}
    early = int((board["stopped"] != "finished").sum())
    head = [
        ("Winner", f"Trial {winner['trial']:.0f}", format_hyperparameters(by_number[int(winner["trial"])].trial)),
        (
            f"Validation {name}",
            f"{winner['validation_wer']:.1f}\u00a0%",
            format_interval(winner["low"], winner["high"]),
        ),
        ("Trials", f"{len(board):,}", f"{early:,} ended early" if early else "all ran to their end"),
        ("Training time", format_duration(board["seconds"].sum()), "all trials together"),
    ]
    curves = {number: outcome.curve for number, outcome in by_number.items()}
    histories = {number: outcome.history for number, outcome in by_number.items()}
    number, ended = int(winner["trial"]), dict(zip(board["trial"], board["stopped"], strict=True))
    padded_from = long_phase_start(settings.training)
    panels = [
        panel(f"Validation {name}", *_curve_chart(curves, "validation_wer", number, ended)),
        panel(
            "Training loss per token",
            *_curve_chart(histories, "loss", number, ended, padded_from),
            padding_note(padded_from),
        ),
        *_hyperparameter_panel(board, number, name),
    ]
    return stat_tiles("Search", head) + leaderboard_panel(board, name) + panel_columns(panels)


def _rate_name(settings: Settings) -> str:
    return RATES[rate_unit(settings.corpus.language)]


def leaderboard_panel(board: pd.DataFrame, name: str) -> str:
    """The trials as a table, and those that are not significantly worse than the winner."""
    bounds = [
        f"{low:.2f} to {high:.2f}" if low == low else math.nan
        for low, high in zip(board["low"], board["high"], strict=True)
    ]
    board = board.assign(interval=bounds)
    board.loc[board.index[0], "p"] = math.nan  # of the winner with itself
    first = ["trial", "validation_wer", "interval", "p"]
    names = [*first, *(name for name in board.columns if name not in (*first, "low", "high"))]
    titles = {"validation_wer": name, "interval": "95\u00a0% interval", "seconds": "time", "stopped": "ended"}
    formats = {
        "validation_wer": "{:.2f}\u00a0%".format, "p": format_p, "seconds": format_duration, "steps": "{:,.0f}".format,
        "trial": "{:.0f}".format,
    }  # fmt: skip
    heads = [titles.get(name, name.replace("_", " ")) for name in names]
    table = [[_format_cell(formats.get(name), row[name]) for name in names] for row in board.to_dict("records")]
    alike = [str(row["trial"]) for row in board.iloc[1:].to_dict("records") if row["p"] > SIGNIFICANCE]
    notes = []
    if len(board) > 1:
        notes.append("p is how often chance alone makes a difference this large from the winner.")
    if alike:
        which = f"Trial {alike[0]}" if len(alike) == 1 else f"Trials {', '.join(alike[:-1])} and {alike[-1]}"
        which = f"{len(alike)} trials" if len(alike) > MAX_LISTED_TRIALS else which
        notes.append(f"{which} may be as good as the winner: p is above {SIGNIFICANCE:g}.")
    return panel("Leaderboard", html_table(heads, table, "records"), f"<p>{' '.join(notes)}</p>" if notes else "")


def _format_cell(formatter: Any, value: Any) -> str:
    if isinstance(value, float) and value != value:
        return "\N{EN DASH}"
    return escape(formatter(value) if formatter else format_number(value) if isinstance(value, float) else value)


def format_number(value: float) -> str:
    """A number with three digits and no exponent.

    >>> format_number(6.31e-05), format_number(0.1)
    ('0.0000631', '0.1')
    """
    return f"{Decimal(f'{value:.3g}'):f}"


def _curve_chart(
    of: Mapping[int, Sequence[LogEntry] | Sequence[CurvePoint]], column: str, winner: int, ended: Mapping[int, str],
    padded_from: int | None = None,
) -> list[str]:  # fmt: skip
    """A line per trial, the winner's in its own colour, with a mark at its end."""
    log = column == "loss"
    table = [
        (
            point.step,
            max(getattr(point, column), MIN_LOSS if log else 0.0),
            number,
            "validation" if number == winner else "",
        )
        for number, points in sorted(of.items(), key=lambda pair: pair[0] == winner)  # the winner's is drawn last
        for point in points
    ]
    data = drop_infinite(pd.DataFrame(table, columns=["step", "value", "series", "split"]))
    if data.empty:
        return ["<p>No trial got this far.</p>"]
    last = data.groupby("series", as_index=False, sort=False).last()
    unit = "" if log else " %"
    of_ends = zip(last["series"].astype(int), last["value"], strict=True)
    labels = [f"trial {number}: {value:.2f}{unit}, {ended[number]}" for number, value in of_ends]
    last = last.assign(label=labels, ended=[ended[number] != "finished" for number in last["series"]])
    crosses = "<p>A cross marks a trial that ended early.</p>" if last["ended"].any() else ""
    drawn = render_svg(line_chart(data, int(data["step"].max()), last, log, padded_from, unit=unit))
    return [drawn, _winner_legend(len(of)), crosses]


def drop_infinite(data: pd.DataFrame) -> pd.DataFrame:
    """The rows with a finite value; a diverged loss has none."""
    return data[data["value"].map(math.isfinite)]


def _winner_legend(trials: int) -> str:
    return legend("validation", "plain", names=("the winner", "the others")) if trials > 1 else ""


def _hyperparameter_panel(board: pd.DataFrame, winner: int, rate: str) -> list[str]:
    """A panel with a chart for each hyperparameter that differs between trials."""
    scored = board[board["validation_wer"].notna()]
    split = ["validation" if trial == winner else "" for trial in scored["trial"]]
    names = [
        name for name in scored.columns[1 : list(scored.columns).index("validation_wer")] if scored[name].nunique() > 1
    ]
    charts = []
    for name in names:
        title, values = name.replace("_", " "), scored[name].astype(float)
        of = zip(scored["trial"], values, scored["validation_wer"], strict=True)
        labels = [f"trial {trial}: {title} {format_number(value)}, {wer:.1f} %" for trial, value, wer in of]
        data = pd.DataFrame({"value": values, "wer": scored["validation_wer"], "split": split, "label": labels})
        wide = values.min() > 0 and values.max() / values.min() >= LOG_RATIO
        charts.append(render_svg(scatter_chart(data, title, bool(wide), HEIGHT if len(names) == 1 else SMALL_HEIGHT)))
    title = f"{rate} by {names[0].replace('_', ' ')}" if len(names) == 1 else f"{rate} by hyperparameter"
    return [panel(title, *charts, _winner_legend(len(board)))] if charts else []


def format_hyperparameters(trial: Trial) -> str:
    """A trial's hyperparameters, in one line."""
    pairs = (("learning rate", trial.learning_rate), ("weight decay", trial.weight_decay), *trial.overrides)
    return join_facts([f"{name.replace('_', ' ')} {format_number(value)}" for name, value in pairs])


def format_interval(low: float, high: float) -> str:
    return f"95\u00a0% interval {low:.1f} to {high:.1f}"


def legend(*splits: str, names: Sequence[str] = ()) -> str:
    """The meaning of the colours."""
    pairs = zip(splits, names or splits, strict=True)
    return f"<p>{' '.join(split_chip(split, name) for split, name in pairs)}</p>"
