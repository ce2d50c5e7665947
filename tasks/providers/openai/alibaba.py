"""Alibaba Cloud Model Studio: OpenAI's protocol, with labels, limits and windows of its own.

https://www.alibabacloud.com/help/en/model-studio/batch-interfaces-compatible-with-openai
"""

from __future__ import annotations

from collections.abc import Mapping

from openai import DefaultHttpxClient, OpenAI

from configs.home import Home
from configs.providers import AlibabaProvider
from tasks.providers.base import ServiceLimits, Submission, key_from
from tasks.providers.openai.compatible import Manners, OpenAICompatible

# 50,000 requests and 500 MB a file, 6 MB a line (the smaller reading of MB), one thinking mode a file.
LIMITS = ServiceLimits(
    max_requests=50_000, max_bytes=500_000_000, max_line_bytes=6_000_000, uniform=("enable_thinking",)
)
REGIONS = {
    "singapore": "https://dashscope-intl.aliyuncs.com/compatible-mode/v1",
    "beijing": "https://dashscope.aliyuncs.com/compatible-mode/v1",
}
_NAME_CHARACTERS, _DESCRIPTION_CHARACTERS = 100, 200
_OURS = "nightmail "


def label(submission: Submission) -> dict[str, str]:
    """The two entries that its console shows: what it is, and the key to find it by."""
    theirs = {name: text for name, text in submission.metadata.items() if name.startswith("ds_")}
    what = " ".join(filter(None, (submission.metadata.get("job"), submission.metadata.get("run"))))
    return {
        **theirs,
        "ds_name": (what or "nightmail")[:_NAME_CHARACTERS],
        "ds_description": f"{_OURS}{submission.key}"[:_DESCRIPTION_CHARACTERS],
    }


def key_in(metadata: Mapping[str, str]) -> str | None:
    """The submission key in a batch's metadata; None when the batch is not ours."""
    said = metadata.get("ds_description", "")
    return said.removeprefix(_OURS) if said.startswith(_OURS) else None


def connect(config: AlibabaProvider, home: Home, environ: Mapping[str, str]) -> OpenAICompatible:  # noqa: ARG001 - one shape for all
    """The region's service; ConfigError when its key is not in the environment."""
    key = key_from(environ, config.api_key_env)
    host = config.base_url or REGIONS[config.region]
    return OpenAICompatible(
        account=f"alibaba {host} {config.key_name}",
        limits=LIMITS,
        connect=lambda hooks: OpenAI(
            api_key=key, base_url=host, http_client=DefaultHttpxClient(event_hooks=hooks)
        ),
        key_hint=f"check the key in {config.key_name}, and that it is for {config.base_url or config.region}",
        manners=Manners(label=label, key_in=key_in, store="the account's file store (10,000 files, 100 GB)"),
    )


def limits(config: AlibabaProvider) -> ServiceLimits:  # noqa: ARG001 - one shape for all
    """What it accepts."""
    return LIMITS
