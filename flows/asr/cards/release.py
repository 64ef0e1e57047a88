"""Where the release went: the card of `push`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from asr.cards.page import panel, rows, safe, shown, stack, tiles
from asr.cards.scoring import percent, verdict
from asr.cards.training import between


@shown
def push(made: Mapping[str, Any], report: Mapping[str, Any], faults: Sequence[str], sizes: Mapping[str, int]) -> str:
    """The release, whether it may take the place of the last one, what it holds and how to hear it.

    `sizes` are its files' bytes by name.
    """
    name = Path(made["path"]).name
    passed = "passed" if not faults else f"<em>{len(faults)} against it</em>"
    head = [
        ("Release", f"<code>{safe(name)}</code>", "now <code>released/latest</code>" if not faults else "held back"),
        ("Test WER", percent(report["test_wer"]), between(*report["test_wer_ci"])),
        ("Gate", passed, ""),
        ("On the Hub", safe(made["repo_id"]) if made["pushed"] else "no", safe(made["revision"] or "")),
    ]
    hear = "" if not faults else f"MODEL_ID=released/{name} "
    against = [f"<li>{safe(fault)}</li>" for fault in faults] or ["<li>Nothing speaks against it.</li>"]
    files = [(safe(file), weight(size)) for file, size in sorted(sizes.items(), key=lambda pair: -pair[1])]
    panels = [
        panel("The gate", "<ul>", *against, "</ul>", *verdict(report)),
        panel(
            "Hear it", f"<pre>{safe(hear)}python space/app.py</pre>", "<p>From the folder the run was launched in.</p>"
        ),
        panel("What it holds", rows(("", ""), [*files, ("together", weight(sum(sizes.values())))])),
    ]
    return tiles("Release", head) + stack(panels)


def weight(size: int) -> str:
    """Bytes in the unit one would say.

    >>> weight(900), weight(4_300_000)
    ('1 kB', '4.3 MB')
    """
    return f"{size / 1e6:,.1f} MB" if size >= 1e6 else f"{max(1, round(size / 1e3)):,} kB"
