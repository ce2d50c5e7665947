"""The embedded batch service: started when it is needed, then spoken to like any other."""

from __future__ import annotations

import hashlib

from openai import DefaultHttpxClient, OpenAI

from configs.home import Home
from configs.job import LocalProvider, seconds
from tasks.local_batch.launch import ensure_running
from tasks.providers.openai_compatible import KEEP_SECONDS, OPENAI_LIMITS, Hooks, OpenAICompatible


def connect(config: LocalProvider, home: Home) -> OpenAICompatible:
    """The service of this home and upstream; it goes on working while no run does."""
    name = "echo"
    if config.upstream:
        name = f"upstream-{hashlib.sha256(config.upstream.encode()).hexdigest()[:10]}"
    folder = home.folder / "local-batch" / name

    def start(hooks: Hooks) -> OpenAI:
        url = ensure_running(
            folder,
            upstream=config.upstream,
            concurrency=config.concurrency,
            api_key_env=config.api_key_env,
            rows_per_second=config.rows_per_second,
        )
        # A proxy from the environment must not see loopback traffic.
        client = DefaultHttpxClient(trust_env=False, event_hooks=hooks)
        return OpenAI(api_key="local", base_url=url, http_client=client)

    return OpenAICompatible(
        account=f"local {folder}",
        limits=OPENAI_LIMITS,
        connect=start,
        key_hint=f"see {folder / 'service.log'}",
        # A slow model of one's own may take longer, and its requests must be there until it is done.
        keep_seconds=KEEP_SECONDS if seconds(config.completion_window) < KEEP_SECONDS else None,
    )
