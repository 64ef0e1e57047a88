"""Whether a release may take the place of the last one."""

from __future__ import annotations

from typing import Any

from asr.settings import Release


def faults(report: dict[str, Any], release: Release) -> list[str]:
    """What speaks against the release, a sentence each; nothing where it may go out."""
    found = []
    gap = report["served_wer"] - report["test_wer"]
    if not gap <= release.max_served_gap:
        found.append(
            f"served, its WER is {gap:.1f} points above the float model's; "
            f"[release] max_served_gap is {release.max_served_gap:g}"
        )
    baseline = report["baseline_wer"]
    if baseline is not None and not report["test_wer"] < baseline:
        found.append(f"its WER of {report['test_wer']:.1f} % is not below its base's {baseline:.1f} %")
    return found
