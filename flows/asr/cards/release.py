"""The card of `push`: the release, its checks, and where it was published."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asr.cards.page import card_part, escape, html_table, panel, panel_columns, stat_tiles
from asr.cards.scoring import conclusions, format_percent
from asr.cards.training import format_interval
from asr.corpus.text import RATES
from asr.summary import fetch_command

if TYPE_CHECKING:
    from asr.release.gate import Check
    from asr.release.publishing import Publication

MAX_FILES = 3  # files that are listed


@card_part
def push(publication: Publication, report: Mapping[str, Any]) -> str:
    """The release: whether it replaces the last one, its checks, its files, and how to try it."""
    release, faults = publication.release, sum(not check.passed for check in publication.checks)
    name, revision = Path(release["path"]).name, (release["revision"] or "")[:8]
    fetch = fetch_command(release)
    place = "in the run's datastore" if fetch else "now <code>released/latest</code>"
    passed = (
        f"{faults} of {len(publication.checks)} failed"
        if faults
        else f"{len(publication.checks)} of {len(publication.checks)} passed"
    )
    head = [
        ("Release", f"<code>{escape(name)}</code>", place if publication.latest else "held back"),
        (f"Test {RATES[report['unit']]}", format_percent(report["test_wer"]), format_interval(*report["test_wer_ci"])),
        ("Checks", "<em>failed</em>" if faults else "passed", passed),
        (
            "On the Hub",
            f"<code>{escape(release['repo_id'])}</code>" if release["pushed"] else "no",
            f"<code>{revision}</code>",
        ),
    ]
    rows = [
        (escape(check.name), check_result(check), escape(check.finding[:1].upper() + check.finding[1:]))
        for check in publication.checks
    ]
    gate = panel(
        "Release checks", html_table(("check", "result", "what was measured"), rows, "words"), *conclusions(report)
    )
    model = "" if publication.latest else f"MODEL_ID=released/{name} "
    space = f"<p>{escape(release['space'])}: {escape(release['space_status'])}.</p>" if "space" in release else ""
    commands = "\n".join(filter(None, [fetch, f"{model}python space/app.py"]))
    note = "<p>Run it in the folder where you started the run.</p>"
    return (
        stat_tiles("Release", head)
        + gate
        + panel_columns(
            [panel("Try it", space, f"<pre>{escape(commands)}</pre>", note), files_panel(publication.sizes)]
        )
    )


def files_panel(sizes: Mapping[str, int]) -> str:
    """A panel with the release's files, the largest by name."""
    ranked = sorted(sizes.items(), key=lambda pair: -pair[1])
    if len(ranked) > MAX_FILES + 1:
        rest = ranked[MAX_FILES:]
        ranked = [*ranked[:MAX_FILES], (f"{len(rest):,} smaller files", sum(size for _, size in rest))]
    table = [(escape(file), format_size(size)) for file, size in (*ranked, ("total", sum(sizes.values())))]
    return panel("Files", html_table(("", ""), table))


def check_result(check: Check) -> str:
    """The result in bold or in the warning colour."""
    return "<b>passed</b>" if check.passed else "<em>failed</em>"


def format_size(size: int) -> str:
    """A size in a suitable unit.

    >>> format_size(900), format_size(4_300_000)
    ('1 kB', '4.3 MB')
    """
    return f"{size / 1e6:,.1f} MB" if size >= 1e6 else f"{max(1, round(size / 1e3)):,} kB"
