"""Rows whose follow-ups asked something else than their first request: with other params, or with what was wrong before.

Known by the request files, which are there as long as the answers are, whatever has become of the ledger.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from tasks.reuse.fingerprint import ask_the_same
from tasks.runs.chunk_files import line_id, requests_name
from tasks.storage.run_folder import RunFolder


def asked_again(folder: RunFolder) -> Mapping[int, Sequence[str]]:
    """By chunk, the request files of its follow-ups; no chunk that has none."""
    found: defaultdict[int, list[str]] = defaultdict(list)
    for name in folder.matching("chunks/*/requests-*.jsonl"):
        number = int(name.split("/")[1])
        if name != requests_name(number, 1):
            found[number].append(name)
    return found


def ids_asked_otherwise(folder: RunFolder, number: int, follow_ups: Sequence[str]) -> frozenset[str]:
    """The custom_ids of a chunk of which a follow-up asked something else than the first request, whether or not it was
    answered."""
    return frozenset(custom_id for name in follow_ups for custom_id in _changed(folder, number, name))


def _changed(folder: RunFolder, number: int, follow_up: str) -> Iterator[str]:
    """Both files have the order of the rows, so that no more than a line of each is held."""
    with folder.read(requests_name(number, 1)) as first, folder.read(follow_up) as again:
        for line in again:
            custom_id = line_id(line)
            asked = next((each for each in first if line_id(each) == custom_id), None)
            if asked is None or not (asked == line or ask_the_same(asked, line)):
                yield custom_id
