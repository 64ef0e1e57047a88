"""Internals of Metaflow: where a task's files are, which tasks are finished, and two fixes of `spin`.

No other module uses internals. `tests/asr/test_metaflow_internals.py` names the part that a new Metaflow changed.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from metaflow import task
from metaflow.cli_components import run_cmds
from metaflow.datastore import FlowDataStore, TaskDataStoreSet
from metaflow.plugins import DATASTORES
from metaflow.system_context import system_context


@dataclass(frozen=True)
class Location:
    """A flow's folder in a datastore."""

    files: Any  # `DataStoreStorage`: files by path, local or in a bucket
    folder: str

    @classmethod
    def at(cls, flow: str, kind: str, root: str) -> Location:
        files = {store.TYPE: store for store in DATASTORES}[kind](root)
        return cls(files, files.path_join(flow, "data"))


def current_location() -> tuple[Location, Location | None]:
    """Where the running task writes; and in a spin, where the original task wrote."""
    system: Any = system_context
    flow = system.flow_datastore
    spun = getattr(system.inputs[0], "orig_datastore", None)
    origin = spun and Location.at(flow.flow_name, spun.TYPE, spun.parent_datastore.datastore_root)
    return Location.at(flow.flow_name, flow.TYPE, flow.datastore_root), origin


def count_finished(flow: str, run_id: str) -> Counter[str]:
    """The number of successful tasks of each step of a run. Works within the flow's command line only."""
    tasks = TaskDataStoreSet(FlowDataStore(flow), run_id, None, None, ["_task_ok", "refused", "crash"])
    successful = (task for task in tasks if task.get("_task_ok") and not (task.get("refused") or task.get("crash")))
    return Counter(task.step_name for task in successful if task.step_name != "_parameters")


def patch_spin() -> None:
    """Fix `spin` for joins of more than four tasks, and keep `resume` from choosing a spin as the latest run."""
    write = run_cmds.write_latest_run_id
    vars(run_cmds)["write_latest_run_id"] = lambda obj, run_id: None if obj.is_spin else write(obj, run_id)
    vars(task)["TaskDataStoreSet"] = join_inputs


def join_inputs(flow: Any, run_id: str, pathspecs: list[str], prefetch_data_artifacts: Any, **spun: Any) -> Any:
    """The inputs of a join; in a spin those of the original task, one by one."""
    if not spun["orig_flow_datastore"]:
        return TaskDataStoreSet(flow, run_id, None, pathspecs, prefetch_data_artifacts)
    split = (path.split("/") for path in pathspecs)
    return [flow.get_task_datastore(*part[:3], attempt=int(part[3]) if part[3:] else None, **spun) for part in split]
