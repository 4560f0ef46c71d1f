"""OpenTelemetry's names for requests to models, and ours where it has none.

The conventions are in development and have moved twice; nobody else here says one of their names.

Source:
    github.com/open-telemetry/semantic-conventions-genai, as of May 2026; registry of the
    OpenTelemetry semantic conventions for the others.
"""

from __future__ import annotations

from collections.abc import Mapping

from descant.gateway.call import Operation

OPERATION_NAME = "gen_ai.operation.name"
PROVIDER_NAME = "gen_ai.provider.name"
REQUEST_MODEL = "gen_ai.request.model"
REQUEST_MAX_TOKENS = "gen_ai.request.max_tokens"
REQUEST_STREAM = "gen_ai.request.stream"
RESPONSE_MODEL = "gen_ai.response.model"
RESPONSE_FINISH_REASONS = "gen_ai.response.finish_reasons"
RESPONSE_TIME_TO_FIRST_CHUNK = "gen_ai.response.time_to_first_chunk"
"""In seconds."""
USAGE_INPUT_TOKENS = "gen_ai.usage.input_tokens"
USAGE_OUTPUT_TOKENS = "gen_ai.usage.output_tokens"
USAGE_CACHED_TOKENS = "gen_ai.usage.cache_read.input_tokens"

ERROR_TYPE = "error.type"
HTTP_STATUS = "http.response.status_code"
HTTP_ROUTE = "http.route"
SERVER_ADDRESS = "server.address"
SERVER_PORT = "server.port"

REQUEST_ID = "descant.request.id"
TENANT = "descant.tenant"
UPSTREAM = "descant.upstream"
ATTEMPT = "descant.attempt"

OPERATIONS: Mapping[Operation, str] = {
    "chat": "chat",
    "completions": "text_completion",
    "embeddings": "embeddings",
    "scores": "score",
}
"""The conventions let others than their own be named; ``score`` is ours."""

PROVIDERS: Mapping[str, str] = {
    "openai": "openai",
    "azure": "azure.ai.openai",
    "anthropic": "anthropic",
    "vllm": "vllm",
    "descant": "descant",
}
"""By the dialect that an upstream speaks; ``vllm`` and ``descant`` are not among the conventions'."""


def span_name(operation: Operation, model: str) -> str:
    """Return what a span of a request to a model is called."""
    return f"{OPERATIONS[operation]} {model}"
