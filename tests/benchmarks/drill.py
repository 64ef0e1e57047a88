"""Bad days and hostile inputs in one command: the number that passed, and the failures.

    python tests/benchmarks/drill.py [--days POWER,DISK...] [--kinds KIND...] [--at-once 2]
    python tests/benchmarks/drill.py --minutes 15 [--release released/latest] [--clients 30]

Each bad day (`bad_days.py`) starts with a finished run, in a mount namespace with its own disks, so it needs no
privileges and leaves no files; it needs `unshare`. The hostile inputs are those of the tests, in one process per
kind. With `--minutes`, hostile and honest clients use a Space at the same time instead.

Peak memory is that of all processes of a day, and of the largest process of a kind of inputs.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "flows"), str(ROOT / "tests")]

import machine  # noqa: E402
import psutil  # noqa: E402

CATEGORIES = ("read outside", "fetched", "code run", "tracebacks", "lost", "left over", "hangs", "unreported", "other")
NAMESPACE = (
    'mount -t tmpfs -o size=2g tmpfs "$0/work" && cp -a "$0/base/." "$0/work" && '
    'mount -t tmpfs -o size=2g tmpfs "$0/tmp" && mount -t tmpfs -o size=2g tmpfs "$0/work/released" && '
    'cp -a "$0/base/released/." "$0/work/released" && cd "$0/work" && exec "$@"'
)


def tests(file: str, *names: str) -> list[str]:
    return [f"tests/{file}.py::test_{name}" for name in names]


SPACE, CORPUS = "space/test_security", "asr/corpus/test_"
# A kind of hostile inputs: the category of its failures, and the tests whose tables hold the cases.
KINDS: dict[str, tuple[str, list[str]]] = {
    "routes": ("read outside", tests(SPACE, "unneeded_routes_are_not_found")),
    "paths": ("read outside", tests(SPACE, "no_path_of_the_server_is_read")),
    "addresses": ("fetched", tests(SPACE, "no_address_is_fetched_for_a_visitor")),
    "calls": ("tracebacks", tests(SPACE, "no_hostile_call_causes_a_traceback_or_leaks_into_the_log")),
    "bodies": ("left over", tests(
        SPACE, "a_too_large_body_is_refused_while_it_streams_in", "an_incomplete_upload_leaves_no_file")),
    "foreign pages": ("read outside", tests(
        SPACE, "a_page_of_another_site_does_not_reach_a_local_server")),
    "consent": ("other", tests(SPACE, "only_true_is_consent")),
    "bombs": ("other", tests(SPACE, "a_decompression_bomb_costs_little_memory")),
    "messages": ("tracebacks", tests(
        SPACE, "an_invalid_message_is_answered", "an_endless_websocket_message_is_cut_off")),
    "killed servers": ("left over", tests(
        SPACE, "uploads_of_a_killed_or_stopped_server_are_deleted")),
    "filling disks": ("lost", tests(
        SPACE, "a_full_disk_leaves_no_partial_clip",
        "two_servers_on_one_folder_lose_no_rows")),
    "decoder": ("hangs", [
        *tests(SPACE, "a_file_that_crashes_the_decoder_fails_alone"),
        *tests(f"{CORPUS}audio_decoder", "a_clip_that_crashes_its_decoder_is_rejected_and_the_others_accepted",
               "the_memory_of_a_decoder_is_limited")]),
    "forms of the API": ("other", tests(
        "space/test_openai_api", "unsupported_options_are_refused_by_name",
        "invalid_files_and_forms_are_refused",
        "a_too_large_request_is_refused_while_it_streams_in")),
    "odd sounds": ("other", tests(
        "bad_files/test_audio_consistency", "a_file_has_the_same_samples_at_every_entry_point")),
    "archives": ("read outside", tests(
        f"{CORPUS}archives", "an_archive_with_a_forbidden_member_is_refused_by_name",
        "the_same_name_twice_is_refused", "a_compression_bomb_is_refused",
        "an_archive_of_too_many_empty_members_is_refused", "a_member_of_a_giant_size_is_refused_at_its_header",
        "a_header_that_would_exhaust_memory_is_refused", "headers_that_take_long_to_parse_are_refused_quickly",
        "an_incomplete_archive_is_refused_in_one_line", "a_forged_archive_is_refused_or_unpacked",
        "the_collective_does_not_choose_where_its_archive_is_written")),
    "folders": ("read outside", tests(
        f"{CORPUS}bad_input", "every_row_of_a_hostile_corpus_is_accepted_or_rejected",
        "damaged_metadata_are_read_or_refused_in_one_line")),
    "metadata": ("hangs", tests(
        f"{CORPUS}folder", "metadata_that_cannot_be_read_is_refused",
        "metadata_that_is_a_link_out_of_the_folder_is_not_read",
        "millions_of_constant_rows_are_refused_by_their_number",
        "a_cell_that_every_row_repeats_is_refused_before_it_is_decoded",
        "metadata_of_gigabytes_are_refused_before_they_are_read",
        "a_transcript_of_gigabytes_rejects_its_recording")),
    "transcripts": ("tracebacks", tests(
        f"{CORPUS}transcripts", "an_unreadable_transcript_is_refused_with_its_problem_and_line",
        "random_bytes_are_read_or_refused_in_one_line", "a_damaged_file_is_read_or_refused_in_one_line")),
    "data sets": ("read outside", tests(
        f"{CORPUS}hub", "a_card_that_names_a_file_elsewhere_is_refused",
        "a_card_that_names_a_folder_elsewhere_is_refused",
        "a_link_that_leads_out_of_a_folder_of_parquet_is_not_followed", "a_broken_card_is_refused_and_runs_nothing",
        "a_card_of_gigabytes_is_not_read", "a_script_is_not_run_and_other_files_are_not_trusted",
        "columns_of_another_type_are_refused_or_their_clips_rejected",
        "what_a_file_declares_about_its_columns_is_not_trusted", "a_file_cut_short_or_of_endless_rows_is_refused")),
    "profiles": ("tracebacks", tests(
        "asr/test_settings", "a_wrong_profile_is_refused_in_one_line_that_names_the_key",
        "a_hostile_profile_is_refused_in_a_line_that_can_be_shown", "only_regular_files_are_opened")),
    "bases": ("code run", tests("asr/training/test_base_files", "a_broken_base_is_refused_in_a_line_that_names_it")),
    "releases": ("tracebacks", tests(
        "space/test_transcriber", "a_hostile_release_is_refused_in_one_printable_line",
        "an_incomplete_release_is_refused_by_file_name")),
    "records": ("tracebacks", tests("space/test_about_tab", "invalid_values_in_a_record_are_not_shown")),
    "stores": ("lost", tests(
        "asr/test_store", "a_truncated_record_is_ignored", "an_unreadable_record_is_ignored",
        "a_damaged_blob_is_named_in_one_line_and_never_used", "a_record_with_one_flipped_bit_is_ignored")),
    "cards": ("code run", tests("asr/cards/test_pages", "hostile_text_is_shown_and_not_run")),
}  # fmt: skip


class Row(NamedTuple):
    """The results of a kind."""

    kind: str
    tried: int
    failures: list[tuple[str, str]]
    peak: float  # megabytes
    seconds: float

    @property
    def passed(self) -> int:
        return self.tried - len({detail.partition(":")[0] for _, detail in self.failures})


def prepare(scratch: Path) -> None:
    """Make the finished, undisturbed run with which each day's namespace starts."""
    from bad_days import read_result
    from interrupted import start

    for name in ("work", "tmp"):
        (scratch / name).mkdir()
    work = scratch / "work"
    flow = start(work)
    if flow.process.wait():
        sys.exit(flow.output)
    flow.reader.join(timeout=10)
    (work / "undisturbed.json").write_text(json.dumps(read_result(work)))
    subprocess.run(["cp", "-a", f"{(work / 'released' / 'latest').resolve()}", str(work / "undisturbed")], check=True)
    (work / "origin").write_text(next((work / ".metaflow" / "WhisperFlow").glob("[0-9]*")).name)
    work.rename(scratch / "base")
    work.mkdir()


def run_day(number: int) -> None:
    """Run a day inside its namespace; the last line printed holds its failures."""
    from bad_days import DAYS, Sandbox

    sandbox = Sandbox(Path.cwd(), Path("origin").read_text(), number)
    began = time.monotonic()
    try:
        DAYS[number].simulate(sandbox)
    except Exception as error:
        sandbox.fail("other", f"the drill itself: {type(error).__name__}: {error}")
    if os.environ.get("DRILL_SHOW"):
        for flow in sandbox.flows:
            print(flow.output, "\n=====")
    print(json.dumps([sandbox.failures, sandbox.peak / 2**20, time.monotonic() - began]), flush=True)


def run_in_namespace(scratch: Path, number: int) -> tuple[list[tuple[str, str]], float, float]:
    from bad_days import DAYS

    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", NAMESPACE, str(scratch)]
    command += [sys.executable, str(Path(__file__)), "--day", str(number)]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        failures, peak, seconds = json.loads(process.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        failures, peak, seconds = [("other", f"the drill itself: {process.stderr[-300:]}")], 0.0, 0.0
    day = DAYS[number]
    if os.environ.get("DRILL_SHOW"):
        print(process.stdout, process.stderr)
    result = "held" if not failures else "; ".join(f"{category}: {detail}" for category, detail in failures)
    print(f"  {day.kind:14s} {day.name:42s} {seconds:5.0f} s  {result}", flush=True)
    return [(category, f"{day.name}: {detail}") for category, detail in failures], peak, seconds


def run_days(scratch: Path, kinds: Sequence[str], at_once: int) -> list[Row]:
    from bad_days import DAYS

    prepare(scratch)
    numbers = [number for number, day in enumerate(DAYS) if not kinds or any(kind in day.kind for kind in kinds)]
    with ThreadPoolExecutor(at_once) as pool:
        results = list(pool.map(lambda number: run_in_namespace(scratch, number), numbers))
    by_kind = defaultdict(list)
    for number, result in zip(numbers, results, strict=True):
        by_kind[DAYS[number].kind].append(result)
    return [
        Row(kind, len(day_results), [failure for failures, _, _ in day_results for failure in failures],
            max(peak for _, peak, _ in day_results), sum(seconds for *_, seconds in day_results))
        for kind, day_results in by_kind.items()
    ]  # fmt: skip


def run_kind(kind: str, scratch: Path) -> Row:
    """Run the tests of a kind; each case that fails is a failure."""
    category, node_ids = KINDS[kind]
    report, began, peak = scratch / f"{kind}.xml", time.monotonic(), 0
    folder = scratch / kind
    folder.mkdir()
    command = [sys.executable, "-m", "pytest", "-n", "0", "-q", "-p", "no:cacheprovider", f"--junitxml={report}"]
    command += ["--basetemp", str(scratch / f"{kind} base"), *node_ids]
    env = {**os.environ, "TMPDIR": str(folder)}
    with (scratch / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=log, stderr=log)
        pytest_process = psutil.Process(process.pid)
        while process.poll() is None:
            for child in [pytest_process, *pytest_process.children(recursive=True)]:
                try:
                    peak = max(peak, child.memory_info().rss)
                except psutil.Error:
                    continue
            time.sleep(0.2)
    failures, tried = list[tuple[str, str]](), 0
    if report.exists():
        for case in ElementTree.parse(report).iter("testcase"):
            if case.find("skipped") is None:
                tried += 1
            failures += [
                (category, f"{case.get('name')}: {element.get('message', '')[:200]}")
                for element in (*case.iter("failure"), *case.iter("error"))
            ]
    else:
        failures.append(("other", f"no report: {(scratch / 'log').read_text()[-300:]}"))
    return Row(kind, tried, failures, peak / 2**20, time.monotonic() - began)


def print_table(rows: Sequence[Row]) -> None:
    print(f"\n{'kind':18s} {'tried':>5s} {'held':>5s} {'peak MB':>8s} {'seconds':>8s}  what fell")
    for row in rows:
        failures = "; ".join(f"{category} ({detail})" for category, detail in row.failures)
        print(f"{row.kind:18s} {row.tried:5d} {row.passed:5d} {row.peak:8,.0f} {row.seconds:8.0f}  {failures[:400]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", help="only those kinds of bad days, with commas between; 'none'")
    parser.add_argument("--kinds", help="only those kinds of hostile inputs; 'none'")
    parser.add_argument("--at-once", type=int, default=2)
    parser.add_argument("--minutes", type=float, help="hostile and honest clients against a Space instead")
    parser.add_argument("--release", type=Path, default=Path("released/latest"))
    parser.add_argument("--clients", type=int, default=30)
    parser.add_argument("--day", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.day is not None:
        run_day(arguments.day)
        return
    if arguments.minutes:
        import hostile_load

        hostile_load.main(arguments.release, arguments.minutes, arguments.clients)
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    began, day_rows, input_rows = time.monotonic(), list[Row](), list[Row]()
    with tempfile.TemporaryDirectory(prefix="drill-") as scratch:
        if arguments.days != "none":
            day_rows = run_days(Path(scratch), arguments.days.split(",") if arguments.days else [], arguments.at_once)
        chosen = KINDS if not arguments.kinds else arguments.kinds.split(",")
        for kind in chosen if arguments.kinds != "none" else ():
            input_rows.append(run_kind(kind, Path(scratch)))
            print(f"  {kind}: {input_rows[-1].passed} of {input_rows[-1].tried} held", flush=True)
    print_table([*day_rows, *input_rows])
    failure_counts = Counter(category for row in (*day_rows, *input_rows) for category, _ in row.failures)
    machine.print_result({
        "bad_days": sum(row.tried for row in day_rows), "inputs": sum(row.tried for row in input_rows),
        "kinds": len(input_rows), "held": sum(row.passed for row in (*day_rows, *input_rows)),
        "seconds": round(time.monotonic() - began),
        **{category.replace(" ", "_"): failure_counts[category] for category in CATEGORIES},
    })  # fmt: skip


if __name__ == "__main__":
    main()
