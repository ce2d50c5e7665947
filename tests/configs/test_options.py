"""Functions whose parameters are the fields of dataclasses."""

from __future__ import annotations

import inspect
import subprocess
import sys
from dataclasses import KW_ONLY, dataclass
from typing import Annotated, Any

import pytest

from configs.options import Option, options, parameters_from


@dataclass(frozen=True)
class Letter:
    to: Annotated[str, Option("Who gets it.")]
    _: KW_ONLY
    copies: Annotated[int, Option("How many.", minimum=1)] = 1


@dataclass(frozen=True, kw_only=True)
class Stamp:
    worth: Annotated[int, Option("What is paid.")]


@parameters_from(Stamp, Letter)
def post(stamp: Stamp, letter: Letter, *, at_night: bool = False) -> tuple[Any, ...]:
    """Post a letter."""
    return stamp, letter, at_night


def test_the_fields_are_its_parameters_the_required_ones_first_and_its_own_stay() -> None:
    signature = inspect.signature(post)
    assert str(
        signature.replace(parameters=[p.replace(annotation=p.empty) for p in signature.parameters.values()])
    ) == ("(to, *, worth, copies=1, at_night=False)")
    assert signature.parameters["at_night"].annotation is bool
    assert (post.__name__, post.__doc__) == ("post", "Post a letter.")


def test_it_is_called_with_the_fields_and_gets_what_they_make() -> None:
    assert post("me", worth=2) == (Stamp(worth=2), Letter("me"), False)
    assert post(to="me", worth=2, copies=3, at_night=True) == (Stamp(worth=2), Letter("me", copies=3), True)


@pytest.mark.parametrize("given", [{}, {"to": "me"}, {"to": "me", "worth": 1, "colour": "red"}])
def test_what_does_not_fit_the_parameters_is_a_type_error(given: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        post(**given)


def test_a_field_left_out_keeps_its_default() -> None:
    @parameters_from(Letter, without=("copies",))
    def send(letter: Letter) -> Letter:
        return letter

    assert [*inspect.signature(send).parameters] == ["to"]
    assert send("me") == Letter("me")


def test_who_reads_the_signature_may_be_told_more() -> None:
    @parameters_from(Letter, annotate=lambda parameter, option: f"{parameter.name}: {option.help}")
    def send(letter: Letter) -> None: ...

    assert [p.annotation for p in inspect.signature(send).parameters.values()] == [
        "to: Who gets it.",
        "copies: How many.",
    ]


def test_a_class_tells_its_options() -> None:
    assert options(Letter) == {"to": Option("Who gets it."), "copies": Option("How many.", minimum=1)}


def test_what_the_doors_share_loads_neither_of_their_libraries() -> None:
    code = "import sys, configs.request; print(*{'cyclopts', 'prefect'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
