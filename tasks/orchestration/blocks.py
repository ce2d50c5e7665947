"""Read secrets from Prefect blocks: a provider's API key and S3 credentials.

They are read by the process that uses them, when it needs them, and never stored in parameters, ledger or run folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import fsspec.config
import httpx

from configs.errors import ConfigError
from configs.extras import AWS
from configs.home import Home
from configs.providers.base import KeyedProviderSettings
from configs.providers.registry import AnyProvider
from tasks.orchestration.current_run import flow_run_context
from tasks.orchestration.server_url import server_url
from tasks.providers import registry
from tasks.providers.base import BatchService

if TYPE_CHECKING:
    from prefect.blocks.core import Block


def connect(provider: AnyProvider, home: Home, environ: Mapping[str, str]) -> BatchService:
    """Connect to the job's provider, with the API key from the environment or from the Secret block that the job names."""
    if not isinstance(provider, KeyedProviderSettings) or provider.api_key_block is None:
        return registry.connect(provider, home, environ)
    from prefect.blocks.system import Secret

    where = "provider.api_key_block"
    key = _load_block(Secret, provider.api_key_block, "Secret", where).get()
    if not isinstance(key, str) or not key:
        raise ConfigError(
            f"{where}: the Secret block {provider.api_key_block!r} holds no text; put the key in"
        )
    return registry.connect(provider, home, {**environ, provider.api_key_env: key})


def load_home(environ: Mapping[str, str]) -> Home:
    """Read the storage locations from the environment and activate the S3 credentials: the first step of every entry point."""
    home = Home.from_environment(environ)
    use_s3_credentials(home)
    return home


def use_s3_credentials(home: Home) -> None:
    """Open all s3:// URLs of this process with the credentials block that NIGHTMAIL_S3_BLOCK names, if it is set.

    Each call reads the block anew, so a run that wakes after hours gets fresh temporary credentials.
    """
    if home.s3_block is None:
        return
    try:
        from prefect_aws import AwsCredentials
    except ImportError as error:
        raise ConfigError(f"NIGHTMAIL_S3_BLOCK: AWS credentials blocks need {AWS.install_hint}") from error
    block = _load_block(AwsCredentials, home.s3_block, "AWS Credentials", "NIGHTMAIL_S3_BLOCK")
    try:
        options = _s3_options(block)
    except Exception as error:  # botocore's, of a role that may not be assumed or a profile that is not here
        raise ConfigError(
            f"NIGHTMAIL_S3_BLOCK: the block {home.s3_block!r} gives no credentials ({type(error).__name__}); correct it"
        ) from error
    # The defaults of every S3 filesystem that this process makes from here on.
    fsspec.config.conf["s3"] = {**fsspec.config.conf.get("s3", {}), **options}


def _s3_options(block: Any) -> dict[str, Any]:
    """The arguments of s3fs for an AwsCredentials block; whatever the block leaves open follows AWS's default chain."""
    client_parameters = block.aws_client_parameters.get_params_override()
    # A botocore Config object; s3fs takes its fields as `config_kwargs` and builds the object itself.
    client_parameters.pop("config", None)
    if block.region_name:
        client_parameters["region_name"] = block.region_name
    options = {"client_kwargs": client_parameters, "config_kwargs": block.aws_client_parameters.config or {}}
    credentials = block.get_boto3_session().get_credentials()
    if credentials is not None:
        frozen_credentials = credentials.get_frozen_credentials()
        options |= {
            "key": frozen_credentials.access_key,
            "secret": frozen_credentials.secret_key,
            "token": frozen_credentials.token,
        }
    return options


def _load_block(kind: type[Block], name: str, title: str, where: str) -> Any:
    """Load a block by name; ConfigError when there is no server, or it has no such block."""
    from prefect.exceptions import PrefectException

    # Without a URL, Prefect may start a temporary server of its own, which has no blocks: its error would mislead.
    if server_url() is None and flow_run_context() is None:
        raise ConfigError(
            f"{where}: the {title} block {name!r} is kept by a Prefect server; set PREFECT_API_URL, or use the environment"
        )
    try:
        return kind.load(name, _sync=True)  # type: ignore[call-arg]  # added by Prefect's decorator
    except ValueError as error:
        raise ConfigError(
            f"{where}: the Prefect server has no {title} block {name!r}; make it (Blocks, in the UI), or correct the name"
        ) from error
    except (httpx.HTTPError, PrefectException) as error:
        raise ConfigError(
            f"{where}: the Prefect server does not give out the {title} block {name!r} ({type(error).__name__});"
            " check PREFECT_API_URL and the server"
        ) from error
