"""What spoils a model's folder: functions of a file's name, each of which makes one that changes a folder."""

import json
import os


def edited(name, **keys):
    """Keys of a JSON file are others, or more."""

    def spoil(folder):
        told = json.loads((folder / name).read_text()) | keys
        (folder / name).write_text(json.dumps(told))

    return spoil


def a_pipe(name):
    def spoil(folder):
        (folder / name).unlink()
        os.mkfifo(folder / name)

    return spoil


def of_gigabytes(name):
    """It takes no place on the disk."""

    def spoil(folder):
        (folder / name).touch()
        os.truncate(folder / name, 1 << 33)

    return spoil
