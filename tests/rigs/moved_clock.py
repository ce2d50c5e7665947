"""The wall clock of whole processes, moved by the test: servers, workers and runs alike, each with its own code."""

from __future__ import annotations

import shutil
import struct
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

_SOURCE = Path(__file__).with_suffix(".c")


class MovedClock:
    """A clock that is ahead of the machine's, for every process that is started with `environ`; it ticks by itself too."""

    def __init__(self, folder: Path, compiler: str, begins: datetime) -> None:
        self._library, self._file = folder / "moved_clock.so", folder / "ahead"
        command = [compiler, "-O2", "-shared", "-fPIC", "-o", str(self._library), str(_SOURCE)]
        subprocess.run(command, check=True)
        self._file.write_bytes(struct.pack("q", 0))
        self.ahead = 0  # seconds
        self.move_to(begins)

    @property
    def environ(self) -> dict[str, str]:
        """What a process needs to go by this clock, and hands on to those that it starts."""
        return {"LD_PRELOAD": str(self._library), "CLOCK_AHEAD_FILE": str(self._file)}

    def now(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self.ahead)

    def move_to(self, then: datetime) -> None:
        """Make it so late in every process at once; it never goes back."""
        ahead = int((then - datetime.now(UTC)).total_seconds())
        assert ahead >= self.ahead, "that is past already"
        self.ahead = ahead
        with self._file.open("r+b") as file:  # in place: processes have it mapped
            file.write(struct.pack("q", ahead))


@pytest.fixture
def moved_clock(tmp_path: Path) -> MovedClock:
    """A clock that stands at a Monday's noon, some months ahead."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler to make the library that moves a process's clock")
    noon = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0)
    return MovedClock(tmp_path, compiler, noon + timedelta(days=70 + (7 - noon.weekday()) % 7))
