"""Trials: runs of a job's first rows (`--limit`). Their keys and outputs are their own, so that none meets a real run.

The prompt is rendered as in the real run: only the run's key in the ledger says that it is a trial.
"""

from __future__ import annotations

from configs.errors import ConfigError

_MARK = ".trial"
_LONGEST_KEY = 63  # what the ledger takes
_FOLDER = "_trial"  # readers of a dataset skip names that begin with _: one that reads the folder above sees no trial
ROWS = 20
"""Rows of the trial that a plan proposes."""


def trial_key(key: str) -> str:
    """Key of the trial of a run with this key: `2026-11-21.trial`. ConfigError for one that leaves no room for the mark."""
    if len(key) > _LONGEST_KEY - len(_MARK):
        raise ConfigError(
            f"--key {key}: the key of a trial has at most {_LONGEST_KEY - len(_MARK)} characters; give a shorter one"
        )
    return key + _MARK


def is_trial(key: str) -> bool:
    """Whether the run with this key is a trial."""
    return key.endswith(_MARK)


def key_without_mark(key: str) -> str:
    """The key of the real run that a trial is of; any other key as it is."""
    return key.removesuffix(_MARK)


def trial_output(path: str, key: str) -> str:
    """Where the trial of the run with this key publishes: beside `out/NAME`, at `out/_trial/NAME/KEY`.

    One file stays one: `out/_trial/NAME/KEY.parquet`. ConfigError when there is no folder that both can be in.
    """
    folder, slash, name = path.rstrip("/").rpartition("/")
    if not slash or not name or folder.endswith(":/"):
        raise ConfigError(
            f"output.path: {path} has nothing beside it where a trial could go;"
            " give it a folder of its own, or --set output.path=... for the trial"
        )
    stem = name.removesuffix(".parquet")
    return f"{folder}/{_FOLDER}/{stem}/{key}{name[len(stem) :]}"
