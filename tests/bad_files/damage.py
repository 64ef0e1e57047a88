"""Ways to damage a model's folder: each takes a file's name and returns a function that damages the folder."""

import json
import os


def edited(name, **keys):
    """Change or add keys of a JSON file."""

    def damage(folder):
        content = json.loads((folder / name).read_text()) | keys
        (folder / name).write_text(json.dumps(content))

    return damage


def as_pipe(name):
    """Replace a file by a named pipe, which blocks its reader."""

    def damage(folder):
        (folder / name).unlink()
        os.mkfifo(folder / name)

    return damage


def as_large_file(name):
    """Make a file of gigabytes, which takes no space on the disk."""

    def damage(folder):
        (folder / name).touch()
        os.truncate(folder / name, 1 << 33)

    return damage
