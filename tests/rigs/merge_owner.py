"""A program that runs a job and is killed while one of its processes merges the first chunk."""

from __future__ import annotations

import sys

from flows.enrich import enrich
from rigs.works import merge_but_kill_owner_once
from tasks import merge

if __name__ == "__main__":
    vars(merge)["merge_files"] = merge_but_kill_owner_once
    enrich.fn(sys.argv[1], key="k")
