"""What the Metaflow cards show: a function a step, in a module for each wing of the flow.

A card is a page of ours: it reads the same offline, on a phone, in light and in dark, and its security policy lets it
ask nothing of anyone. Below `@card(type=cards.PAGE)` a step says

    current.card.append(cards.collect(cards.Run(profile, created), clips, rejected, summary, taken, examples))
"""

from asr.cards.corpus import collect as collect
from asr.cards.corpus import preprocess as preprocess
from asr.cards.page import LIVE as LIVE
from asr.cards.page import PAGE as PAGE
from asr.cards.page import Live as Live
from asr.cards.page import Run as Run
from asr.cards.release import push as push
from asr.cards.scoring import evaluate as evaluate
from asr.cards.training import select as select
from asr.cards.training import train as train
