"""Every provider has all its parts: what the product derives from its registry entry, and the contract it is put through."""

from __future__ import annotations

import re
import sys
from importlib import import_module
from typing import Any, get_args

import model_prices
import pytest

from configs.errors import ConfigError
from configs.home import Home
from configs.load import load_provider
from configs.prompt import Endpoint
from configs.providers.alibaba import AlibabaProvider
from configs.providers.azure import AzureProvider
from configs.providers.base import HostedProviderSettings, KeyedProviderSettings, ProviderSettings
from configs.providers.registry import PROVIDERS, provider_class
from configs.request import provider_names
from fakes.contract import STAGES
from fakes.openai_vendors import AlibabaFake, AzureFake
from rigs.checkout import ROOT
from tasks.providers.registry import connect
from tasks.stages.wire.formats import dialect

HOME = Home.from_environment({})
REQUIRED = {"azure": ["provider.endpoint=https://res.openai.azure.com"]}
"""What a job file has to say of a provider beside its name."""

FACTS = [name for name, kind in ProviderSettings.__annotations__.items() if kind.startswith("ClassVar")]
"""What a registry entry says of a service."""
assert {"title", "connector", "limits", "identity_keys"} <= set(FACTS)

every_provider = pytest.mark.parametrize("name", PROVIDERS)
with_extra = pytest.mark.parametrize("name", [name for name, kind in PROVIDERS.items() if kind.extra])


def settings(name: str) -> Any:
    return load_provider(name, REQUIRED.get(name, ()))


@every_provider
def test_an_entry_is_whole(name: str) -> None:
    kind = PROVIDERS[name]
    assert [fact for fact in FACTS if not hasattr(kind, fact)] == []
    assert provider_class(name) is kind
    assert kind.title
    assert kind.limits.max_requests > 0
    assert dialect(kind.dialect).parser
    assert callable(import_module(f"tasks.providers.{kind.connector}").connect)
    assert name in provider_names()


@pytest.mark.parametrize(("provider", "fake"), [(AlibabaProvider, AlibabaFake), (AzureProvider, AzureFake)])
def test_a_fake_takes_what_its_provider_is_said_to_take(
    provider: type[ProviderSettings], fake: type[AlibabaFake | AzureFake]
) -> None:
    limits, rules = provider.limits, fake.rules
    assert limits.max_requests == rules["max_requests"]
    for ours, theirs in (
        (limits.max_bytes, rules["max_bytes"]),
        (limits.max_line_bytes, rules.get("max_line_bytes")),
    ):
        assert (ours is None) == (theirs is None)
        assert ours is None or theirs / 1.05 <= ours <= theirs  # the fake reads MB as 2**20
    assert limits.uniform == rules.get("uniform", ())


@every_provider
def test_what_says_who_answers_are_keys_of_the_job_file(name: str) -> None:
    kind = PROVIDERS[name]
    assert "name" in kind.identity_keys
    assert kind.identity_keys <= set(kind.model_fields)
    if issubclass(kind, HostedProviderSettings):
        assert "base_url" in kind.identity_keys


@every_provider
def test_its_endpoints_are_those_of_job_files(name: str) -> None:
    kind = PROVIDERS[name]
    assert (kind.endpoints or set()) <= set(get_args(Endpoint))


@every_provider
def test_its_seller_is_one_that_prices_are_published_of(name: str) -> None:
    seller = PROVIDERS[name].price_seller
    assert seller is None or seller in model_prices.LAB_PROVIDERS


@every_provider
def test_its_settings_have_what_a_batch_is_made_with(name: str) -> None:
    config = settings(name)
    assert config.name == name
    assert re.fullmatch(r"[1-9][0-9]*[hd]", config.completion_window)
    assert dict(config.metadata) == {}
    assert config.answered_by
    first, longest = config.poll_seconds(20, 900)
    assert 0 < first <= longest


@pytest.mark.parametrize(
    "name", [name for name, kind in PROVIDERS.items() if issubclass(kind, KeyedProviderSettings)]
)
def test_without_a_key_the_variable_is_named_and_with_one_it_is_kept_out_of_sight(name: str) -> None:
    config = settings(name)
    variable = PROVIDERS[name].default_key_variable()  # type: ignore[union-attr]
    assert re.fullmatch(r"[A-Z][A-Z0-9_]+_KEY", variable)
    with pytest.raises(ConfigError, match=variable):
        connect(config, HOME, {})
    service = connect(config, HOME, {variable: "sk-secret"})
    assert service.account == f"{name} {config.address} {variable}"
    assert service.limits is config.limits
    assert "secret" not in service.account + config.key_hint


@every_provider
def test_it_is_put_through_the_contract(name: str) -> None:
    # The embedded service stands the contract as `openai` speaks to it: `local` is the same connection.
    assert name in (*STAGES, "local"), f"{name}: give it a class and a line in tests/fakes/contract.py"
    assert name == "local" or STAGES[name].provider is PROVIDERS[name]
    assert set(STAGES) <= set(PROVIDERS)


@every_provider
def test_the_documentation_says_how_to_choose_it_and_where_its_key_is(name: str) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert re.search(rf"\bname: {name}\b", readme), f"README.md, Other services: say how to choose {name}"
    kind = PROVIDERS[name]
    assert not issubclass(kind, KeyedProviderSettings) or kind.default_key_variable() in readme


@with_extra
def test_without_its_sdk_the_error_says_how_to_get_it_and_planning_goes_on(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    config, extra = settings(name), PROVIDERS[name].extra
    assert extra is not None
    for module in [module for module in sys.modules if module.startswith(f"tasks.providers.{name}.")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, extra.module, None)
    with pytest.raises(ConfigError) as caught:
        connect(config, HOME, {PROVIDERS[name].default_key_variable(): "k"})  # type: ignore[union-attr]
    assert str(caught.value) == (
        f"provider.name: {name} needs the package {extra.package};"
        f' in the checkout, pip install -e ".[{extra.name}]"'
    )
    assert config.limits.max_requests


def test_a_defect_is_no_missing_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PROVIDERS["anthropic"], "connector", "anthropic.absent")
    with pytest.raises(ModuleNotFoundError):
        connect(settings("anthropic"), HOME, {"ANTHROPIC_API_KEY": "k"})


@pytest.mark.parametrize(("wanted", "name"), [(None, "nobody"), ("openai", "gemini")])
def test_a_name_that_does_not_fit_is_told_which_do(wanted: Any, name: str) -> None:
    fitting = [each for each, kind in PROVIDERS.items() if wanted in (None, kind.dialect)]
    with pytest.raises(ConfigError) as caught:
        provider_class(name, wanted)
    assert str(caught.value) == f"--provider {name}: is not known; allowed: {', '.join(fitting)}"
