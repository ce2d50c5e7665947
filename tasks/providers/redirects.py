"""Where a service's redirects may lead: row data and the key stay at the host that the job names."""

from __future__ import annotations

import re
from typing import Final

import httpx2

from configs.errors import ConfigError
from configs.foreign_text import printable

_DOWNLOAD: Final = re.compile(r"(/content|/results|:download)$")
# What a request to a stranger says; a list of what it must not say (authorization, api-key, ...) would have gaps.
_HARMLESS: Final = frozenset(
    # The last is how Anthropic's SDK remembers that it was asked for a stream.
    {"accept", "accept-encoding", "connection", "host", "range", "user-agent", "x-stainless-raw-response"}
)
_SERVICE: Final = "nightmail_service"  # in a request's extensions, which a redirected request inherits


def check_redirect(request: httpx2.Request, service: httpx2.URL | None = None) -> None:
    """An HTTP client's request hook: ConfigError for a request that leaves `service`, by default its own first address.

    Only the download of a file may be sent to another host, as services do that keep them in a store with signed URLs.
    It goes there without the key, and never from https to http.
    """
    first: httpx2.URL = request.extensions.setdefault(_SERVICE, service or request.url)
    asked: httpx2.URL = request.extensions.setdefault("nightmail_asked", request.url)
    url = request.url
    if url.origin == first.origin or (
        url.host == first.host and first.scheme == "http" and url.scheme == "https"
    ):
        return
    is_download = request.method == "GET" and _DOWNLOAD.search(asked.path) is not None
    if is_download and (url.scheme == "https" or first.scheme == "http"):
        without_key(request)
        return
    raise ConfigError(
        f"{first.scheme}://{first.netloc.decode()} redirects to {printable(url.host)}, another host; nothing was sent there."
        " If the service has moved, set its new address in the job"
    )


def without_key(request: httpx2.Request) -> None:
    """Take the key, and whatever else is meant for the service alone, out of a request's headers."""
    for name in set(request.headers) - _HARMLESS:
        del request.headers[name]
