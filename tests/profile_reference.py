"""Every key of a profile, as a page: from the settings' types and defaults, and the comments in sample.toml.

python tests/profile_reference.py > flows/docs/profiles.md
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "flows"))

from asr import settings  # noqa: E402
from pydantic import BaseModel  # noqa: E402

FILE = ROOT / "flows" / "docs" / "profiles.md"
SAMPLE = ROOT / "flows" / "profiles" / "sample.toml"
# Keys that sample.toml does not show.
NOT_IN_SAMPLE = {
    ("corpus", "name"): "of the source in every report; by default its id or kind",
    (
        "corpus",
        "licence",
    ): "of the speech, for the model card; with an open one (CC0, CC BY, CC BY-SA) a release has test clips",
    ("corpus", "limit_clips"): "at most this many clips of each split",
    ("corpus", "limit_hours"): "at most this many hours of each split",
    ("corpus", "path"): "a folder, local or gs://; of common_voice a folder or its .tar.gz",
    ("corpus", "id"): "of a dataset on the Hub, or a folder of Parquet; of common_voice the Mozilla Data Collective's",
    ("corpus", "config"): "of a dataset on the Hub",
    ("corpus", "revision"): "of a dataset on the Hub: a commit, tag or branch",
    ("corpus", "splits"): "what the source calls its splits, [below](#corpussplits)",
    ("corpus", "columns"): "what a dataset on the Hub calls its columns, [below](#corpuscolumns)",
    ("corpus", "sources"): "several sources instead of one, [below](#corpussources)",
    ("text", "alphabet"): "letters that a transcript may hold; by default those of the language",
    ("corpus.splits", "train"): "split to train on",
    ("corpus.splits", "validation"): "split to choose by",
    ("corpus.splits", "test"): "split to score on",
    ("corpus.columns", "audio"): "the sound",
    ("corpus.columns", "text"): "the transcript",
    ("corpus.columns", "speaker"): "who speaks",
    ("corpus.columns", "clip"): "the clip's name",
}
NUMBERS = {"integer": "whole number", "number": "number"}
TABLES: dict[str, tuple[type[BaseModel], str]] = {
    "corpus": (settings.Corpus, "Where speech comes from, and which clips may be used. More: [data.md](data.md)."),
    "corpus.splits": (settings.Splits, "What a source calls its splits."),
    "corpus.columns": (
        settings.Columns,
        "What a dataset of the Hub calls its columns; others are found by usual names.",
    ),
    "text": (settings.Text, "What the model should write, and what counts as the same word."),
    "model": (settings.Model, "A base to fine-tune, or the shape of a Whisper to train from nothing."),
    "training": (settings.Training, "How one trial is trained. More: [training.md](training.md)."),
    "search": (settings.Search, "Which hyperparameters are tried. More: [search.md](search.md)."),
    "release": (settings.Release, "Where the winner goes, and what it must meet. More: [release.md](release.md)."),
    "compute": (settings.Compute, "Where steps run. More: [cloud.md](cloud.md)."),
}
HEAD = """# Profiles: every key

Written by `python tests/profile_reference.py` from `asr.settings` and the comments in
`flows/profiles/sample.toml`; a test holds it up to date. A profile gives only what differs from the defaults. Relative
paths mean the folder that the command is run in. An unknown key, a wrong type or an impossible value is refused in one
line before any work.

The profiles in [flows/profiles](../profiles):
"""


def comments() -> dict[tuple[str, str], str]:
    """The comment on each key in sample.toml, by table and key; also of keys that are commented out."""
    table, meanings = "", {}
    for line in SAMPLE.read_text(encoding="utf-8").splitlines():
        if header := re.match(r"\[([\w.]+)\]", line):
            table = header[1]
        elif entry := re.match(r"(?:# )?(\w+) = (?:\"[^\"]*\"|\[[^]]*\]|[^#\"\[])*#\s*(.*)", line):
            meanings[table, entry[1]] = entry[2].strip()
    return meanings


def kind(schema: dict[str, Any]) -> str:
    """The values that a key takes, from its JSON schema."""
    if "$ref" in schema:
        return {"Range": "`{ low, high, log }`"}.get(schema["$ref"].rpartition("/")[2], "table")
    if options := schema.get("anyOf") or schema.get("oneOf"):
        kinds = dict.fromkeys(kind(option) for option in options if option.get("type") != "null")
        return " or ".join(kinds)
    if "const" in schema:
        return f"`{json.dumps(schema['const'])}`"
    if "enum" in schema:
        return ", ".join(f"`{json.dumps(value)}`" for value in schema["enum"])
    if schema.get("type") == "array":
        items = schema.get("items", {})
        return "tables" if "$ref" in items else f"list of {kind(items)}"
    if noun := NUMBERS.get(schema.get("type", "")):
        return f"{noun}{bounds(schema)}"
    return {"string": "text", "boolean": "`true`, `false`"}.get(schema.get("type", ""), schema.get("type", "table"))


def bounds(schema: dict[str, Any]) -> str:
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    if "exclusiveMinimum" in schema:
        schema = {key: value for key, value in schema.items() if key != "minimum"}
    limits = [f"{sign} {schema[key]:,}" for key, sign in signs.items() if key in schema]
    return f" {', '.join(limits)}" if limits else ""


def cell(text: str) -> str:
    return text.replace("|", "\\|").replace("*", "\\*")


def rows(model: type[BaseModel], table: str) -> list[str]:
    meanings = {**comments(), **NOT_IN_SAMPLE}
    lines = ["| key | values | default | meaning |", "|---|---|---|---|"]
    for name, schema in model.model_json_schema()["properties"].items():
        if name in TABLES and model is settings.Settings:
            continue
        default = schema.get("default")
        value = "" if default is None or isinstance(default, dict) else f"`{json.dumps(default, ensure_ascii=False)}`"
        lines.append(f"| `{name}` | {cell(kind(schema))} | {value} | {cell(meanings[table, name])} |")
    return lines


def title(profile: Path) -> str:
    """The first sentence of a profile's comment."""
    comment = re.match(r"(?:#[^\n]*\n)+", profile.read_text(encoding="utf-8"))
    lines = [line.strip("# ") for line in comment[0].partition("\n#\n")[0].splitlines()] if comment else []
    return re.split(r"(?<=[a-z0-9)])[.;] ", " ".join(lines))[0].rstrip(".")


def page() -> str:
    files = sorted(SAMPLE.parent.glob("*.toml"))
    parts = [HEAD.rstrip(), "\n".join(f"- [`{file.name}`](../profiles/{file.name}): {title(file)}" for file in files)]
    parts.append("\n".join(["## Top level", "", *rows(settings.Settings, "")]))
    for table, (model, about) in TABLES.items():
        parts.append("\n".join([f"## {table}", "", about, "", *rows(model, table)]))
    keys = ", ".join(f"`{name}`" for name in settings.Source.model_fields)
    parts.append(f"## corpus.sources\n\nEach `[[corpus.sources]]` takes these keys of `[corpus]`: {keys}.")
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    sys.stdout.write(page())
