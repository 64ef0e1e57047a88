"""A decoder that fails on some files; Python imports this at its start if PYTHONPATH contains this folder.

Each start adds a mark to the file in the variable STARTED, if it is set.
"""

import os
from contextlib import suppress

with suppress(KeyError), open(os.environ["STARTED"], "a") as started:
    started.write("+")

with suppress(ImportError):
    import av

    av_open = av.open

    def faulty_open(file, *args, **kwargs):
        head = file.read(5)
        file.seek(0)
        if head == b"CRASH":
            os.abort()
        while head == b"HANGS":
            pass
        if head == b"LARGE":
            bytearray(1 << 40)
        return av_open(file, *args, **kwargs)

    av.open = faulty_open
