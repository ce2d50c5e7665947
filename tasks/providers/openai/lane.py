"""Real-time calls as a batch service: the embedded service, whose upstream is the provider's own URL.

What answers a run after its deadline has uploads, batches and result files like any other, and its journal keeps every answer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

from configs.home import Home
from configs.providers.base import HostedProviderSettings
from configs.providers.openai import OPENAI_LIMITS
from tasks.local_batch.access_token import read_token
from tasks.local_batch.launch import ensure_running
from tasks.providers.base import key_from
from tasks.providers.openai.compatible import KEEP_SECONDS, Hooks, OpenAICompatible, ServiceQuirks
from tasks.providers.openai.local import client_of

if TYPE_CHECKING:
    from openai import OpenAI


def connect(
    config: HostedProviderSettings, home: Home, environ: Mapping[str, str], concurrency: int
) -> OpenAICompatible:
    """The service of this home and provider account, started where it does not run; its process gets the provider's key by
    its environment. ConfigError when the key is not in `environ`."""
    folder = home.folder / "local-batch" / f"lane-{_short(config.account)}"
    key = key_from(environ, config.api_key_env)

    def start() -> str:
        return ensure_running(
            folder,
            upstream=config.address,
            concurrency=concurrency,
            api_key_env=config.api_key_env,
            api_key=key,
            asks_once=True,
        )

    def start_and_connect(hooks: Hooks) -> OpenAI:
        return client_of(folder, start(), hooks)

    start()  # its token is there from now on, which tells it from another machine's
    return OpenAICompatible(
        account=f"{config.name} in real time {_short(read_token(folder))}",
        limits=OPENAI_LIMITS,
        make_client=start_and_connect,
        key_hint=f"see {folder / 'service.log'}",
        quirks=ServiceQuirks(keep_uploads_seconds=KEEP_SECONDS, keep_results_seconds=KEEP_SECONDS),
    )


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:10]
