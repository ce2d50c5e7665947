"""`nightmail doctor`: check this machine, try a provider, or probe any service of OpenAI's protocol."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated

from cyclopts import Parameter

from configs.clock import SystemClock
from configs.errors import ConfigError
from flows.cli import terminal
from flows.cli.app import ALL_ANSWERED, NOT_FINISHED, ROWS_UNANSWERED, AsJson, app, home
from tasks.diagnostics.facts import Fact, Grade, verdict

FIT, UNFIT, UNFINISHED = ALL_ANSWERED, ROWS_UNANSWERED, NOT_FINISHED
_CHAT = "/v1/chat/completions"


@app.command
def doctor(
    *,
    provider: Annotated[
        str | None, Parameter(name=["--provider", "-p"], help="Try this provider the way runs use it.")
    ] = None,
    base_url: Annotated[
        str | None, Parameter(help="Try any service of OpenAI's Files and Batches protocol, fact by fact.")
    ] = None,
    model: Annotated[
        str | None,
        Parameter(help="Model to ask; with --provider, nothing is posted without one unless it is free."),
    ] = None,
    endpoint: Annotated[str, Parameter(help="Endpoint of the two rows.")] = _CHAT,
    api_key_env: Annotated[
        str | None,
        Parameter(help="Environment variable with the key for --base-url; without it no key is sent."),
    ] = None,
    wait: Annotated[str, Parameter(help="How long the batch may take before it is cancelled.")] = "15m",
    overrides: Annotated[
        tuple[str, ...],
        Parameter(
            name=["--set", "-s"],
            help="A key of the provider section: --set provider.region=beijing.",
            negative=(),
        ),
    ] = (),
    as_json: AsJson = False,
) -> int:
    """Check this machine; or try a provider, or any compatible service, with a batch of two tiny rows."""
    if provider is not None and base_url is not None:
        raise ConfigError("--base-url and --provider: give one of them")
    facts: list[Fact] = []

    def report(fact: Fact) -> None:
        facts.append(fact)
        if not as_json:
            sys.stdout.write(f"{fact.grade:<5} {fact.name:<14} {' '.join(fact.detail.split())}\n")
            sys.stdout.flush()

    wait_within = _wait_within(wait)
    finished = True
    if base_url is not None:
        finished = _compatible(base_url, model, endpoint, api_key_env, report, wait_within)
    elif provider is not None:
        finished = _provider(provider, model, endpoint, overrides, report, wait_within)
    else:
        _machine(report)
    return _end(facts, finished=finished, as_json=as_json)


def _machine(report: Callable[[Fact], None]) -> None:
    from tasks.diagnostics.machine import machine_facts
    from tasks.orchestration.blocks import use_s3_credentials
    from tasks.orchestration.server_facts import server_facts

    for fact in machine_facts(home(), os.environ, use_s3_credentials):
        report(fact)
    for fact in server_facts():
        report(fact)


def _compatible(
    url: str,
    model: str | None,
    endpoint: str,
    key_env: str | None,
    report: Callable[[Fact], None],
    wait: Callable[[float], bool],
) -> bool:
    from tasks.diagnostics.openai_probe import probe_service

    key = os.environ.get(key_env) if key_env else None  # never one that was meant for somebody else
    if key_env and not key:
        raise ConfigError(f"--api-key-env {key_env}: the environment has no such variable; export it")
    _say_cost(url, model or "the first model it lists", endpoint)
    return probe_service(url, model=model, endpoint=endpoint, key=key, report=report, wait=wait)


def _provider(
    name: str,
    model: str | None,
    endpoint: str,
    overrides: tuple[str, ...],
    report: Callable[[Fact], None],
    wait: Callable[[float], bool],
) -> bool:
    from configs.load import load_provider
    from tasks.diagnostics.preflight import Preflight
    from tasks.orchestration.blocks import connect

    config = load_provider(name, overrides)
    if model is None and config.trial is not None:
        model, endpoint = config.trial.model, config.trial.endpoint
        sys.stderr.write(
            f"This posts one batch of two rows to {name}; they are free ({model} at {endpoint}).\n"
        )
    elif model is not None:
        _say_cost(name, model, endpoint)
    else:
        sys.stderr.write(f"Nothing is posted to {name}; with --model MODEL a batch of two rows is.\n")
    trial = Preflight(config, lambda: connect(config, home(), os.environ), SystemClock(), report, wait)
    trial.run(model, endpoint)
    return not trial.unfinished


def _say_cost(where: str, model: str, endpoint: str) -> None:
    sys.stderr.write(
        f"This uploads one file and posts one batch of two tiny rows to {where} ({model} at {endpoint});\n"
        "it costs those two rows at most, and deletes the files at the end.\n"
    )


def _wait_within(wait: str) -> Callable[[float], bool]:
    """A function that passes time until `wait` is over in all, and says whether there is any left."""
    from configs.frozen import seconds

    try:
        until = time.monotonic() + seconds(wait)
    except (ValueError, KeyError, IndexError) as error:
        raise ConfigError(f"--wait {wait!r}: write a duration such as 90s, 15m or 2h") from error

    def passed(amount: float) -> bool:
        left = until - time.monotonic()
        if left <= 0:
            return False
        time.sleep(min(amount, left))
        return True

    return passed


def _end(facts: list[Fact], *, finished: bool, as_json: bool) -> int:
    """Show the verdict; the exit code."""
    summary = verdict(facts)
    if as_json:
        terminal.show_json(
            {"verdict": summary, "finished": finished, "facts": [asdict(fact) for fact in facts]}
        )
    else:
        sys.stdout.write(
            f"\n{summary}\n" + ("" if finished else "not finished: the batch took longer than --wait\n")
        )
    if any(fact.grade is Grade.BAD for fact in facts):
        return UNFIT
    return FIT if finished else UNFINISHED
