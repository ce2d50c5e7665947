"""Nightmail's own commands as processes of this machine, which go on when the console ends."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from configs.clock import Clock
from configs.private_files import make_private_file, make_private_folder
from configs.request import RunRequest, module_search_path
from tasks.console.outcomes import Done
from tasks.ledger.records import RunRecord

_TAIL = 16 << 10  # bytes of a command's messages that are shown


@dataclass(frozen=True)
class Command:
    """A command that this console started; what it says goes to `log`."""

    words: tuple[str, ...]
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def line(self) -> str:
        """As a person would type it."""
        return shlex.join(("nightmail", *self.words))

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self.process.poll()

    @property
    def messages(self) -> str:
        """The end of what it has said."""
        with self.log.open("rb") as file:
            file.seek(max(0, self.log.stat().st_size - _TAIL))
            return file.read().decode(errors="replace")


class OnThisMachine:
    """The actions as `nightmail run`, `nightmail cancel` and `nightmail approve` do them here."""

    how = (
        "The console starts `nightmail run` and `nightmail cancel` on its own machine, as processes that go on when it"
        " ends; their keys come from its environment."
    )

    def __init__(self, folder: Path, clock: Clock, approve: Callable[[str], str]) -> None:
        self._folder = folder
        self._clock = clock
        self._approve = approve
        self.commands: list[Command] = []

    def run(self, request: RunRequest) -> Done:
        """Start `nightmail run`."""
        return self._start(shlex.split(request.command(limit=request.limit))[1:])

    def cancel(self, run: RunRecord) -> Done:
        """Start `nightmail cancel`, which takes the run over from whoever works on it."""
        return self._start(["cancel", run.id])

    def approve(self, run: RunRecord) -> Done:
        """Do what `nightmail approve` does."""
        return Done((self._approve(run.id),))

    def _start(self, words: Sequence[str]) -> Done:
        make_private_folder(self._folder)
        number = len(self.commands)
        log = self._folder / f"{self._clock.now():%Y%m%dT%H%M%S}-{os.getpid()}-{number}.log"
        make_private_file(log)
        with log.open("ab") as sink:
            process = subprocess.Popen(  # noqa: S603 - our own command, its words never through a shell
                # -P: the current folder must not shadow our modules
                [sys.executable, "-P", "-m", "flows.cli.main", *words],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                start_new_session=True,  # Ctrl-C that ends the console must not end a run
                # What it says is shown to people, on a page.
                env={
                    **os.environ,
                    "PYTHONPATH": module_search_path(),
                    "NIGHTMAIL_LOG": "text",
                },
            )
        command = Command(tuple(words), process, log)
        self.commands.append(command)
        return Done((f"started: {command.line}",), f"/commands/{number}")
