"""Whatever fits the OpenAPI document, and much that does not, is answered without a server error."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error

from descant.server import ServerConfig
from tests.server.live import live, load, write_served

Document = Any


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Document]:
    folder = write_served(tmp_path_factory.mktemp("served"))
    # Short contexts: a request for thousands of tokens is right, and would take its time.
    llm = load(folder, kv_cache_bytes=1 << 18)
    with live(llm, ServerConfig(drain_s=1.0)) as (address, _):
        yield schemathesis.openapi.from_url(f"{address}/openapi.json")
        assert llm.engine.blocks.num_held == 0


OPERATIONS = [
    ("post", "/v1/scores"),
    ("post", "/v1/chat/completions"),
    ("post", "/v1/completions"),
    ("post", "/v1/embeddings"),
    ("get", "/v1/models"),
    ("get", "/v1/adapters"),
    ("post", "/v1/load_lora_adapter"),
    ("post", "/v1/unload_lora_adapter"),
    ("post", "/tokenize"),
    ("post", "/detokenize"),
    ("get", "/ready"),
    ("get", "/health"),
    ("get", "/metrics"),
]


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_no_request_is_a_server_error(document: Document, method: str, path: str) -> None:
    operation = document[path][method]

    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy())
    def send(case: schemathesis.Case) -> None:
        case.call_and_validate(checks=[not_a_server_error])

    send()


def test_every_operation_is_tried(document: Document) -> None:
    found = {(op.method, op.path) for op in (r.ok() for r in document.get_all_operations())}
    assert found == set(OPERATIONS)
