"""`python tests/docs/regenerate.py`: bring the references in README.md and configs/README.md up to the code."""

from __future__ import annotations

import sys
from pathlib import Path


def main() -> None:
    sys.path.insert(0, str(Path(__file__).parent))
    from references import PAGES, ROOT, current

    for page in PAGES:
        path = ROOT / page
        text = path.read_text(encoding="utf-8")
        new = current(page, text)
        path.write_text(new, encoding="utf-8")
        sys.stdout.write(f"{page}: {'as it was' if new == text else 'rewritten'}\n")


if __name__ == "__main__":
    main()
