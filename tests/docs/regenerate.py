"""`python tests/docs/regenerate.py`: bring the tables in README.md, configs/REFERENCE.md and configs/README.md up to the code.

With `--check` nothing is written, and the exit code is 1 when a page is behind.
"""

from __future__ import annotations

import sys
from pathlib import Path


def main(*, check: bool) -> int:
    # The project's packages, the neighbour file and the contract's registry, wherever this is started.
    here = Path(__file__).resolve().parent
    sys.path[:0] = [str(here.parents[1]), str(here), str(here.parent)]
    from references import PAGES, ROOT, current

    behind = 0
    for page in PAGES:
        path = ROOT / page
        text = path.read_text(encoding="utf-8")
        new = current(page, text, measured=not check)
        if new == text:
            continue
        behind += 1
        if not check:
            path.write_text(new, encoding="utf-8")
        sys.stdout.write(
            f"{page}: {'behind the code; run python tests/docs/regenerate.py' if check else 'rewritten'}\n"
        )
    return int(check and behind > 0)


if __name__ == "__main__":
    sys.exit(main(check="--check" in sys.argv[1:]))
