"""What only Metaflow itself is meant to touch: where a task's files are, and two faults of `spin`.

No other module leans on it. `tests/asr/test_datastore.py` names the part that a new Metaflow broke.
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
class Place:
    """A flow's folder in a datastore."""

    files: Any  # `DataStoreStorage`: files by their paths, here or in a bucket
    folder: str

    @classmethod
    def at(cls, flow: str, kind: str, root: str) -> Place:
        files = {one.TYPE: one for one in DATASTORES}[kind](root)
        return cls(files, files.path_join(flow, "data"))


def here() -> tuple[Place, Place | None]:
    """Where the running task writes; and where the task wrote that it spins, if it does."""
    system: Any = system_context
    flow = system.flow_datastore
    spun = getattr(system.inputs[0], "orig_datastore", None)
    origin = spun and Place.at(flow.flow_name, spun.TYPE, spun.parent_datastore.datastore_root)
    return Place.at(flow.flow_name, flow.TYPE, flow.datastore_root), origin


def finished(flow: str, run_id: str) -> Counter[str]:
    """How many tasks of a run's steps need not be done again, to a process of the flow's own command line."""
    tasks = TaskDataStoreSet(FlowDataStore(flow), run_id, None, None, ["_task_ok", "refused", "crash"])
    good = (one for one in tasks if one.get("_task_ok") and not (one.get("refused") or one.get("crash")))
    return Counter(one.step_name for one in good if one.step_name != "_parameters")


def mend() -> None:
    """Let joins of more than four tasks be spun, which look where a spin writes; and no spin be what `resume` takes."""
    note = run_cmds.write_latest_run_id
    vars(run_cmds)["write_latest_run_id"] = lambda obj, run_id: None if obj.is_spin else note(obj, run_id)
    vars(task)["TaskDataStoreSet"] = inputs


def inputs(flow: Any, run_id: str, pathspecs: list[str], prefetch_data_artifacts: Any, **spun: Any) -> Any:
    """A join's inputs. In a spin those of the task that is spun, one by one."""
    if not spun["orig_flow_datastore"]:
        return TaskDataStoreSet(flow, run_id, None, pathspecs, prefetch_data_artifacts)
    parts = (path.split("/") for path in pathspecs)
    return [flow.get_task_datastore(*part[:3], attempt=int(part[3]) if part[3:] else None, **spun) for part in parts]
