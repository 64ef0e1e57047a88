"""A profile: a TOML file, read into `Settings` or rejected in one line that names the key."""

from __future__ import annotations

import difflib
import os
import re
import tomllib
import unicodedata
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError

from asr import InputError
from asr.settings.corpus import Source
from asr.settings.fields import Table, shorten
from asr.settings.schema import Settings

MAX_PROFILE_CHARS = 1 << 18
MAX_LIST_BYTES = 1 << 26  # of a file with a list of names
MAX_DEPTH = 16  # of a dotted key; `tomllib` takes hours for a key of a hundred thousand dots
STRING = re.compile(r'"[^"\n]*+"|\'[^\'\n]*+\'')
DEEP_KEY = re.compile(rf"(?<![\w-])[\w-]++(?:[ \t]*+\.[ \t]*+[\w-]++){{{MAX_DEPTH},}}+")


def check_file(name: str) -> None:
    """Raise `InputError` for a path that is not a profile. Opening a pipe would block, a device would never end."""
    path = Path(name)
    if not path.exists():  # Metaflow reports it
        return
    if not path.is_file() or path.resolve().parts[1:2] in (("proc",), ("sys",), ("dev",)):
        raise InputError(f"profile: {name} is not a text file")
    if (size := path.stat().st_size) > 4 * MAX_PROFILE_CHARS:
        raise InputError(f"profile: {name} has {size:,} bytes; a profile has {MAX_PROFILE_CHARS:,} letters at most")


def load(text: str, folder: Path | None = None) -> Settings:
    """Parse a profile; relative paths are relative to `folder` (default: the current folder).

    Raises:
        InputError: One line that names the key.
    """
    if len(text) > MAX_PROFILE_CHARS:
        raise InputError(f"profile: it has {len(text):,} characters; a profile has {MAX_PROFILE_CHARS:,} at most")
    if deep := DEEP_KEY.search(STRING.sub("s", text)):
        raise InputError(f"profile: {deep[0][:80]!r} is a key of more than {MAX_DEPTH} parts")
    try:
        tables = tomllib.loads(text)
    except RecursionError:
        raise InputError("profile: not readable TOML: its lists or tables are nested too deep") from None
    except ValueError as error:  # also Python's, for a number of thousands of digits
        raise InputError(f"profile: not TOML: {error}") from None
    try:
        settings = Settings.model_validate(tables)
    except ValidationError as error:
        raise InputError("profile: " + _format_errors(error.errors())) from None
    return _resolve_paths(settings, folder or Path.cwd())


def _resolve_paths(settings: Settings, folder: Path) -> Settings:
    """Make paths absolute and read listed files where the run is launched: remote steps run in other folders."""

    def resolve(path: str, key: str) -> str:
        if path.startswith("gs://"):
            return path
        try:
            resolved = (folder / Path(path).expanduser()).resolve()
            with suppress(FileNotFoundError, NotADirectoryError, PermissionError):
                resolved.lstat()
            return str(resolved)
        except (OSError, RuntimeError, ValueError) as error:  # an unknown user's home, a loop of links, a too long name
            reason = error.strerror if isinstance(error, OSError) else error
            raise InputError(f"profile: {key}: {path[:200]} is not a path: {reason}") from None

    def listed_names(names: tuple[str, ...] | str, key: str) -> tuple[str, ...]:
        return _read_lines(resolve(names, key), key) if isinstance(names, str) else names

    def resolve_if_folder(name: str, key: str) -> str:
        return path if not name.startswith("gs://") and os.path.isdir(path := resolve(name, key)) else name

    def resolved_paths(source: Source) -> dict[str, str | None]:
        name = resolve_if_folder(source.id, "[corpus] id") if source.id and source.source == "hub" else source.id
        return {"path": source.path and resolve(source.path, "[corpus] path"), "id": name}

    corpus, model, training, release = settings.corpus, settings.model, settings.training, settings.release
    corpus = corpus.model_copy(update={
        **resolved_paths(corpus),
        "sources": tuple(source.model_copy(update=resolved_paths(source)) for source in corpus.sources),
        "exclude": listed_names(corpus.exclude, "[corpus] exclude"),
    })  # fmt: skip
    text = settings.text.model_copy(update={"hotwords": listed_names(settings.text.hotwords, "[text] hotwords")})
    if model.base:
        model = model.model_copy(update={"base": resolve_if_folder(model.base, "[model] base")})
    folders = {
        key: (path := getattr(training, key)) and resolve(path, f"[training] {key}") for key in ("noise", "rooms")
    }
    training = training.model_copy(update=folders)
    release = release.model_copy(update={"folder": Path(resolve(str(release.folder), "[release] folder"))})
    resolved_tables = {"corpus": corpus, "text": text, "model": model, "training": training, "release": release}
    return settings.model_copy(update=resolved_tables)


def _read_lines(file: str, key: str) -> tuple[str, ...]:
    """The lines of the text file that a key names, without empty lines and `#` comments."""
    try:
        if os.path.exists(file) and not os.path.isfile(file):  # a pipe blocks, a device never ends
            raise OSError("it is not a text file")
        if os.path.getsize(file) > MAX_LIST_BYTES:
            raise OSError(f"it has more than {MAX_LIST_BYTES:,} bytes")
        lines = Path(file).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"profile: {key}: {file} cannot be read: {error}") from None
    names = (unicodedata.normalize("NFC", line.strip()) for line in lines)
    return tuple(name for name in names if name and not name.startswith("#"))


def _format_errors(errors: list[Any]) -> str:
    """The first pydantic error in terms of the profile: `[training] steps: ... (got -3)`."""
    error = [item for item in errors if item["loc"][:2] == errors[0]["loc"][:2]][-1]  # of a union, the longer form
    location = [
        part for part in error["loc"] if not re.match("tuple|literal|constrained|(str|word|list|range)$", str(part))
    ]
    location = [part if isinstance(part, int) else part[:100] for part in location]
    key = str(location[0]) if location else ""
    if location and location[0] in Settings.model_fields and (len(location) > 1 or error["type"] == "value_error"):
        key = " ".join([f"[{location[0]}]", ".".join(map(str, location[1:]))]).strip()
    if error["type"] == "extra_forbidden":
        close = difflib.get_close_matches(str(location[-1]), _known_keys(location[:-1]), n=1)
        return f"{key}: unknown key" + (f"; did you mean {close[0]}?" if close else "")
    if error["type"] == "value_error":
        return f"{key}{':' if key and not key.endswith(']') else ''} {error['ctx']['error']}".strip()
    return f"{key}: {error['msg'].replace('tuple', 'list')} (got {shorten(error['input'])})"


def _known_keys(location: list[Any]) -> list[str]:
    """The known keys of the table at this location in the profile."""
    table: Any = Settings
    for part in location:
        if isinstance(part, str):
            table = next(_tables_in(table.model_fields[part].annotation))
    return list(table.model_fields)


def _tables_in(annotation: Any) -> Iterator[type[Table]]:
    """The tables in a field's annotation."""
    if isinstance(annotation, type) and issubclass(annotation, Table):
        yield annotation
    for part in get_args(annotation):
        yield from _tables_in(part)
