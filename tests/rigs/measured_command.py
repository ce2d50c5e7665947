"""`nightmail …` in this process, and how much memory it held at most, in which step: written as JSON when it ends.

    python tests/rigs/measured_command.py PEAKS.json run job.yaml

The peak is what the kernel counts (VmHWM), not what is seen now and then: a thread reads it every few milliseconds and sets
it back, so that each step has its own.
"""

from __future__ import annotations

import json
import os
import re
import sys
import threading
import time
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_TASKS = str(ROOT / "tasks")
_SECONDS = 0.005
_NO_STEP = "start and end"
_LOOPS = ("enrich", "advance")
_PROCESS = Path("/proc/self")


class PeakRecorder(threading.Thread):
    """Peak memory by step of the main thread, in kB."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._main = threading.main_thread().ident
        self._ended = threading.Event()
        self.peaks: defaultdict[str, int] = defaultdict(int)

    def run(self) -> None:
        while not self._ended.wait(_SECONDS):
            self.record()

    def record(self) -> None:
        step = self._step()
        self.peaks[step] = max(self.peaks[step], peak_kilobytes(_PROCESS))
        (_PROCESS / "clear_refs").write_text("5")

    def end(self) -> None:
        self._ended.set()
        self.join()
        self.record()

    def _step(self) -> str:
        """The task file whose function the main thread is in."""
        frame = sys._current_frames().get(self._main or 0)
        step = _NO_STEP
        while frame is not None:
            path = Path(frame.f_code.co_filename)
            called = frame.f_code.co_name != "<module>"  # one that is being imported
            if called and str(path.parent) == _TASKS and path.stem not in _LOOPS:
                step = path.stem
            frame = frame.f_back
        return step


def peak_kilobytes(process: Path) -> int:
    """VmHWM of a process in /proc."""
    found = re.search(r"VmHWM:\s+(\d+)", _status(process))
    return int(found[1]) if found else 0


def _status(process: Path) -> str:
    """Nothing of a process that has ended meanwhile."""
    try:
        return (process / "status").read_text()
    except OSError:
        return ""


def _children() -> dict[int, int]:
    """Peak memory of each process that this one has started and that is still there, in kB."""
    ours = f"PPid:\t{os.getpid()}\n"
    return {
        int(process.name): peak_kilobytes(process)
        for process in Path("/proc").glob("[0-9]*")
        if ours in _status(process)
    }


def main() -> None:
    target, *words = sys.argv[1:]
    sys.path.insert(0, str(ROOT))
    from flows.cli.main import main as nightmail

    sys.argv = ["nightmail", *words]
    recorder = PeakRecorder()
    recorder.start()
    began = time.perf_counter()
    try:
        nightmail()
    finally:
        recorder.end()
        told = {"steps": recorder.peaks, "children": _children(), "seconds": time.perf_counter() - began}
        Path(target).write_text(json.dumps(told))


if __name__ == "__main__":
    main()
