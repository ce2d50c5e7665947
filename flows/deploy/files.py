"""The files in `deployments/`, as they are read; without Prefect, whose import takes longer than most commands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from configs.errors import ConfigError
from configs.request import ROOT

FOLDER = ROOT / "deployments"


def read_mapping(file: Path) -> dict[str, Any]:
    """The content of prefect.yaml or automations.yaml. ConfigError names the file that is not there or wrong."""
    if not file.is_file():
        raise ConfigError(f"{file}: does not exist; run `nightmail deploy` in a checkout, or give --folder")
    try:
        tree = yaml.safe_load(file.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ConfigError(f"{file}: {' '.join(str(error).split())}; correct the YAML") from error
    if not isinstance(tree, dict):
        raise ConfigError(f"{file}: not a mapping; see deployments/ in the checkout for one that is")
    return tree


def fixed_names(folder: Path) -> list[str]:
    """The names that the deployments of prefect.yaml have, and no job may; none where there is no such file to deploy."""
    file = folder / "prefect.yaml"
    entries = (read_mapping(file).get("deployments") or []) if file.exists() else []
    return [entry["name"] for entry in entries]
