"""A home folder of some version with its jobs, source and outputs, kept as an archive: see tests/upgrades/make.py.

The archive says PLACE where a path of its machine would stand; who unpacks it gets it as if the folder had always been
where it is now.
"""

from __future__ import annotations

import json
import sqlite3
import tarfile
from collections import Counter
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

PLACE = "/srv/nightmail"
MANIFEST = "manifest.json"
SOURCE = "rows.parquet"
SERVICE = Path("home/local-batch/echo")
_AS_THEY_ARE = {".parquet", ".index", ".db"}


def pack(folder: Path, archive: Path) -> None:
    """Keep a folder in which no process works. It says PLACE then, and is of no more use."""
    relocate(folder, str(folder), PLACE)
    with tarfile.open(archive, "w:xz", preset=9) as tar:
        for path in sorted(folder.rglob("*")):
            tar.add(path, path.relative_to(folder), recursive=False, filter=_of_nobody)


def unpack(archive: Path, folder: Path) -> dict[str, Any]:
    """Put the folder where it is wanted; its manifest."""
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    relocate(folder, PLACE, str(folder))
    manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text())
    return manifest


def relocate(folder: Path, before: str, after: str) -> None:
    """Let all that names the folder `before` name `after`: paths, and the fingerprint of a source, which covers its path."""
    texts = {before: after, _fingerprint(folder, before): _fingerprint(folder, after)}
    change_texts(folder, texts)


def change_texts(folder: Path, texts: dict[str, str]) -> None:
    """Put other texts for these into the ledger and into every file below the folder that holds text."""
    for path in folder.rglob("*"):
        if path.is_file() and path.suffix not in _AS_THEY_ARE:
            old = new = path.read_bytes()
            for before, after in texts.items():
                new = new.replace(before.encode(), after.encode())
            if new != old:
                path.write_bytes(new)
    with closing(sqlite3.connect(folder / "home" / "ledger.db")) as ledger, ledger:
        for table, column in _columns(ledger):
            for before, after in texts.items():
                ledger.execute(
                    f'update "{table}" set "{column}" = replace("{column}", ?, ?)'
                    f' where typeof("{column}") = \'text\' and instr("{column}", ?)',
                    (before, after, before),
                )
        ledger.commit()
        ledger.execute("pragma wal_checkpoint(truncate)")


def service_batches(folder: Path) -> dict[str, int]:
    """Batches that the embedded service of the home was ever asked for, by submission key."""
    with closing(sqlite3.connect(folder / SERVICE / "state.db")) as state:
        records = [json.loads(record) for (record,) in state.execute("select record from batches")]
    return dict(Counter(record["metadata"]["nightmail_key"] for record in records))


def _fingerprint(folder: Path, place: str) -> str:
    """Of the source, if it lay in `place`."""
    from configs.job import Source
    from tasks.stages.read.discover import discover, fingerprint

    _, fragments = discover(Source(path=str(folder / SOURCE)))
    return fingerprint(replace(each, path=each.path.replace(str(folder), place)) for each in fragments)


def _columns(ledger: sqlite3.Connection) -> list[tuple[str, str]]:
    tables = [name for (name,) in ledger.execute("select name from sqlite_master where type = 'table'")]
    return [
        (table, row[1])
        for table in tables
        if not table.startswith("sqlite_")
        for row in ledger.execute(f'pragma table_info("{table}")')
    ]


def _of_nobody(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member
