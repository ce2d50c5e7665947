"""What a provider's section may say: URLs that can be called, windows that the service takes."""

from __future__ import annotations

import pytest

from configs.errors import ConfigError
from configs.load import load_provider
from configs.prompt import Prompt
from configs.providers.registry import PROVIDERS
from flows.cli.main import main

ENDPOINT = "provider.endpoint=https://x.openai.azure.com"
URL_KEYS = {
    name: next(key for key in ("base_url", "endpoint", "upstream") if key in settings_class.model_fields)
    for name, settings_class in PROVIDERS.items()
}
UNUSABLE = [
    *(
        "api.example.com/v1",
        "localhost:8000/v1",
        "//host/v1",
        "https://",
        "https:///v1",
        "file:///etc/passwd",
    ),
    *("ftp://host/v1", "https//host/v1", "https:/host", "https://host:port/v1", "https://host:99999/v1"),
    *(
        "https://ho st/v1",
        " https://host/v1",
        "https://host/v1\n",
        "https://[::1/v1",
        "https://http://host/v1",
    ),
]


@pytest.mark.parametrize("url", UNUSABLE)
@pytest.mark.parametrize("provider", URL_KEYS)
def test_a_url_that_cannot_be_called_is_an_error_that_names_its_key(provider: str, url: str) -> None:
    key = f"provider.{URL_KEYS[provider]}"
    with pytest.raises(ConfigError, match=key):
        load_provider(provider, [f"{key}={url!r}" if url == url.strip() else f'{key}="{url!r}"'])


@pytest.mark.parametrize("url", ["https://host", "http://127.0.0.1:8000/v1/", "http://[::1]:8000/v1"])
@pytest.mark.parametrize("provider", [name for name, key in URL_KEYS.items() if key != "endpoint"])
def test_a_url_that_can_be_called_is_taken_as_it_is(provider: str, url: str) -> None:
    key = URL_KEYS[provider]
    assert getattr(load_provider(provider, [f"provider.{key}={url}"]), key) == url


def test_the_doctor_refuses_such_a_url_too(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["doctor", "--base-url", "localhost:8000/v1"])
    assert ended.value.code == 2
    assert "--base-url 'localhost:8000/v1'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("provider", "overrides", "taken"),
    [
        ("openai", ["completion_window=24h"], True),
        ("openai", ["completion_window=48h"], False),
        ("openai", ["completion_window=1d"], False),
        ("openai", ["completion_window=48h", "base_url=https://api.openai.com/v1"], False),
        ("openai", ["completion_window=7d", "base_url=https://api.groq.com/openai/v1"], True),
        ("azure", ["completion_window=24h"], True),
        ("azure", ["completion_window=48h"], False),
        ("alibaba", ["completion_window=336h"], True),
        ("alibaba", ["completion_window=15d"], False),
        ("local", ["completion_window=30d"], True),
        ("anthropic", ["completion_window=48h"], False),
        ("gemini", ["completion_window=24h"], False),
    ],
)
def test_windows_are_those_that_the_service_takes(provider: str, overrides: list[str], taken: bool) -> None:
    given = [ENDPOINT] if provider == "azure" else []
    given += [f"provider.{each}" for each in overrides]
    if taken:
        assert load_provider(provider, given).completion_window == overrides[0].partition("=")[2]
        return
    with pytest.raises(ConfigError, match=r"provider\.completion_window"):
        load_provider(provider, given)


@pytest.mark.parametrize("mode", ["none", "mark", "prime"])
@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_cache_mode_that_the_service_lacks_is_one_line_with_what_to_do(provider: str, mode: str) -> None:
    settings = load_provider(provider, [ENDPOINT] if provider == "azure" else [])
    refused = settings.unsupported(Prompt.model_validate({"model": "m", "user": "x", "cache": mode}))
    if mode == "none" or provider == "anthropic":
        assert refused is None
        return
    assert refused is not None
    assert refused.startswith(f"prompt.cache: {mode}: {settings.title} ")
    assert refused.endswith("; remove it")
    assert ("params.prompt_cache_key" in refused) is (provider in ("openai", "azure"))


def test_a_cache_that_is_gone_before_the_batch_runs_cannot_be_primed() -> None:
    settings = load_provider("anthropic", ["provider.cache_ttl=5m"])
    prompt = {"model": "m", "user": "x", "cache": "prime"}
    assert "provider.cache_ttl: 1h" in (settings.unsupported(Prompt.model_validate(prompt)) or "")
    assert load_provider("anthropic", ["provider.cache_ttl=null"]).cache_ttl == "1h"
