"""The page of a command that the console has started: whether it runs, and what it says."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from tasks.console.context import console_of
from tasks.console.forms import read_number
from tasks.console.processes import OnThisMachine
from tasks.console.render import page


def command_page(request: Request) -> Response:
    """One command of this console's."""
    actions, number = console_of(request).actions, read_number(request.path_params["number"])
    commands = actions.commands if isinstance(actions, OnThisMachine) else []
    if number is None or number >= len(commands):
        raise HTTPException(
            404, "no such command; the console forgets them when it ends, the page Runs has the runs"
        )
    return page(request, "command", command=commands[number])
