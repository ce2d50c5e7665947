"""The console as an ASGI application: which address is which page."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from configs.errors import ConfigError, NightmailError
from configs.foreign_text import fit_to_show
from tasks.console import batches, budgets, commands, jobs, run_actions, runs, usage
from tasks.console.context import Console, console_of
from tasks.console.guard import Guard, is_token
from tasks.console.outcomes import Outcome
from tasks.console.render import page
from tasks.stages.report.page.render import stylesheet
from tasks.stages.row_status import RowStatus
from tasks.webhooks import app as webhooks

_STATIC = Path(__file__).parent / "static"
_FILES = {"console.css": "text/css", "console.js": "text/javascript", "icon.svg": "image/svg+xml"}
_MAX_FIELDS = 20
_NO_SUCH = {  # what the router says of itself
    "Not Found": "there is no such page; the links above lead to those there are",
    "Method Not Allowed": "this page takes no form; open it by a link",
}


def build_app(console: Console) -> ASGIApp:
    """The application of that console, with its guard around all of it: errors that nobody expected carry its headers, too."""
    post = ["POST"]
    app = Starlette(
        routes=[
            Route("/", runs.home),
            Route("/runs", runs.runs_page),
            Route("/runs/{run}", runs.run_page),
            Route("/runs/{run}/rows", runs.rows_page),
            Route("/runs/{run}/{action}", run_actions.confirm_page, methods=["GET"]),
            Route("/runs/{run}/{action}", _confirmed(run_actions.act), methods=post),
            Route("/batches", batches.batches_page),
            Route("/batches/{run}/{chunk}/{attempt}/{file}", batches.download),
            Route("/statistics", usage.statistics_page),
            Route("/metrics", usage.metrics),
            Route("/jobs", jobs.jobs_page),
            Route("/jobs/{file}", jobs.job_page, methods=["GET"]),
            Route("/jobs/{file}", _confirmed(jobs.start), methods=post),
            Route("/budgets", budgets.budgets_page),
            Route("/commands/{number}", commands.command_page),
            Route("/done/{form_id}", _done_page),
            Route("/static/report.css", _report_css),
            Route("/static/{file}", _static_file),
        ],
        exception_handlers={
            NightmailError: _show_error,
            HTTPException: _show_http_error,
            Exception: _show_unexpected,
        },
    )
    app.state.console = console
    guarded = Guard(app, allow_actions=console.actions is not None)
    return guarded if console.webhooks is None else _beside(webhooks.build_app(console.webhooks), guarded)


def _beside(signed: ASGIApp, guarded: ASGIApp) -> ASGIApp:
    """Webhooks come from elsewhere, through a proxy, and are believed by their signature: the guard would refuse them."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        is_webhook = scope["type"] == "http" and scope["path"].startswith(webhooks.PREFIX)
        await (signed if is_webhook else guarded)(scope, receive, send)

    return app


def _confirmed(action: Callable[[Request, FormData], Outcome]) -> Callable[[Request], Awaitable[Response]]:
    """An endpoint that acts on a form of this console's own pages: no action can be reached without its token.

    What was done has an address of its own, so that loading it again, or the button pressed twice, does nothing more.
    """

    async def endpoint(request: Request) -> Response:
        async with request.form(max_files=0, max_fields=_MAX_FIELDS) as form:
            console, form_id = console_of(request), form.get("form_id")
            if not is_token(form.get("token"), console.token) or not isinstance(form_id, str):
                raise HTTPException(
                    403, "the form is not of this console, or from before its last start; open the page again"
                )
            outcome = await run_in_threadpool(
                console.outcomes.act_once, form_id, lambda: action(request, form)
            )
        follow = outcome.done.follow or ""
        return RedirectResponse(follow if follow.startswith("/") else f"/done/{quote(form_id, safe='')}", 303)

    return endpoint


def _done_page(request: Request) -> Response:
    outcome = console_of(request).outcomes.find(request.path_params["form_id"])
    if outcome is None:
        raise HTTPException(
            404, "the console forgets what it did when it ends; the page Runs shows how the runs stand"
        )
    return page(request, "done", outcome=outcome)


def _static_file(request: Request) -> Response:
    name = request.path_params["file"]
    if name not in _FILES:
        raise HTTPException(404, "there is no such file")
    return FileResponse(_STATIC / name, media_type=_FILES[name])


def _report_css(_request: Request) -> Response:
    """The run report's stylesheet; the statuses' colours also for what is drawn."""
    drawn = "".join(f"svg .s-{status} {{ fill: var(--{status}); }}\n" for status in RowStatus)
    return Response(stylesheet() + drawn, media_type="text/css")


def _show_error(request: Request, error: Exception) -> Response:
    """What is asked for is wrong, or not there: 404. The ledger or a run folder is away: 503."""
    return page(request, "error", status=404 if isinstance(error, ConfigError) else 503, message=str(error))


def _show_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    message = _NO_SUCH.get(error.detail, error.detail)
    return page(request, "error", status=error.status_code, message=message)


def _show_unexpected(request: Request, error: Exception) -> Response:
    """Starlette raises the error again when this is sent, so that its traceback is on stderr."""
    message = fit_to_show(" ".join(str(error).split()))[:300]
    return page(
        request,
        "error",
        status=500,
        message=f"unexpected {type(error).__name__}: {message}. Nothing is lost.",
    )
