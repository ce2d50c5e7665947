"""The body of a new batch: the posted lines as one JSON array."""

from __future__ import annotations

HEAD, TAIL = b'{"requests":[', b"]}"  # around the lines
