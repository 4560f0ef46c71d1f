from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.gateway.limits.places import InProcess, InRedis, Place
from tests.gateway.limits.redis_server import RedisServer


@pytest.fixture(scope="package")
def shared_redis() -> Iterator[RedisServer]:
    """One for all tests that leave it running."""
    server = RedisServer()
    yield server
    server.kill()


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """One to be stopped and killed."""
    server = RedisServer()
    yield server
    server.kill()


@pytest.fixture(params=["in process", "in redis"])
def new_place(request: pytest.FixtureRequest) -> Callable[[], Place]:
    """Makes empty limits; every test that asks runs on both."""
    if request.param == "in process":
        return InProcess
    server: RedisServer = request.getfixturevalue("shared_redis")
    return lambda: InRedis(server)


@pytest.fixture
def place(new_place: Callable[[], Place]) -> Iterator[Place]:
    made = new_place()
    yield made
    made.close()
