"""The optional dependencies in pyproject.toml: which are installed, and how to add a missing one."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec


@dataclass(frozen=True)
class Extra:
    """An optional dependency: its name in pyproject.toml, its package, and the module imported from it."""

    name: str
    package: str
    module: str

    @property
    def is_installed(self) -> bool:
        """Whether its package is installed; imports only the parents of the module."""
        try:
            return find_spec(self.module) is not None
        except ModuleNotFoundError:
            return False

    @property
    def install_hint(self) -> str:
        """How to install it, for the end of a message. Nightmail is on no package index, so from the checkout."""
        return f'the package {self.package}; in the checkout, pip install -e ".[{self.name}]"'


AWS = Extra("aws", "prefect-aws", "prefect_aws")
POSTGRES = Extra("postgres", "psycopg", "psycopg")
DASK = Extra("dask", "distributed", "distributed")
