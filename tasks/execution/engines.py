"""Which engine a job's chunk work runs on."""

from __future__ import annotations

import os
from pathlib import Path

from configs.execution import Execution
from tasks.execution.dask_cluster import DaskCluster
from tasks.execution.engine import Engine
from tasks.execution.in_process import InProcess
from tasks.execution.process_pool import ProcessPool

PAYS_FROM_ROWS = 300_000
"""Below, starting processes takes longer than they can save. On two cores they save nothing yet at 1,000,000 rows (measured: as
long as one process, whose threads keep one and a half cores busy); they are for more cores."""
_CPU_MAX = Path("/sys/fs/cgroup/cpu.max")  # of cgroups v2: microseconds of processor time, and in how many


def engine_for(execution: Execution, rows: int) -> Engine:
    """The engine for a run of so many rows. Nothing is started or connected before the first work.

    ConfigError for Dask without its package.
    """
    if execution.address is not None:
        return DaskCluster(execution.address, None if execution.processes == "auto" else execution.processes)
    if execution.processes == "auto":
        processes = usable_cores() if rows >= PAYS_FROM_ROWS else 1
    else:
        processes = execution.processes
    return ProcessPool(processes) if processes > 1 else InProcess()


def usable_cores() -> int:
    """The processors this process may use, as an affinity mask and a container's limit leave them; at least 1."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = _CPU_MAX.read_text(encoding="ascii").split()
        return max(1, min(cores, int(quota) // int(period)))
    except (OSError, ValueError):  # no such file, or the word max
        return cores
