"""The command `webhooks`: take what providers send when a batch has ended."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter, validators

from configs.clock import SystemClock
from configs.errors import ConfigError
from configs.home import Home
from flows.cli import terminal
from flows.cli.app import ALL_ANSWERED, app, flow_runs

if TYPE_CHECKING:
    from tasks.webhooks.receiver import Receiver


@app.command
def webhooks(
    *,
    port: Annotated[
        int, Parameter(help="Port; 0 for any free one.", validator=validators.Number(gte=0, lte=65535))
    ] = 8600,
    host: Annotated[
        str, Parameter(help="Address to listen on, for the proxy that takes HTTPS.")
    ] = "127.0.0.1",
) -> int:
    """Take providers' webhooks: the run that waits for a batch looks as soon as it has ended, and not at its next poll."""
    from configs.providers.registry import PROVIDERS
    from tasks.orchestration.blocks import load_home

    receiver = receiver_for(load_home(os.environ))
    if receiver is None:
        names = " or ".join(facts.webhooks.secret_env for facts in PROVIDERS.values() if facts.webhooks)
        raise ConfigError(
            f"{names}: not set; export the signing secret that the provider showed when the webhook was made"
        )
    from tasks.webhooks.app import PREFIX, build_app
    from tasks.webhooks.server import address_of, listen, serve

    listener = listen(host, port)
    for provider in receiver.readers:
        sys.stdout.write(f"{address_of(listener)}{PREFIX}{provider}\n")
    sys.stdout.flush()  # whoever started it may wait for these lines, through a pipe
    serve(build_app(receiver), listener)
    return ALL_ANSWERED


def receiver_for(home: Home) -> Receiver | None:
    """What takes the webhooks of the providers whose signing secrets are in the environment; None where there are none."""
    from tasks.orchestration.server_url import server_url
    from tasks.providers.registry import webhook_readers
    from tasks.webhooks.receiver import Receiver

    readers = webhook_readers(os.environ, SystemClock())
    if not readers:
        return None
    return Receiver(
        readers, home, SystemClock(), lambda: flow_runs(on_server=server_url() is not None), terminal.say
    )
