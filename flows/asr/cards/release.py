"""Where the release went: the card of `push`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asr.cards.page import panel, rows, safe, shown, stack, tiles
from asr.cards.scoring import percent, verdict
from asr.cards.training import between
from asr.corpus.text import RATES
from asr.story import fetching

if TYPE_CHECKING:
    from asr.release.gate import Check
    from asr.release.publishing import Publication

LISTED = 3  # files, by name


@shown
def push(out: Publication, report: Mapping[str, Any]) -> str:
    """The release, whether it may take the place of the last one, what it holds and how to hear it."""
    made, faults = out.release, sum(not check.passed for check in out.checks)
    name, revision = Path(made["path"]).name, (made["revision"] or "")[:8]
    fetch = fetching(made)
    now = "in the run's datastore" if fetch else "now <code>released/latest</code>"
    asked = f"{faults} of {len(out.checks)} failed" if faults else f"{len(out.checks)} of {len(out.checks)} passed"
    head = [
        ("Release", f"<code>{safe(name)}</code>", now if out.latest else "held back"),
        (f"Test {RATES[report['unit']]}", percent(report["test_wer"]), between(*report["test_wer_ci"])),
        ("Checks", "<em>failed</em>" if faults else "passed", asked),
        ("On the Hub", f"<code>{safe(made['repo_id'])}</code>" if made["pushed"] else "no", f"<code>{revision}</code>"),
    ]
    found = [
        (safe(check.name), mark(check), safe(check.finding[:1].upper() + check.finding[1:])) for check in out.checks
    ]
    gate = panel("Release checks", rows(("check", "result", "what was measured"), found, "words"), *verdict(report))
    hear = "" if out.latest else f"MODEL_ID=released/{name} "
    space = f"<p>{safe(made['space'])}: {safe(made['space_told'])}.</p>" if "space" in made else ""
    commands = "\n".join(filter(None, [fetch, f"{hear}python space/app.py"]))
    where = "<p>Run it in the folder where you started the run.</p>"
    return (
        tiles("Release", head)
        + gate
        + stack([panel("Try it", space, f"<pre>{safe(commands)}</pre>", where), files(out.sizes)])
    )


def files(sizes: Mapping[str, int]) -> str:
    """A panel on what the release holds, the largest files by name."""
    ranked = sorted(sizes.items(), key=lambda pair: -pair[1])
    if len(ranked) > LISTED + 1:
        rest = ranked[LISTED:]
        ranked = [*ranked[:LISTED], (f"{len(rest):,} smaller files", sum(size for _, size in rest))]
    table = [(safe(file), weight(size)) for file, size in (*ranked, ("total", sum(sizes.values())))]
    return panel("Files", rows(("", ""), table))


def mark(check: Check) -> str:
    """Whether it passed, for those who see and those who listen."""
    return "<b>passed</b>" if check.passed else "<em>failed</em>"


def weight(size: int) -> str:
    """Bytes in the unit one would say.

    >>> weight(900), weight(4_300_000)
    ('1 kB', '4.3 MB')
    """
    return f"{size / 1e6:,.1f} MB" if size >= 1e6 else f"{max(1, round(size / 1e3)):,} kB"
