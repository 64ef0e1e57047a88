"""How trials learn: the live card of `train`, and the search's, of `select`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from asr.cards.drawing import HEIGHT, LOW, chip, draw, lines, scattered
from asr.cards.page import facts, panel, rows, safe, shown, stack, tiles
from asr.corpus.text import RATES, rate_unit
from asr.scoring.intervals import SIGNIFICANCE
from asr.story import chance, clock
from asr.training.batches import long_from
from asr.training.search import Look, Outcome, Point, Trial, best

if TYPE_CHECKING:
    import pandas as pd

    from asr.settings import Settings
    from asr.training.watch import Standing

LEAST = 1e-3  # of a loss in a chart with a logarithmic axis
WIDE = 8  # times the smallest of a hyperparameter: more wants a logarithmic axis
MOST_NAMED = 12  # trials, in a sentence
ENDS = {
    "finished": "all steps done",
    "plateau": "it no longer improved",
    "outpaced": "other trials did better",
    "diverged": "its loss exploded",
}


def train(of: Trial, standing: Standing, settings: Settings) -> str:
    """One trial while it runs, and once it is over."""
    name = f"Validation {_rate(settings)}"
    point, look = best(standing.curve), standing.history[-1]
    ended = ("Status", safe(standing.stopped), ENDS.get(standing.stopped, ""))
    head = [
        ("Step", f"{look.step:,}", f"of {standing.steps:,}"),
        (name, f"{point.validation_wer:.1f}\u00a0%", between(point.low, point.high))
        if point else (name, "\N{EN DASH}", "not measured yet"),
        ("Clips per second", f"{look.clips_per_second:,.0f}", ""),
        ended if standing.stopped else ("Time left", clock(standing.left), "estimated from the steps so far"),
    ]  # fmt: skip
    panels = progress(standing, name, long_from(settings.training))
    return tiles(f"Trial {of.number}", head, hyperparameters(of)) + stack(panels)


def progress(standing: Standing, name: str, long: int | None) -> list[str]:
    """The panels on how one trial goes; `name` is its rate's, `long` the step where batches of 30 s begin."""
    import pandas as pd

    steps, history, curve = standing.steps, standing.history, standing.curve

    def of(looks: Sequence[Look] | Sequence[Point], column: str, split: str) -> pd.DataFrame:
        pairs = [(one.step, getattr(one, column)) for one in looks]
        return pd.DataFrame(pairs, columns=["step", "value"]).assign(series=split, split=split)

    losses = pd.concat([of(history, "loss", "train"), of(curve, "validation_loss", "validation")])
    losses = finite(losses.assign(value=losses["value"].clip(lower=LEAST)))
    made = []
    if len(losses):
        drawn = draw(lines(losses, steps, log=True, long=long))
        made.append(panel("Loss per token", drawn, legend("train", "validation"), jump(long)))
    if curve:
        wers = of(curve, "validation_wer", "validation")
        told = [f"step {one.step:,}: {one.validation_wer:.1f} %, {one.low:.1f} to {one.high:.1f}" for one in curve]
        marks = wers.assign(told=told, low=[one.low for one in curve], high=[one.high for one in curve])
        drawn = draw(lines(wers, steps, marks, unit=" %"))
        made.append(panel(name, drawn, "<p>The vertical lines are 95\u00a0% intervals.</p>"))
    rate, speed = of(history, "learning_rate", ""), of(history, "clips_per_second", "")
    both = (
        lines(rate, steps, title="learning rate", height=LOW),
        lines(speed, steps, long=long, title="clips per second", height=LOW),
    )
    return [*made, panel("Learning rate and speed", *map(draw, both))]


def jump(long: int | None) -> str:
    """Why the loss jumps towards the end."""
    told = "<p>Some batches there are padded to 30\u00a0s, which can make the training loss jump.</p>"
    return told if long is not None else ""


@shown
def select(board: pd.DataFrame, outcomes: Sequence[Outcome], settings: Settings) -> str:
    """The leaderboard, how every trial went, and what the hyperparameters had to do with it."""
    winner, name = board.iloc[0], _rate(settings)
    by_number = {one.trial.number: one for one in outcomes}
    early = int((board["stopped"] != "finished").sum())
    head = [
        ("Winner", f"Trial {winner['trial']:.0f}", hyperparameters(by_number[int(winner["trial"])].trial)),
        (f"Validation {name}", f"{winner['validation_wer']:.1f}\u00a0%", between(winner["low"], winner["high"])),
        ("Trials", f"{len(board):,}", f"{early:,} ended early" if early else "all ran to their end"),
        ("Training time", clock(board["seconds"].sum()), "all trials together"),
    ]
    curves = {number: one.curve for number, one in by_number.items()}
    histories = {number: one.history for number, one in by_number.items()}
    number, ended = int(winner["trial"]), dict(zip(board["trial"], board["stopped"], strict=True))
    long = long_from(settings.training)
    panels = [
        panel(f"Validation {name}", *_curves(curves, "validation_wer", number, ended)),
        panel("Training loss per token", *_curves(histories, "loss", number, ended, long), jump(long)),
        *_hyperparameters(board, number, name),
    ]
    return tiles("Search", head) + leaderboard(board, name) + stack(panels)


def _rate(settings: Settings) -> str:
    return RATES[rate_unit(settings.corpus.language)]


def leaderboard(board: pd.DataFrame, name: str) -> str:
    """The trials as a table, and which of them the validation clips cannot tell from the winner."""
    bounds = [
        f"{low:.2f} to {high:.2f}" if low == low else math.nan
        for low, high in zip(board["low"], board["high"], strict=True)
    ]
    board = board.assign(interval=bounds)
    board.loc[board.index[0], "p"] = math.nan  # of the winner with itself
    first = ["trial", "validation_wer", "interval", "p"]
    names = [*first, *(name for name in board.columns if name not in (*first, "low", "high"))]
    said = {"validation_wer": name, "interval": "95\u00a0% interval", "seconds": "time", "stopped": "ended"}
    told = {
        "validation_wer": "{:.2f}\u00a0%".format, "p": chance, "seconds": clock, "steps": "{:,.0f}".format,
        "trial": "{:.0f}".format,
    }  # fmt: skip
    heads = [said.get(name, name.replace("_", " ")) for name in names]
    table = [[_cell(told.get(name), row[name]) for name in names] for row in board.to_dict("records")]
    alike = [str(row["trial"]) for row in board.iloc[1:].to_dict("records") if row["p"] > SIGNIFICANCE]
    notes = []
    if len(board) > 1:
        notes.append("p is how often chance alone makes a difference this large from the winner.")
    if alike:
        which = f"Trial {alike[0]}" if len(alike) == 1 else f"Trials {', '.join(alike[:-1])} and {alike[-1]}"
        which = f"{len(alike)} trials" if len(alike) > MOST_NAMED else which
        notes.append(f"{which} may be as good as the winner: p is above {SIGNIFICANCE:g}.")
    return panel("Leaderboard", rows(heads, table, "records"), f"<p>{' '.join(notes)}</p>" if notes else "")


def _cell(say: Any, value: Any) -> str:
    if isinstance(value, float) and value != value:
        return "\N{EN DASH}"
    return safe(say(value) if say else plain(value) if isinstance(value, float) else value)


def plain(value: float) -> str:
    """Three digits of a number, without an exponent.

    >>> plain(6.31e-05), plain(0.1)
    ('0.0000631', '0.1')
    """
    return f"{Decimal(f'{value:.3g}'):f}"


def _curves(
    of: Mapping[int, Sequence[Look] | Sequence[Point]], column: str, winner: int, ended: Mapping[int, str],
    long: int | None = None,
) -> list[str]:  # fmt: skip
    """A line a trial, the winner's in its colour, a mark where each ended."""
    import pandas as pd

    log = column == "loss"
    table = [
        (one.step, max(getattr(one, column), LEAST if log else 0.0), number, "validation" if number == winner else "")
        for number, points in sorted(of.items(), key=lambda pair: pair[0] == winner)  # the winner's lies on top
        for one in points
    ]
    data = finite(pd.DataFrame(table, columns=["step", "value", "series", "split"]))
    if data.empty:
        return ["<p>No trial got this far.</p>"]
    last = data.groupby("series", as_index=False, sort=False).last()
    unit = "" if log else " %"
    of_ends = zip(last["series"].astype(int), last["value"], strict=True)
    told = [f"trial {number}: {value:.2f}{unit}, {ended[number]}" for number, value in of_ends]
    last = last.assign(told=told, ended=[ended[number] != "finished" for number in last["series"]])
    crosses = "<p>A cross marks a trial that ended early.</p>" if last["ended"].any() else ""
    drawn = draw(lines(data, int(data["step"].max()), last, log, long, unit=unit))
    return [drawn, _of_winner(len(of)), crosses]


def finite(data: pd.DataFrame) -> pd.DataFrame:
    """The rows that have a value: a loss that exploded has none."""
    return data[data["value"].map(math.isfinite)]


def _of_winner(trials: int) -> str:
    return legend("validation", "plain", names=("the winner", "the others")) if trials > 1 else ""


def _hyperparameters(board: pd.DataFrame, winner: int, rate: str) -> list[str]:
    """A panel with a chart for each hyperparameter that trials differ in."""
    import pandas as pd

    known = board[board["validation_wer"].notna()]
    split = ["validation" if one == winner else "" for one in known["trial"]]
    names = [
        name for name in known.columns[1 : list(known.columns).index("validation_wer")] if known[name].nunique() > 1
    ]
    made = []
    for name in names:
        said, values = name.replace("_", " "), known[name].astype(float)
        of = zip(known["trial"], values, known["validation_wer"], strict=True)
        told = [f"trial {trial}: {said} {plain(value)}, {wer:.1f} %" for trial, value, wer in of]
        data = pd.DataFrame({"value": values, "wer": known["validation_wer"], "split": split, "told": told})
        wide = values.min() > 0 and values.max() / values.min() >= WIDE
        made.append(draw(scattered(data, said, bool(wide), HEIGHT if len(names) == 1 else LOW)))
    title = f"{rate} by {names[0].replace('_', ' ')}" if len(names) == 1 else f"{rate} by hyperparameter"
    return [panel(title, *made, _of_winner(len(board)))] if made else []


def hyperparameters(of: Trial) -> str:
    """What a trial was trained with, in a line."""
    pairs = (("learning rate", of.learning_rate), ("weight decay", of.weight_decay), *of.others)
    return facts([f"{name.replace('_', ' ')} {plain(value)}" for name, value in pairs])


def between(low: float, high: float) -> str:
    return f"95\u00a0% interval {low:.1f} to {high:.1f}"


def legend(*splits: str, names: Sequence[str] = ()) -> str:
    """Which colour is what."""
    pairs = zip(splits, names or splits, strict=True)
    return f"<p>{' '.join(chip(split, name) for split, name in pairs)}</p>"
