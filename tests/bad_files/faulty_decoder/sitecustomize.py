"""Read by Python as it starts, where PYTHONPATH names this folder: a decoder with faults that files bring out.

Each start adds a mark to the file that STARTED names, where it does.
"""

import os
from contextlib import suppress

with suppress(KeyError), open(os.environ["STARTED"], "a") as started:
    started.write("+")

with suppress(ImportError):
    import av

    av_open = av.open

    def faulty_open(file, *given, **named):
        head = file.read(5)
        file.seek(0)
        if head == b"CRASH":
            os.abort()
        while head == b"HANGS":
            pass
        if head == b"LARGE":
            bytearray(1 << 40)
        return av_open(file, *given, **named)

    av.open = faulty_open
