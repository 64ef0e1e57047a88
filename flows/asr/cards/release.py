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
    from asr.release.outlet import Out


@shown
def push(out: Out, report: Mapping[str, Any]) -> str:
    """The release, whether it may take the place of the last one, what it holds and how to hear it."""
    made, faults = out.release, sum(not check.passed for check in out.checks)
    name, revision = Path(made["path"]).name, (made["revision"] or "")[:8]
    fetch = fetching(made)
    now = "in the run's datastore" if fetch else "now <code>released/latest</code>"
    head = [
        ("Release", f"<code>{safe(name)}</code>", now if out.latest else "held back"),
        (f"Test {RATES[report['unit']]}", percent(report["test_wer"]), between(*report["test_wer_ci"])),
        ("Gate", "<em>failed</em>" if faults else "passed", f"{faults} of {len(out.checks)} checks" if faults else ""),
        ("On the Hub", f"<code>{safe(made['repo_id'])}</code>" if made["pushed"] else "no", f"<code>{revision}</code>"),
    ]
    asked = [(mark(check), safe(check.name), safe(check.told)) for check in out.checks]
    gate = panel("The gate", rows(("", "is it so?", "what was found"), asked, "words"), *verdict(report))
    hear = "" if out.latest else f"MODEL_ID=released/{name} "
    space = f"<p>{safe(made['space'])}: {safe(made['space_told'])}.</p>" if "space" in made else ""
    files = [(safe(file), weight(size)) for file, size in sorted(out.sizes.items(), key=lambda pair: -pair[1])]
    commands = "\n".join(filter(None, [fetch, f"{hear}python space/app.py"]))
    where = "<p>From the folder the run was launched in.</p>"
    panels = [
        panel("Hear it", space, f"<pre>{safe(commands)}</pre>", where),
        panel("What it holds", rows(("", ""), [*files, ("together", weight(sum(out.sizes.values())))])),
    ]
    return tiles("Release", head) + gate + stack(panels)


def mark(check: Check) -> str:
    """Whether it passed, for those who see and those who listen."""
    return "<b>yes</b>" if check.passed else "<em>no</em>"


def weight(size: int) -> str:
    """Bytes in the unit one would say.

    >>> weight(900), weight(4_300_000)
    ('1 kB', '4.3 MB')
    """
    return f"{size / 1e6:,.1f} MB" if size >= 1e6 else f"{max(1, round(size / 1e3)):,} kB"
