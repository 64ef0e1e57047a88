"""How trials learn: the live card of `train`, and the search's, of `select`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from asr.cards.drawing import chip, draw, lines, scattered
from asr.cards.page import facts, panel, rows, safe, shown, stack, tiles
from asr.corpus.text import RATES, unit
from asr.scoring.intervals import CHANCE
from asr.story import chance, clock
from asr.training.search import Look, Outcome, Point, Trial, best

if TYPE_CHECKING:
    import pandas as pd

    from asr.settings import Settings
    from asr.training.watch import Standing

LEAST = 1e-3  # of a loss in a chart with a logarithmic axis
WIDE = 8  # times the smallest of a hyperparameter: more wants a logarithmic axis
ENDS = {
    "finished": "all steps done",
    "plateau": "no better for a while",
    "outpaced": "others did better",
    "diverged": "the loss exploded",
}


def train(of: Trial, standing: Standing, settings: Settings) -> str:
    """One trial while it runs, and once it is over."""
    name = f"Validation {_rate(settings)}"
    point, look = best(standing.curve), standing.history[-1]
    ended = ("Ended", safe(standing.stopped), ENDS.get(standing.stopped, ""))
    head = [
        ("Step", f"{look.step:,}", f"of {standing.steps:,}"),
        (name, f"{point.validation_wer:.1f}\u00a0%", between(point.low, point.high))
        if point else (name, "\N{EN DASH}", "not heard yet"),
        ("Clips a second", f"{look.clips_per_second:,.0f}", ""),
        ended if standing.stopped else ("Time left", clock(standing.left), "as it has gone so far"),
    ]  # fmt: skip
    return tiles(f"Trial {of.number}", head, hyperparameters(of)) + stack(progress(standing, name))


def progress(standing: Standing, name: str) -> list[str]:
    """The panels on how one trial goes; `name` is its rate's."""
    import pandas as pd

    steps, history, curve = standing.steps, standing.history, standing.curve

    def of(looks: Sequence[Look] | Sequence[Point], column: str, split: str) -> pd.DataFrame:
        pairs = [(one.step, getattr(one, column)) for one in looks]
        return pd.DataFrame(pairs, columns=["step", "value"]).assign(series=split, split=split)

    losses = pd.concat([of(history, "loss", "train"), of(curve, "validation_loss", "validation")])
    losses = finite(losses.assign(value=losses["value"].clip(lower=LEAST)))
    made = (
        [panel("Loss a token", draw(lines(losses, steps, log=True)), legend("train", "validation"))]
        if len(losses)
        else []
    )
    if curve:
        wers = of(curve, "validation_wer", "validation")
        told = [f"step {one.step:,}: {one.validation_wer:.1f} %, {one.low:.1f} to {one.high:.1f}" for one in curve]
        marks = wers.assign(told=told, low=[one.low for one in curve], high=[one.high for one in curve])
        made.append(panel(f"{name}, percent", draw(lines(wers, steps, marks)), "<p>With its 95\u00a0% interval.</p>"))
    made.append(panel("Learning rate", draw(lines(of(history, "learning_rate", ""), steps))))
    made.append(panel("Clips a second", draw(lines(of(history, "clips_per_second", ""), steps))))
    return made


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
        ("Computing", clock(board["seconds"].sum()), "all trials together"),
    ]
    curves = {number: one.curve for number, one in by_number.items()}
    histories = {number: one.history for number, one in by_number.items()}
    number, ended = int(winner["trial"]), dict(zip(board["trial"], board["stopped"], strict=True))
    panels = [
        panel(f"Validation {name}, percent", *_curves(curves, "validation_wer", number, ended)),
        panel("Training loss a token", *_curves(histories, "loss", number, ended)),
        *_hyperparameters(board, number, name),
    ]
    return tiles("Search", head) + leaderboard(board, name) + stack(panels)


def _rate(settings: Settings) -> str:
    return RATES[unit(settings.corpus.language)]


def leaderboard(board: pd.DataFrame, name: str) -> str:
    """The trials as a table, and which of them the validation clips cannot tell from the winner."""
    others = [name for name in board.columns if name not in ("trial", "validation_wer", "low", "high", "p")]
    names = ["trial", "validation_wer", "low", "high", "p", *others]
    said = {"validation_wer": name, "low": "95\u00a0% from", "high": "to", "p": "p", "seconds": "time"}
    told = {
        "validation_wer": "{:.2f}\u00a0%".format, "low": "{:.2f}".format, "high": "{:.2f}".format,
        "p": chance, "seconds": clock, "steps": "{:,.0f}".format, "trial": "{:.0f}".format,
    }  # fmt: skip
    heads = [said.get(name, name.replace("_", " ")) for name in names]
    table = [[_cell(told.get(name), row[name]) for name in names] for row in board.to_dict("records")]
    alike = [str(row["trial"]) for row in board.iloc[1:].to_dict("records") if row["p"] > CHANCE]
    note = ""
    if alike:
        which = f"Trial {alike[0]} is" if len(alike) == 1 else f"Trials {', '.join(alike)} are"
        note = f"<p>{which} no worse than the winner, for all that these clips can tell (p above {CHANCE:g}).</p>"
    return panel("Leaderboard", rows(heads, table), note)


def _cell(say: Any, value: Any) -> str:
    if isinstance(value, float) and value != value:
        return "\N{EN DASH}"
    return safe(say(value) if say else f"{value:.3g}" if isinstance(value, float) else value)


def _curves(
    of: Mapping[int, Sequence[Look] | Sequence[Point]], column: str, winner: int, ended: Mapping[int, str]
) -> list[str]:
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
        return ["<p>No trial came as far.</p>"]
    last = data.groupby("series", as_index=False, sort=False).last()
    unit = "" if log else " %"
    of_ends = zip(last["series"].astype(int), last["value"], strict=True)
    told = [f"trial {number}: {value:.2f}{unit}, {ended[number]}" for number, value in of_ends]
    last = last.assign(told=told, ended=[ended[number] != "finished" for number in last["series"]])
    crosses = "<p>A cross is a trial that ended early.</p>" if last["ended"].any() else ""
    return [draw(lines(data, int(data["step"].max()), last, log)), _of_winner(len(of)), crosses]


def finite(data: pd.DataFrame) -> pd.DataFrame:
    """The rows that have a value: a loss that exploded has none."""
    return data[data["value"].map(math.isfinite)]


def _of_winner(trials: int) -> str:
    return legend("validation", "plain", names=("the winner", "the others")) if trials > 1 else ""


def _hyperparameters(board: pd.DataFrame, winner: int, rate: str) -> list[str]:
    """A panel for each hyperparameter that trials differ in."""
    import pandas as pd

    known = board[board["validation_wer"].notna()]
    split = ["validation" if one == winner else "" for one in known["trial"]]
    made = []
    for name in known.columns[1 : list(known.columns).index("validation_wer")]:
        if known[name].nunique() < 2:
            continue
        said, values = name.replace("_", " "), known[name].astype(float)
        of = zip(known["trial"], values, known["validation_wer"], strict=True)
        told = [f"trial {trial}: {said} {value:g}, {wer:.1f} %" for trial, value, wer in of]
        data = pd.DataFrame({"value": values, "wer": known["validation_wer"], "split": split, "told": told})
        wide = values.min() > 0 and values.max() / values.min() >= WIDE
        made.append(panel(f"{rate} by {said}", draw(scattered(data, said, bool(wide)))))
    return made


def hyperparameters(of: Trial) -> str:
    """What a trial was trained with, in a line."""
    pairs = (("learning rate", of.learning_rate), ("weight decay", of.weight_decay), *of.others)
    return facts([f"{name.replace('_', ' ')} {value:.3g}" for name, value in pairs])


def between(low: float, high: float) -> str:
    return f"{low:.1f} to {high:.1f}, 95\u00a0%"


def legend(*splits: str, names: Sequence[str] = ()) -> str:
    """Which colour is what."""
    pairs = zip(splits, names or splits, strict=True)
    return f"<p>{' '.join(chip(split, name) for split, name in pairs)}</p>"
