"""The README and the documentation: their commands, links, files and profiles exist."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib
from configparser import ConfigParser
from functools import cache
from pathlib import Path

import profile_reference
import pytest
from asr.settings import Settings
from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[1]
FLOW = "flows/whisper_flow.py"
PAGES = sorted(
    file.relative_to(ROOT)
    for file in (
        *(ROOT / "flows" / "docs").glob("*.md"),
        *(ROOT / ".github").rglob("*.md"),
        ROOT / "README.md",
        ROOT / "space" / "README.md",
        ROOT / "flows" / "sample" / "README.md",
    )
)
OWN_COMMAND = re.compile(r"(\S*python[\d.]*|flow|\S*whisper-flow|\S*pip) ")
# Commands that no test runs, by their first word, with the reason.
NOT_RUN = {
    "docker": "no container engine where the tests run; tests/test_dependencies.py checks what the images install",
    "gcloud": "tests/flows/test_cloud_guide.py checks verbs and options",
    "kubectl": "the same",
    "terraform": "the same",
    "uv": "not installed by a package index that the tests may use; section 3 of cloud.md says what was tried",
    "git": "clones another repository",
    ".venv/bin/ruff": "`.ci/run` runs it after the tests",
    ".venv/bin/mypy": "the same",
    ".venv/bin/tensorboard": "a server that never ends",
    "curl": "tests/space/test_openai_api.py sends such requests",
    **dict.fromkeys(". ask cd cat cp export for done do if fi mkdir printf rm sed tar".split(), "the shell's"),
}


def blocks(page: Path, language: str) -> list[str]:
    text = (ROOT / page).read_text(encoding="utf-8")
    return [token.content for token in MarkdownIt().parse(text) if token.type == "fence" and token.info == language]


def commands() -> list[tuple[str, str]]:
    """Each command of the pages that runs this repository's code, without its comment, and with its page."""
    commands_of_pages = []
    for page in PAGES:
        for block in blocks(page, "sh"):
            for line in re.split(r"\n|&&|;", block.replace("\\\n", " ")):
                words = line.split(" #")[0].strip().removeprefix("uv run ").replace("$REPO/", "")
                if OWN_COMMAND.match(words):
                    commands_of_pages.append((str(page), words))
    return commands_of_pages


@cache
def options(*verb: str) -> set[str]:
    """What `--help` of a verb of the flow, or of a module, names."""
    if verb == ("resume",):  # `resume` looks for a run before it prints its help
        return options("run") | {"--origin-run-id"}
    arguments = [*verb, "--help"] if verb and verb[0] == "-m" else [FLOW, *verb, "--help"]
    variables = os.environ | {"PYTHONPATH": str(ROOT / "flows")}
    command = [sys.executable, *arguments]
    process = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=60)
    assert process.returncode == 0, process.stderr
    return set(re.findall(r"--[a-z][a-z-]+", process.stdout))


@pytest.mark.parametrize(("page", "command"), commands())
def test_commands_in_the_pages_have_valid_options(page, command):
    words = shlex.split(command)
    if words[0].endswith("pip"):
        config = ConfigParser()
        config.read(ROOT / "setup.cfg")
        extras = re.findall(r"\.\[(.*?)\]", command)
        assert {extra for listed in extras for extra in listed.split(",")} <= set(config["options.extras_require"])
        assert "-c constraints.txt" in command or "--require-hashes -r .ci/hashes.txt" in command
        return
    if words[0] == "flow" or words[0].endswith("whisper-flow"):
        words = ["python", FLOW, *words[1:]]
    if words[1] == "-m" and words[2].startswith("asr"):
        assert {word for word in words if word.startswith("--")} <= options("-m", words[2])
    elif words[1] == FLOW:
        arguments = words[2:]
        is_positional = [not word.startswith("-") and not _is_value(arguments, at) for at, word in enumerate(arguments)]
        start = is_positional.index(True)
        end = start + (2 if arguments[start] in ("card", "argo-workflows") else 1)
        before, verb, after = arguments[:start], arguments[start:end], arguments[end:]
        assert {word for word in before if word.startswith("--")} <= options()
        assert {word for word in after if word.startswith("--")} <= options(*verb)
    elif words[1].endswith(".py"):
        assert (ROOT / words[1]).is_file()


def _is_value(words: list[str], position: int) -> bool:
    """Whether a word is the value of an option before it."""
    value_counts = {"--config": 2, "--branch": 1, "--environment": 1, "--datastore": 1, "--metadata": 1}
    return any(value_counts.get(words[position - back], 0) >= back for back in (1, 2) if position >= back)


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_untested_command_has_a_reason(page):
    for block in blocks(page, "sh"):
        block = re.sub(r"<<END\n.*?\nEND\b", "", block.replace("\\\n", " "), flags=re.S)
        block = re.sub(r"(?s)'[^']*'|\"[^\"]*\"", "TEXT", block)
        for line in block.splitlines():
            for part in re.split(r"&&|;|\|+", re.sub(r"(^|\s)#.*", "", line)):
                word = re.sub(r"^[\s({]*(\w+=\S*\s+|\w+\(\) \{\s*|do\s+|uv run\s+)*", "", part).rstrip(" )}")
                first = word.split(" ")[0] if word else ""
                is_known = not first or OWN_COMMAND.match(word + " ") or first.partition("=")[0] in NOT_RUN
                assert is_known or "=" in first or first.startswith(("-", "TEXT", "grep")), (str(page), line)


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_profiles_in_the_pages_are_valid(page):
    for block in blocks(page, "toml"):
        Settings.model_validate({"model": {"base": "released/latest"}} | tomllib.loads(block))


def anchors(file: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_link_within_the_repository_has_a_target(page):
    text = re.sub(r"(?s)```.*?```|`[^`\n]*`", "", (ROOT / page).read_text(encoding="utf-8"))
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"\w+:", link):
            continue
        path, _, anchor = link.partition("#")
        file = (ROOT / page).parent / path if path else ROOT / page
        assert file.exists(), (str(page), link)
        assert not anchor or anchor in anchors(file), (str(page), link)


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_file_that_a_page_names_exists(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    for name in re.findall(r"(?:tests|flows|space|\.ci)/[\w/.-]+\.(?:py|toml|txt|md)\b", text):
        assert (ROOT / name).exists(), (str(page), name)


def test_the_profile_reference_is_up_to_date():
    text = profile_reference.FILE.read_text(encoding="utf-8")
    assert text == profile_reference.page(), "python tests/profile_reference.py > flows/docs/profiles.md"


def test_the_readme_is_short_and_has_its_two_commands():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 150
    for heading in ("Run", "Test"):
        (command,) = re.findall(rf"^## {heading}\n(?:[^#`]*\n)?```sh\n(.+)\n```", text, re.M)
        assert command.startswith("python3 -m venv .venv && .venv/bin/pip install -q -c constraints.txt -e ")


def test_pictures_are_small():
    pictures = list((ROOT / "flows" / "docs" / "images").iterdir())
    assert pictures
    assert max(picture.stat().st_size for picture in pictures) < 150_000


def test_the_whisper_flow_command_runs_the_flow(tmp_path):
    config = ConfigParser()
    config.read(ROOT / "setup.cfg")
    name, _, target = config["options.entry_points"]["console_scripts"].strip().partition(" = ")
    module, _, function = target.partition(":")
    code = f"import sys; sys.argv[0] = {name!r}; from {module} import {function}; {function}()"
    command = [sys.executable, "-c", code, "run", "--help"]
    variables = {"PATH": "", "HOME": str(tmp_path), "PYTHONPATH": str(ROOT / "flows"), "USERNAME": "me"}
    process = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=60)
    assert process.returncode == 0, process.stderr
    assert "--max-workers" in process.stdout
