"""Optional parts of the installation: as pyproject.toml has them, and how a missing one is told."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from configs.extras import AWS, DASK, POSTGRES, Extra
from configs.providers.registry import PROVIDERS

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
EXTRAS = [AWS, DASK, POSTGRES, *(kind.extra for kind in PROVIDERS.values() if kind.extra)]


def test_every_extra_of_the_project_is_known() -> None:
    assert {extra.name for extra in EXTRAS} == set(PROJECT["optional-dependencies"])


@pytest.mark.parametrize("extra", EXTRAS, ids=lambda extra: extra.name)
def test_an_extra_brings_its_package(extra: Extra) -> None:
    (requirement,) = PROJECT["optional-dependencies"][extra.name]
    assert re.split(r"[\[>=<]", requirement)[0] == extra.package
    assert (
        extra.install_hint
        == f'the package {extra.package}; in the checkout, pip install -e ".[{extra.name}]"'
    )


@pytest.mark.parametrize(
    ("module", "installed"),
    [("json", True), ("nosuch", False), ("nosuch.inner", False), ("json.nosuch", False)],
)
def test_whether_it_is_installed(module: str, installed: bool) -> None:
    assert Extra("x", "x", module).is_installed is installed
