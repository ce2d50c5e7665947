"""Each option is declared once, and every door has it: the command line's commands and Prefect's forms."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any

import pytest
from prefect.utilities.callables import parameter_schema

from configs.options import Option, options
from configs.request import DateRange, RunRequest
from flows.backfill import backfill
from flows.cli.main import app
from flows.enrich import enrich

_PLANS_ALONE = "it looks at no earlier run"
_WRITES_NOTHING = "the command itself says so"
_EVERY_DATE = "each date of the range is a run's date, and its key"
_EARLIER_RUN = dict.fromkeys(("redo", "retry", "snapshot"), _PLANS_ALONE)

# Command or flow, what it takes, and why it does not have an option.
DOORS: list[tuple[str, tuple[type, ...], Mapping[str, str]]] = [
    ("nightmail run", (RunRequest,), {}),
    ("nightmail plan", (RunRequest,), {**_EARLIER_RUN, "dry_run": _WRITES_NOTHING}),
    ("nightmail render", (RunRequest,), {**_EARLIER_RUN, "dry_run": "it writes its files and posts nothing"}),
    ("nightmail backfill", (RunRequest, DateRange), {"date": _EVERY_DATE, "key": _EVERY_DATE}),
    ("flow enrich", (RunRequest,), {}),
    ("flow backfill", (RunRequest, DateRange), {"date": _EVERY_DATE, "key": _EVERY_DATE}),
]
FLOWS: Mapping[str, Any] = {"enrich": enrich, "backfill": backfill}


def told_by(door: str) -> dict[str, tuple[str, Any]]:
    """What a door says of its options: (help, default) by the name of the parameter."""
    kind, name = door.split()
    if kind == "flow":
        form = parameter_schema(FLOWS[name]).properties
        return {option: (field["description"], field.get("default")) for option, field in form.items()}
    return {
        argument.field_info.name: (argument.parameter.help or "", argument.field_info.default)
        for argument in app[name].assemble_argument_collection()
    }


def declared(models: tuple[type, ...]) -> dict[str, tuple[Option, Any]]:
    """(option, default) by name, as the classes have them."""
    return {
        field.name: (options(model)[field.name], None if field.default is MISSING else field.default)
        for model in models
        for field in fields(model)
    }


@pytest.mark.parametrize(("door", "models", "absent"), DOORS, ids=[door for door, _, _ in DOORS])
def test_a_door_has_every_option_with_the_one_help_and_default(
    door: str, models: tuple[type, ...], absent: Mapping[str, str]
) -> None:
    told = told_by(door)
    wanted = declared(models)
    assert set(wanted) - set(told) == set(absent)
    for name in set(wanted) - set(absent):
        option, default = wanted[name]
        help_text, shown = told[name]
        assert help_text == option.help, name
        assert option.help.endswith(".")
        assert "\n" not in option.help
        if shown is not inspect.Parameter.empty:
            assert shown == ([] if default == () and door.startswith("flow") else default), name


def test_the_command_line_shows_its_own_names_for_them() -> None:
    names = {
        argument.field_info.name: argument.names
        for argument in app["backfill"].assemble_argument_collection()
    }
    assert names["overrides"] == ("--set", "-s")
    assert names["limit"] == ("--limit", "-n")
    assert names["max_parallel"] == ("--max-parallel",)
    assert names["only_missing"] == ("--only-missing", "--no-only-missing")
    assert names["redo"] == ("--redo",)


def test_the_form_of_a_backfill_asks_for_its_dates_first_and_has_no_tabs() -> None:
    form = parameter_schema(backfill).properties
    order = sorted(form, key=lambda name: form[name]["position"])
    assert order[:6] == ["job", "start", "end", "max_parallel", "order", "only_missing"]
    assert not [name for name in form if "anyOf" in form[name]]
