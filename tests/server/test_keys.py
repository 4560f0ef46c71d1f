from __future__ import annotations

import asyncio
import hashlib
import os
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request
from hypothesis import given
from hypothesis import strategies as st

from descant.schema.errors import InvalidConfig, ModelNotFound
from descant.server.errors import add_error_handlers
from descant.server.keys import ANYONE, Caller, KeyCheck, Keys, identify


def entry(secret: str, **fields: Any) -> str:
    table = {"name": secret, "sha256": hashlib.sha256(secret.encode()).hexdigest(), **fields}
    lines = [f"{key} = {value!r}" for key, value in table.items() if value is not None]
    return "\n".join(["[[keys]]", *lines, ""])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "keys.toml"
    path.write_text(
        entry("ann", models=["polite", "refund-*"], requests_per_minute=3, priority_floor=5)
        + entry("bob", tenant="quality", tokens_per_minute=10)
    )
    return path


def write_later(path: Path, text: str) -> None:
    """Write so that the change shows even where files have coarse times."""
    before = path.stat().st_mtime_ns
    path.write_text(text)
    os.utime(path, ns=(before + 1_000_000_000, before + 1_000_000_000))


def app_with(keys: Keys | None, **config: Any) -> FastAPI:
    app = FastAPI()

    @app.get("/who")
    async def who(request: Request, model: str = "polite") -> dict[str, str]:
        caller = identify(request)
        caller.check_model(model)
        return {"name": caller.name, "tenant": caller.tenant}

    for open_path in ("/health", "/ready", "/metrics"):
        app.add_api_route(open_path, lambda: "open")
    add_error_handlers(app)
    app.add_middleware(KeyCheck, keys=keys, **config)
    return app


def get(app: FastAPI, path: str, authorization: str | None = None) -> httpx.Response:
    async def exchange() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        sent = [] if authorization is None else [(b"authorization", authorization.encode())]
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.get(path, headers=sent)

    return asyncio.run(exchange())


def test_a_key_stands_for_its_caller(path: Path) -> None:
    app = app_with(Keys(path))
    assert get(app, "/who", "Bearer ann").json() == {"name": "ann", "tenant": "ann"}
    assert get(app, "/who", "bearer bob").json() == {"name": "bob", "tenant": "quality"}


@pytest.mark.parametrize("sent", [None, "", "ann", "Basic ann", "Bearer", "Bearer "])
def test_no_key_is_asked_for(path: Path, sent: str | None) -> None:
    response = get(app_with(Keys(path)), "/who", sent)
    assert (response.status_code, response.headers["www-authenticate"]) == (401, "Bearer")
    assert response.json()["error"]["code"] == "missing_api_key"


def test_a_secret_may_have_any_letters(tmp_path: Path) -> None:
    (tmp_path / "keys.toml").write_text(entry("clé-日"), encoding="utf-8")
    keys = Keys(tmp_path / "keys.toml")
    assert get(app_with(keys), "/who", "Bearer clé-日").json()["name"] == "clé-日"


@pytest.mark.parametrize("sent", ["Bearer carl", "Bearer ann bob", "Bearer Ann", "Bearer ÿ"])
def test_an_unknown_key_is_refused(path: Path, sent: str) -> None:
    response = get(app_with(Keys(path)), "/who", sent)
    assert (response.status_code, response.headers["www-authenticate"]) == (401, "Bearer")
    assert response.json()["error"] == {
        "message": "The API key is not known.",
        "type": "invalid_request_error",
        "code": "invalid_api_key",
        "param": None,
    }


def test_the_hash_of_a_secret_is_no_secret(path: Path) -> None:
    digest = hashlib.sha256(b"ann").hexdigest()
    assert get(app_with(Keys(path)), "/who", f"Bearer {digest}").status_code == 401


def test_operation_routes_are_open_and_metrics_can_be_closed(path: Path) -> None:
    keys = Keys(path)
    for name in ("/health", "/ready", "/metrics"):
        assert get(app_with(keys), name).status_code == 200
    closed = app_with(keys, open_paths=frozenset({"/health", "/ready"}))
    assert get(closed, "/metrics").status_code == 401
    assert get(closed, "/metrics", "Bearer ann").status_code == 200
    assert get(closed, "/health").status_code == 200


def test_without_keys_everyone_may_do_everything() -> None:
    response = get(app_with(None), "/who?model=any")
    assert response.json() == {"name": "anyone", "tenant": ""}
    assert ANYONE.priority(3) == 3


def test_a_model_that_is_not_allowed_is_not_found(path: Path) -> None:
    app = app_with(Keys(path))
    response = get(app, "/who?model=upsell", "Bearer ann")
    assert response.status_code == 404
    error = response.json()["error"]
    assert (error["code"], error["param"]) == ("model_not_found", "model")
    assert get(app, "/who?model=refund-2", "Bearer ann").status_code == 200
    assert get(app, "/who?model=upsell", "Bearer bob").status_code == 200


def test_models_are_names_or_globs_and_an_empty_list_allows_none() -> None:
    ann = Caller("ann", "ann", ("polite", "refund-*"))
    assert [ann.may_use(model) for model in ("polite", "Polite", "refund-", "a-refund-")] == [
        True,
        False,
        True,
        False,
    ]
    with pytest.raises(ModelNotFound):
        Caller("none", "none", ()).check_model("polite")


@given(st.integers(), st.integers())
def test_no_priority_is_better_than_the_floor(asked: int, floor: int) -> None:
    caller = Caller("a", "a", priority_floor=floor)
    assert caller.priority(asked) >= floor
    assert caller.priority(asked) in (asked, floor)


@given(st.text(), st.text(), st.text(min_size=1), st.text(min_size=1))
def test_tenants_never_share_a_salt(one: str, other: str, tenant: str, neighbour: str) -> None:
    salts = Caller("a", tenant).salt(one), Caller("b", neighbour).salt(other)
    assert (salts[0] == salts[1]) == ((tenant, one) == (neighbour, other))
    assert ANYONE.salt(one) == one


BROKEN = [
    ("", "keys"),
    ("keys = 3", "keys"),
    ("a = [", "keys"),
    ("colour = 1\nkeys = []", "colour"),
    (entry("a", colour="red"), "keys.0.colour"),
    (entry("a", sha256="abc"), "keys.0.sha256"),
    (entry("a", sha256="A" * 64), "keys.0.sha256"),
    (entry("a", name=""), "keys.0.name"),
    (entry("a", name=None), "keys.0.name"),
    (entry("a", tenant=""), "keys.0.tenant"),
    (entry("a", requests_per_minute=0), "keys.0.requests_per_minute"),
    (entry("a", tokens_per_minute="9"), "keys.0.tokens_per_minute"),
    (entry("a", models="polite"), "keys.0.models"),
    (entry("a") + entry("b", name="a"), "keys.name"),
    (entry("a") + entry("a", name="b"), "keys.sha256"),
]


@pytest.mark.parametrize(("text", "field"), BROKEN)
def test_a_file_that_is_wrong_names_the_field(tmp_path: Path, text: str, field: str) -> None:
    path = tmp_path / "keys.toml"
    path.write_text(text)
    with pytest.raises(InvalidConfig, match=r"keys\.toml") as caught:
        Keys(path)
    assert caught.value.field == field


def test_a_file_that_is_missing_or_no_text_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig, match="cannot be read"):
        Keys(tmp_path / "none.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff")
    with pytest.raises(InvalidConfig, match="TOML"):
        Keys(tmp_path / "binary.toml")


def test_a_changed_file_counts_from_the_next_request(path: Path) -> None:
    keys = Keys(path)
    write_later(path, entry("carl"))
    assert keys.find(b"ann") is None
    assert keys.named("bob") is None
    carl = keys.find(b"carl")
    assert carl is not None
    assert keys.named("carl") == carl


@pytest.mark.parametrize("text", ["keys = 1", None])
def test_a_broken_new_version_keeps_the_old_one_and_is_reported_once(
    path: Path, caplog: pytest.LogCaptureFixture, text: str | None
) -> None:
    keys = Keys(path)
    if text is None:
        path.unlink()
    else:
        write_later(path, text)
    for _ in range(3):
        assert keys.find(b"ann") is not None
    assert caplog.text.count("stay in force") == 1
    path.write_text(entry("carl", tenant="mended"))
    assert keys.find(b"carl") is not None
