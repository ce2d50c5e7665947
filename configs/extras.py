"""Optional parts of the installation (pyproject.toml's `optional-dependencies`), and how to add one that is missing."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec


@dataclass(frozen=True)
class Extra:
    """An optional part by its name in pyproject.toml, the package it brings, and the module that is imported from it."""

    name: str
    package: str
    module: str

    @property
    def is_installed(self) -> bool:
        """Whether its package is there; nothing is imported but the package's parents."""
        try:
            return find_spec(self.module) is not None
        except ModuleNotFoundError:
            return False

    @property
    def install_hint(self) -> str:
        """The end of a message. Nightmail is an application on no package index: it is installed from its checkout."""
        return f'the package {self.package}; in the checkout, pip install -e ".[{self.name}]"'


AWS = Extra("aws", "prefect-aws", "prefect_aws")
POSTGRES = Extra("postgres", "psycopg", "psycopg")
