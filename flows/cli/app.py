"""The command line application: its help, exit codes, and the options that commands share with Prefect's forms."""

from __future__ import annotations

import inspect
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from cyclopts import App, Parameter, validators

from configs.clock import interruptible_by
from configs.errors import ConfigError
from configs.home import Home
from configs.options import Option, parameters_from

if TYPE_CHECKING:
    from tasks.orchestration.other_runs import FlowRuns

R = TypeVar("R")

ALL_ANSWERED, ROWS_UNANSWERED, USAGE, NOT_FINISHED, INTERRUPTED = 0, 1, 2, 3, 130
_ONE_PRESS = 0.5  # seconds: interrupts closer together are one

app = App(
    name="nightmail",
    help="""Enrich a dataset through an LLM batch API: overnight, at half price, without losing a row or paying twice.

Start with the quick start, which needs no key and no network:

    nightmail run configs/jobs/quickstart.yaml

Exit codes: 0 all rows answered; 1 finished, with rows unanswered; 2 an error
in the command, job or data; 3 not finished yet (run the same command again);
130 interrupted (likewise).

State lives in NIGHTMAIL_HOME (default .nightmail); NIGHTMAIL_LEDGER_URL and
NIGHTMAIL_RUNS_URL move it to PostgreSQL and S3. Put --debug anywhere for
tracebacks.""",
    help_format="plaintext",
    version=lambda: version("nightmail"),
    version_flags=["--version"],
    default_parameter=Parameter(show_default=lambda value: value or None),  # no `[default: False]`
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)

AsJson = Annotated[bool, Parameter(name="--json", help="JSON on stdout.", negative=())]
AsCsv = Annotated[
    bool, Parameter(name="--csv", help="CSV on stdout; of `status RUN`, its chunks.", negative=())
]
AsMarkdown = Annotated[bool, Parameter(name="--markdown", help="The same as a Markdown table.", negative=())]


def options_of(
    *models: type, without: Collection[str] = ()
) -> Callable[[Callable[..., R]], Callable[..., R]]:
    """Decorate a command: its options are the fields of these dataclasses (see `parameters_from`), except `without`."""
    return parameters_from(*models, without=without, annotate=_for_cyclopts)


def _for_cyclopts(parameter: inspect.Parameter, option: Option) -> Any:
    """The parameter's type, annotated with name, help and checks for cyclopts."""
    on_by_default = parameter.default is True
    cli_parameter = Parameter(
        name=option.flags or f"--{parameter.name.replace('_', '-')}",
        help=option.help,
        negative=None if on_by_default else (),  # `--no-...` exists only for options that are on by default
        show_default=bool(parameter.default),
        validator=validators.Number(gte=option.minimum) if option.minimum is not None else (),
    )
    return Annotated[parameter.annotation, cli_parameter]


def prefect_server() -> bool:
    """Whether a Prefect server is configured; ConfigError if it is, and does not answer."""
    from tasks.orchestration.server_url import server_url

    url = server_url()
    if url is None:
        return False
    import httpx

    try:
        httpx.get(f"{url}/health", timeout=10).raise_for_status()
    except httpx.HTTPError as error:
        raise ConfigError(
            f"PREFECT_API_URL: {url} does not answer ({type(error).__name__}); start that Prefect server,"
            " or unset it (also in the Prefect profile) to run without one"
        ) from error
    return True


@contextmanager
def flow_runs(*, on_server: bool) -> Iterator[FlowRuns]:
    """The flow runs of the configured Prefect server; without one there are none."""
    from tasks.orchestration.other_runs import NoServer

    if not on_server:
        yield NoServer()
        return
    from prefect.client.orchestration import get_client

    from tasks.orchestration.server_runs import OnServer

    with get_client(sync_client=True) as client:
        yield OnServer(client)


@contextmanager
def ended_by_sigterm() -> Iterator[threading.Event]:
    """Set the event on SIGTERM, and let sleeps of this thread end in KeyboardInterrupt then: for what runs until it is told."""
    stop = threading.Event()
    before = signal.signal(signal.SIGTERM, lambda *_: stop.set())
    try:
        with interruptible_by(stop):
            yield stop
    finally:
        signal.signal(signal.SIGTERM, before)


def set_interrupts(handler: Any = signal.SIG_IGN) -> Any:
    """Ignore Ctrl-C from here on, or let `handler` have it; what had it before.

    Commands ignore it once it is decided what they end with. Only the main thread gets interrupts, and may change this.
    """
    if threading.current_thread() is threading.main_thread():
        return signal.signal(signal.SIGINT, handler)
    return None


def interrupt_at_intervals() -> Callable[[int, Any], None]:
    """A SIGINT handler that raises KeyboardInterrupt, and not again for half a second.

    A second one would be raised in the midst of what the first one has begun, before `set_interrupts` is reached: the
    command would end by a signal although its run is finished.
    """
    last = -math.inf

    def handler(_signum: int, _frame: Any) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _ONE_PRESS:
            last = now
            raise KeyboardInterrupt

    return handler


def home() -> Home:
    """The storage locations from the environment, without activating S3 credentials: enough for reading the ledger."""
    return Home.from_environment(os.environ)
