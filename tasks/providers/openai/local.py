"""The embedded batch service: started when it is needed, then spoken to like any other."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from configs.frozen import seconds
from configs.home import Home
from configs.providers.local import LocalProvider
from tasks.local_batch.access_token import read_token
from tasks.local_batch.launch import ensure_running
from tasks.providers.deadlines import READING, with_deadlines
from tasks.providers.openai.compatible import KEEP_SECONDS, Hooks, OpenAICompatible, ServiceQuirks

if TYPE_CHECKING:
    from openai import OpenAI


def connect(config: LocalProvider, home: Home, environ: Mapping[str, str]) -> OpenAICompatible:  # noqa: ARG001 - one shape for all
    """The service of this home and upstream; it goes on working while no run does."""
    folder_name = "echo"
    if config.upstream:
        folder_name = f"upstream-{hashlib.sha256(config.upstream.encode()).hexdigest()[:10]}"
    folder = home.folder / "local-batch" / folder_name
    # A slow model of one's own may take longer, and its requests must be there until it is done.
    keep = KEEP_SECONDS if seconds(config.completion_window) < KEEP_SECONDS else None

    def start_and_connect(hooks: Hooks) -> OpenAI:
        # It takes about as long as a service takes to start, on another core.
        threading.Thread(target=import_module, args=("openai",), name="import", daemon=True).start()
        url = ensure_running(
            folder,
            upstream=config.upstream,
            concurrency=config.concurrency,
            api_key_env=config.api_key_env,
            rows_per_second=config.rows_per_second,
        )
        return client_of(folder, url, hooks)

    return OpenAICompatible(
        account=f"local {folder}",
        limits=config.limits,
        make_client=start_and_connect,
        key_hint=f"see {folder / 'service.log'}",
        quirks=ServiceQuirks(keep_uploads_seconds=keep, keep_results_seconds=keep),
    )


def client_of(folder: Path, url: str, hooks: Hooks) -> OpenAI:
    """A client of the embedded service at `url`, with the token that lies in its folder."""
    from openai import DefaultHttpxClient, OpenAI

    # A proxy from the environment must not see loopback traffic.
    client = with_deadlines(DefaultHttpxClient(trust_env=False, event_hooks=hooks, timeout=READING))
    return OpenAI(api_key=read_token(folder) or "none", base_url=url, http_client=client)
