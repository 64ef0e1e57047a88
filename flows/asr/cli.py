"""The flow's command line: Metaflow's own, with errors in one line, and the command that resumes a failed run."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from metaflow import current
from metaflow.exception import METAFLOW_EXIT_DISALLOW_RETRY, MetaflowException
from metaflow.parameters import flow_context
from metaflow.util import get_latest_run_id

from asr import environment, hardware, memory, metaflow_internals, scratch, settings, terminal
from asr.errors import UserError, as_user_error
from asr.redaction import redact_error

# Options that `resume` does not take or that belong to one run only, and how many words follow each.
RUN_OPTIONS = {"--config": 2, "--config-value": 2, "--namespace": 1, "--origin-run-id": 1, "--runner-attribute-file": 1}


def main(flow: Callable[..., Any]) -> None:
    """Run Metaflow's command line for a flow."""
    memory.skip_last_collections()
    terminal.silence_libraries()
    environment.prepare()
    with flow_context(flow):
        from metaflow import cli  # the import reads the flow's options

        metaflow_internals.patch_spin()
        try:
            _check_profile(sys.argv)
            with scratch.run_folder():
                cli.main(flow(use_cli=False), handle_exceptions=False)
        except Exception as error:
            shown = as_user_error(error) or error
            if isinstance(shown, MetaflowException):
                cli.print_metaflow_exception(shown)
            else:
                redact_error(shown)
                cli.print_unknown_exception(shown)
            # Metaflow retries a trial. The same mistake would fail again here; another pod may do better.
            final = isinstance(shown, UserError) and current.get("step_name") == "train" and not hardware.in_pod()
            sys.exit(METAFLOW_EXIT_DISALLOW_RETRY if final else 1)


def _check_profile(arguments: Sequence[str]) -> None:
    for index, word in enumerate(arguments):
        if word == "--config" and list(arguments[index + 1 : index + 2]) == ["profile"] and arguments[index + 2 :]:
            settings.check_file(arguments[index + 2])


@contextmanager
def resumable(flow: str) -> Iterator[None]:
    """Print the command that resumes the run where it was interrupted or failed and some steps are done."""
    try:
        yield
    except BaseException as error:
        failed = not isinstance(error, SystemExit) or error.code
        if failed and {"run", "resume"} & set(sys.argv) and (origin := _resume_origin(flow)):
            line = terminal.format_command(sys.argv[0], *resume_arguments(sys.argv[1:], *origin))
            print(f"\nTo resume after the finished steps, with the same profile:  {line}", file=sys.stderr)
        raise


def _resume_origin(flow: str) -> tuple[str, str, str] | None:
    """The run to resume, the step to start at, and the step that the command named; None if no task is done.

    It is this run or the one that this run resumed, whichever has more finished tasks; or this run, as soon as it has
    done a task of the named step again. An empty step is the first unfinished one. Metaflow's default is the last run
    that was not resumed itself; and it counts failed trials as done, even if all failed.
    """
    if not (failed := current.get("run_id")):
        return None
    try:
        resumed = environment.option(sys.argv, "--origin-run-id") or get_latest_run_id(print, flow)
        tasks = {run: metaflow_internals.count_finished(flow, run) for run in (resumed, failed) if run}
    except Exception:  # of any cloud client
        return str(failed), "", ""
    arguments = sys.argv[sys.argv.index("resume") :] if "resume" in sys.argv else []
    named = next((word for word in arguments if word in tasks.get(resumed, ())), "")
    if named and tasks[failed][named]:
        return failed, "", named
    run_id = max(tasks, key=lambda run: tasks[run].total())
    all_failed = tasks[run_id]["search"] and not tasks[run_id]["train"]
    return (run_id, "train" if all_failed else named, named) if tasks[run_id].total() else None


def resume_arguments(arguments: Sequence[str], run_id: str, step: str = "", named: str = "") -> list[str]:
    """The arguments that resume a run at a step: those of its start, without options that `resume` rejects.

    `step` takes the place of the step that the arguments name.

    >>> resume_arguments(["--branch", "b", "--config", "profile", "my.toml", "run", "--max-workers", "2"], "17")
    ['--branch', 'b', 'resume', '--max-workers', '2', '--origin-run-id', '17']
    """
    words, remaining = list[str](), list(arguments)
    while remaining:
        name, equals, _ = (word := remaining.pop(0)).partition("=")
        if name in RUN_OPTIONS:
            del remaining[: RUN_OPTIONS[name] - len(equals)]
        else:
            words.append(word)
    if "run" in words:
        words[words.index("run")] = "resume"
    verb = words.index("resume")
    if named:
        words.pop(words.index(named, verb))
    if step:
        words.insert(verb + 1, step)
    return [*words, "--origin-run-id", run_id]
