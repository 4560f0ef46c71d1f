"""One model for all tests of the server."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from descant.llm import LLM
from descant.schema import Indicator
from tests.server.served import Server, serve_tiny


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> tuple[LLM, tuple[Indicator, ...]]:
    return serve_tiny(tmp_path_factory.mktemp("served"))


@pytest.fixture(scope="session")
def llm(served: tuple[LLM, tuple[Indicator, ...]]) -> LLM:
    return served[0]


@pytest.fixture(scope="session")
def new_server(served: tuple[LLM, tuple[Indicator, ...]]) -> Callable[..., Server]:
    """Takes the server's settings."""
    return lambda **config: Server(*served, **config)


@pytest.fixture
def server(new_server: Callable[..., Server]) -> Server:
    return new_server()
