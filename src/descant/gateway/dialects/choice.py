"""The dialect of an upstream, by its settings."""

from __future__ import annotations

import time
from collections.abc import Callable

from descant.gateway.call import Operation
from descant.gateway.config import UpstreamConfig
from descant.gateway.dialects.anthropic import AnthropicDialect
from descant.gateway.dialects.azure import AzureDialect
from descant.gateway.dialects.dialect import Dialect
from descant.gateway.dialects.openai import OpenAIDialect
from descant.gateway.dialects.refusal import Secrets
from descant.gateway.upstream_address import parse_address
from descant.schema.errors import InvalidConfig

_GENERAL: frozenset[Operation] = frozenset({"chat", "completions", "embeddings"})


def dialect_of(
    config: UpstreamConfig, api_key: str | None, clock: Callable[[], float] = time.time
) -> Dialect:
    """Return how this upstream is asked; `clock` gives the date of answers that come without one.

    Raises:
        InvalidConfig: the address or the key cannot be used, or Azure's version is not said.
    """
    key = _checked(api_key)
    address = parse_address(config.url, allow_private=config.allow_private)
    base_path = address.path.removesuffix("/v1")
    secrets = Secrets(tuple(each for each in (key, address.host) if each))
    if config.dialect == "anthropic":
        return AnthropicDialect(base_path, _one("x-api-key", key), secrets, clock)
    if config.dialect == "azure":
        if config.api_version is None:
            raise InvalidConfig("Azure's api-version is missing.", field="api_version")
        headers = _one("api-key", key)
        return AzureDialect(base_path, _GENERAL, headers, secrets, config.api_version)
    operations: frozenset[Operation] = _GENERAL
    if config.dialect == "descant":
        operations |= {"scores"}
    return OpenAIDialect(base_path, operations, _one("authorization", key, "Bearer "), secrets)


def _one(name: str, key: str | None, scheme: str = "") -> dict[str, str]:
    return {} if key is None else {name: scheme + key}


def _checked(api_key: str | None) -> str | None:
    """Return the key if it can stand in a header; it is never quoted."""
    if api_key is None:
        return None
    if not api_key or not all("!" <= letter <= "~" for letter in api_key):
        raise InvalidConfig(
            "The API key is empty or has characters that no header may hold.", field="key_env"
        )
    return api_key
