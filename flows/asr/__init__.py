"""The library behind `whisper_flow.py`: one wing a verb of the graph.

`corpus` preprocesses, `training` trains, `scoring` selects and evaluates, `release` pushes.
Every wing takes the frozen `settings`; none but `store` and `compute` knows Metaflow.
"""


class Refused(Exception):
    """A user's mistake: one line that names what is wrong and where. Never shown as a traceback."""
