"""The command `doctor`: check this machine, a provider, or any service with OpenAI's Files and Batches protocol."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from configs.clock import SystemClock
from configs.errors import ConfigError
from flows.cli import terminal
from flows.cli.app import ALL_ANSWERED, NOT_FINISHED, ROWS_UNANSWERED, AsJson, app, home
from tasks.diagnostics.facts import Fact, Grade, verdict

if TYPE_CHECKING:
    from tasks.diagnostics.conformance import Conformance

FIT, UNFIT, UNFINISHED = ALL_ANSWERED, ROWS_UNANSWERED, NOT_FINISHED
_CHAT_ENDPOINT = "/v1/chat/completions"


@app.command
def doctor(
    *,
    provider: Annotated[
        str | None, Parameter(name=["--provider", "-p"], help="Check this provider the way runs use it.")
    ] = None,
    base_url: Annotated[
        str | None,
        Parameter(help="Check any service with OpenAI's Files and Batches protocol, feature by feature."),
    ] = None,
    model: Annotated[
        str | None,
        Parameter(help="Model to use; with --provider, nothing is posted without one unless it is free."),
    ] = None,
    endpoint: Annotated[str, Parameter(help="Endpoint of the two rows.")] = _CHAT_ENDPOINT,
    api_key_env: Annotated[
        str | None,
        Parameter(help="Environment variable with the key for --base-url; without it no key is sent."),
    ] = None,
    deep: Annotated[
        bool,
        Parameter(
            help="With --base-url: provoke faults too, and end with a table of what the service honours.",
            negative=(),
        ),
    ] = False,
    wait: Annotated[
        str, Parameter(help="How long the batches may take in all before they are cancelled.")
    ] = "15m",
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
    """Check this machine; or check a provider, or any compatible service, with a batch of two tiny rows."""
    if provider is not None and base_url is not None:
        raise ConfigError("--base-url and --provider: give one of them")
    if deep and base_url is None:
        raise ConfigError("--deep: checks a service by its address; give --base-url")
    if base_url is not None:
        _refuse_unusable(base_url)
    facts: list[Fact] = []

    def report(fact: Fact) -> None:
        facts.append(fact)
        if not as_json:
            sys.stdout.write(f"{fact.grade:<5} {fact.name:<16} {' '.join(fact.detail.split())}\n")
            sys.stdout.flush()

    wait_for = _limited_wait(wait)
    finished = True
    if base_url is not None:
        finished = _probe_service(base_url, model, endpoint, api_key_env, report, wait_for, deep=deep)
    elif provider is not None:
        finished = _check_provider(provider, model, endpoint, overrides, report, wait_for)
    else:
        _check_machine(report)
    summary = verdict(facts, of_service=(base_url or provider) is not None)
    table = _conformance(facts) if deep else None
    return _show_verdict(facts, summary, table, finished=finished, as_json=as_json)


def _refuse_unusable(url: str) -> None:
    from configs.providers.base import usable_url

    try:
        usable_url(url)
    except ValueError as error:
        raise ConfigError(f"--base-url {url!r}: {error}") from error


def _check_machine(report: Callable[[Fact], None]) -> None:
    from tasks.diagnostics.machine import machine_facts
    from tasks.orchestration.blocks import use_s3_credentials
    from tasks.orchestration.server_facts import server_facts

    for fact in machine_facts(home(), os.environ, use_s3_credentials):
        report(fact)
    for fact in server_facts():
        report(fact)


def _probe_service(
    url: str,
    model: str | None,
    endpoint: str,
    key_variable: str | None,
    report: Callable[[Fact], None],
    wait: Callable[[float], bool],
    *,
    deep: bool,
) -> bool:
    from configs.providers.base import check_variable_name
    from tasks.diagnostics.openai_probe import probe_service

    # Never OPENAI_API_KEY by default: the service is somebody else's.
    try:
        check_variable_name(key_variable or "NONE")
    except ValueError as error:
        raise ConfigError(f"--api-key-env: {error}") from error
    key = os.environ.get(key_variable) if key_variable else None
    if key_variable and not key:
        raise ConfigError(f"--api-key-env {key_variable}: the environment has no such variable; export it")
    _print_cost_notice(url, model or "the first model it lists", endpoint)
    if deep:
        _print_deep_notice(model)
    return probe_service(url, model=model, endpoint=endpoint, key=key, report=report, wait=wait, deep=deep)


def _check_provider(
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
        terminal.say(f"This posts one batch of two rows to {name}; they are free ({model} at {endpoint}).")
    elif model is not None:
        _print_cost_notice(name, model, endpoint)
    else:
        terminal.say(f"Nothing is posted to {name}; with --model MODEL a batch of two rows is.")
    trial = Preflight(config, lambda: connect(config, home(), os.environ), SystemClock(), report, wait)
    trial.run(model, endpoint)
    return not trial.unfinished


def _print_cost_notice(where: str, model: str, endpoint: str) -> None:
    terminal.say(
        f"This uploads one file and posts one batch of two tiny rows to {where} ({model} at {endpoint});\n"
        "it costs those two rows at most, and deletes the files at the end."
    )


def _print_deep_notice(model: str | None) -> None:
    from configs.load import load_prices
    from tasks.diagnostics.fault_probe import BATCHES, FILES, ROWS
    from tasks.stages.cost.price import parse_overrides, stated_price

    price = stated_price(parse_overrides(load_prices()), model, "openai") if model else None
    figures = (
        f"${price.input:g} and ${price.output:g} a million tokens, in and out ({price.source})"
        if price
        else "unknown: configs/prices.yaml has none for this model"
    )
    terminal.say(
        f"With --deep it uploads up to {FILES} files more, posts up to {BATCHES} batches more of {ROWS} tiny rows in all,"
        " cancels two of them, and breaks\n"
        f"one connection and one line on purpose. The price of a row is {figures}."
    )


def _conformance(facts: list[Fact]) -> list[Conformance]:
    from tasks.diagnostics.conformance import conformance

    return conformance(facts)


def _limited_wait(wait: str) -> Callable[[float], bool]:
    """A function that sleeps for an interval, and returns False once `wait` is over in total."""
    from configs.frozen import seconds

    try:
        deadline = time.monotonic() + seconds(wait)
    except (ValueError, KeyError, IndexError) as error:
        raise ConfigError(f"--wait {wait!r}: write a duration such as 90s, 15m or 2h") from error

    def wait_for(interval: float) -> bool:
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            return False
        time.sleep(min(interval, remaining))
        return True

    return wait_for


def _show_verdict(
    facts: list[Fact], summary: str, table: list[Conformance] | None, *, finished: bool, as_json: bool
) -> int:
    """Print the table, if there is one, and the verdict; returns the exit code."""
    if as_json:
        conformance = {} if table is None else {"conformance": [asdict(line) for line in table]}
        terminal.show_json(
            {
                "verdict": summary,
                "finished": finished,
                "facts": [asdict(fact) for fact in facts],
                **conformance,
            }
        )
    else:
        if table is not None:
            sys.stdout.write("\n")
            terminal.show_table(
                ("honoured", "check", "the service", "if not, Nightmail"),
                [(line.honoured, line.check, line.feature, line.nightmail) for line in table],
                wrap="if not, Nightmail",
            )
        sys.stdout.write(
            f"\n{summary}\n" + ("" if finished else "not finished: the batches took longer than --wait\n")
        )
    if any(fact.grade is Grade.BAD for fact in facts):
        return UNFIT
    return FIT if finished else UNFINISHED
