"""Declare options once, as the fields of a dataclass, for both the command line and Prefect's forms.

Neither cyclopts nor Prefect is imported here. Both read a function's signature, and `parameters_from` writes one.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import MISSING, dataclass, fields
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints

if TYPE_CHECKING:
    from pydantic import GetJsonSchemaHandler
    from pydantic_core import CoreSchema

R = TypeVar("R")
Annotate = Callable[[inspect.Parameter, "Option"], Any]


@dataclass(frozen=True)
class Option:
    """Help text, flags and choices of an option, in `Annotated[its type, Option(...)]`.

    Prefect's form shows `X | None` as two tabs. An option that an empty text, a zero or an empty list leaves out needs
    none, and a choice has null among its choices; only what has no such value (a date) is `shown_with_none`.
    """

    help: str
    flags: tuple[str, ...] = ()  # at the command line; `--its-name` where there are none
    # Looked up when a form is made; what it returns None for takes any value.
    choices: Callable[[], Sequence[Any] | None] | None = None
    minimum: int | None = None
    shown_with_none: bool = False

    def __get_pydantic_json_schema__(
        self, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """The JSON Schema of the form's field. It does not restrict what the flow accepts."""
        choices = self.choices() if self.choices else None
        if choices is not None:
            return {"enum": choices, "description": self.help}
        schema = handler(core_schema)
        if not self.shown_with_none:
            schema = next((one for one in schema.get("anyOf", ()) if one.get("type") != "null"), schema)
        limits = {} if self.minimum is None else {"minimum": self.minimum}
        return {**schema, **limits, "description": self.help}


def options(model: type) -> dict[str, Option]:
    """The options of a dataclass by field name."""
    hints = get_type_hints(model, include_extras=True)
    return {
        field.name: next(part for part in hints[field.name].__metadata__ if isinstance(part, Option))
        for field in fields(model)
    }


def parameters_from(
    *models: type,
    without: Collection[str] = (),
    annotate: Annotate = lambda parameter, _: parameter.annotation,
) -> Callable[[Callable[..., R]], Callable[..., R]]:
    """Decorate a function that takes instances of such dataclasses: it is then called with their fields as parameters.

    `def enrich(request: RunRequest)` is called, and seen by Prefect and cyclopts, as `enrich(job, *, date=None, ...)`.
    Fields named in `without` keep their defaults; the function's further parameters stay. `annotate` may add
    annotations to a parameter for the library that reads the signature.
    """

    def decorate(function: Callable[..., R]) -> Callable[..., R]:
        own_parameters = [*inspect.signature(function, eval_str=True).parameters.values()][len(models) :]
        groups = [[*_parameters(model, without, annotate)] for model in models]
        # Python wants parameters without a default first; so do people who fill in a form.
        parameters = sorted(
            (parameter for group in (*groups, own_parameters) for parameter in group),
            key=lambda parameter: (parameter.kind, parameter.default is not parameter.empty),
        )
        signature = inspect.Signature(parameters)

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> R:
            given = signature.bind(*args, **kwargs).arguments
            instances = [
                model(**{one.name: given.pop(one.name) for one in group if one.name in given})
                for model, group in zip(models, groups, strict=True)
            ]
            return function(*instances, **given)

        call.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        call.__signature__ = signature  # type: ignore[attr-defined]  # what inspect.signature looks at first
        return call

    return decorate


def _parameters(model: type, without: Collection[str], annotate: Annotate) -> Iterator[inspect.Parameter]:
    hints, declared_options = get_type_hints(model, include_extras=True), options(model)
    for field in fields(model):
        if field.name in without:
            continue
        parameter = inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY if field.kw_only else inspect.Parameter.POSITIONAL_OR_KEYWORD,
            default=inspect.Parameter.empty if field.default is MISSING else field.default,
            annotation=hints[field.name],
        )
        yield parameter.replace(annotation=annotate(parameter, declared_options[field.name]))
