"""Alibaba Cloud Model Studio: OpenAI's protocol, with labels instead of metadata.

https://www.alibabacloud.com/help/en/model-studio/batch-interfaces-compatible-with-openai
"""

from __future__ import annotations

from collections.abc import Mapping

from configs.home import Home
from configs.providers.alibaba import AlibabaProvider
from tasks.providers.base import Submission, key_before
from tasks.providers.openai.compatible import OpenAICompatible, ServiceQuirks, connect_with_key

_NAME_CHARACTERS, _DESCRIPTION_CHARACTERS = 100, 200
_KEY_PREFIX = "nightmail "


def connect(config: AlibabaProvider, home: Home, environ: Mapping[str, str]) -> OpenAICompatible:  # noqa: ARG001 - one shape for all
    """The region's service; ConfigError when its key is not in the environment."""
    store = "the account's file store (10,000 files, 100 GB)"
    return connect_with_key(config, environ, ServiceQuirks(label=_label, key_in=_key_in, store=store))


def _label(submission: Submission) -> dict[str, str]:
    """The two entries that its console shows: what it is, and the key to find it by, then the job's description."""
    own_entries = {name: text for name, text in submission.metadata.items() if name.startswith("ds_")}
    described = submission.key_with(submission.metadata.get("description", ""))
    return {
        **own_entries,
        "ds_name": (submission.title or "nightmail")[:_NAME_CHARACTERS],
        "ds_description": f"{_KEY_PREFIX}{described}"[:_DESCRIPTION_CHARACTERS],
    }


def _key_in(metadata: Mapping[str, str]) -> str | None:
    """The submission key in a batch's metadata; None when the batch is not ours."""
    description = metadata.get("ds_description", "")
    return key_before(description.removeprefix(_KEY_PREFIX)) if description.startswith(_KEY_PREFIX) else None
