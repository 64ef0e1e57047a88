"""The Metaflow cards: a function per step, in a module per package.

A card is a self-contained page for desktop and phone, in light and dark; its security policy blocks all requests. Below
`@card(type=cards.PAGE)` a step calls

    current.card.append(cards.collect(cards.Run(profile, created), clips, rejected, summary, reused_shards, examples))
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from asr.cards.page import LIVE as LIVE
from asr.cards.page import PAGE as PAGE
from asr.cards.page import Live as Live
from asr.cards.page import Run as Run

if TYPE_CHECKING:
    from asr.cards.corpus import collect as collect
    from asr.cards.corpus import preprocess as preprocess
    from asr.cards.release import push as push
    from asr.cards.scoring import evaluate as evaluate
    from asr.cards.training import select as select
    from asr.cards.training import train as train

_MODULES = {
    "preprocess": "corpus",
    "collect": "corpus",
    "train": "training",
    "select": "training",
    "evaluate": "scoring",
    "push": "release",
}


def __getattr__(name: str) -> Any:
    """Import the function of a step when it is used: every task and every card is a process that imports this file."""
    if name in _MODULES:
        return getattr(import_module(f"asr.cards.{_MODULES[name]}"), name)
    raise AttributeError(f"no card for {name}")
