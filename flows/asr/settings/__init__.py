"""The settings of an experiment: every key with its unit and default, validated once.

A profile is a TOML file with the keys that differ from the defaults, which are those of the sample. `load` parses it
into frozen `Settings`.
"""

from asr.settings.compute import Compute
from asr.settings.corpus import Columns, Corpus, Source, Splits, Text
from asr.settings.fields import LANGUAGE_MISTAKES, LANGUAGES
from asr.settings.profile import check_file, load
from asr.settings.release import Release
from asr.settings.schema import Settings
from asr.settings.search import Range, Search
from asr.settings.training import Model, Training

__all__ = [
    "LANGUAGES", "LANGUAGE_MISTAKES", "Columns", "Compute", "Corpus", "Model", "Range", "Release", "Search", "Settings",
    "Source", "Splits", "Text", "Training", "check_file", "load",
]  # fmt: skip
