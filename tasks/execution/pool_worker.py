"""What runs in a process of the pool: one work after the other, until whoever began it closes the connection or dies."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
import traceback
from multiprocessing.connection import Connection
from typing import Any

Reply = tuple[Any, Exception | None, str]
"""The result, or what was raised and its traceback."""


def serve(connection: Connection) -> None:
    """Do what comes through the connection."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all; whoever began this decides
    threading.Thread(target=_die_with_parent, daemon=True).start()
    while True:
        try:
            function, work = connection.recv()
        except EOFError:
            return
        try:
            reply: Reply = (function(work), None, "")
        except Exception as error:  # noqa: BLE001 - whatever it is, it is raised where the work was asked for
            reply = (None, _as_sent(error), traceback.format_exc())
        connection.send(reply)


def _die_with_parent() -> None:
    """SIGKILL of the parent reaches nobody else, and a work takes minutes."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGKILL)  # without waiting for the work under way


def _as_sent(error: Exception) -> Exception:
    """The error; a RuntimeError with its text if it cannot be pickled."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - what has just been written
    except Exception:  # noqa: BLE001 - its own methods may raise whatever they like
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
