"""Who may ask: keys from a file, and the caller that each key stands for.

The file is TOML and holds no secret, only hashes (``printf %s "$SECRET" | sha256sum``)::

    [[keys]]
    name = "quality-team"
    sha256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
    models = ["polite", "refund-*"]   # names or globs; every model if absent
    requests_per_minute = 60
    tokens_per_minute = 100000
    priority_floor = 10
    tenant = "quality"                # the key's name if absent

It is read again when it changes. A version that is wrong is reported and the last good one stays.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import os
import tomllib
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from descant.schema.errors import InvalidConfig, ModelNotFound
from descant.server.errors import refuse

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Caller:
    """Whoever sent a request, and what they may do."""

    name: str
    tenant: str
    """Whose cache and whose files and batches it sees; empty where no keys are asked for."""
    models: tuple[str, ...] | None = None
    """Names and globs; None allows every model."""
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    priority_floor: int | None = None

    def may_use(self, model: str) -> bool:
        """Return whether this model or adapter is open to the caller."""
        return self.models is None or any(fnmatchcase(model, glob) for glob in self.models)

    def check_model(self, model: str) -> None:
        """Refuse a model the caller may not use, in the words used when there is none.

        Raises:
            ModelNotFound: it is not open to the caller.
        """
        if not self.may_use(model):
            raise ModelNotFound(
                f"No model {model!r}.", field="model", remedy="List them: GET /v1/models."
            )

    def salt(self, asked: str) -> str:
        """Return the salt to cache under: what was asked for, apart from every other tenant's."""
        return json.dumps([self.tenant, asked]) if self.tenant else asked

    def priority(self, asked: int) -> int:
        """Return the priority to run at; lower runs earlier, and none below the floor."""
        return asked if self.priority_floor is None else max(asked, self.priority_floor)


ANYONE = Caller("anyone", tenant="")
"""Every caller, where no keys are asked for."""


class _Key(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    name: Annotated[str, Field(min_length=1)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    models: list[str] | None = None
    requests_per_minute: Annotated[int, Field(ge=1)] | None = None
    tokens_per_minute: Annotated[int, Field(ge=1)] | None = None
    priority_floor: int | None = None
    tenant: Annotated[str, Field(min_length=1)] | None = None

    def caller(self) -> Caller:
        return Caller(
            self.name,
            self.tenant or self.name,
            None if self.models is None else tuple(self.models),
            self.requests_per_minute,
            self.tokens_per_minute,
            self.priority_floor,
        )


class _KeyFile(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    keys: list[_Key]


class Keys:
    """The keys in one file.

    Raises:
        InvalidConfig: the file cannot be read, or names the field that is wrong.
    """

    def __init__(self, path: Path):
        self._path = path
        self._version = _version(path)
        self._callers = _load(path)

    def find(self, secret: bytes) -> Caller | None:
        """Return the caller whose secret this is; the time it takes tells nothing of the keys."""
        self._refresh()
        offered = hashlib.sha256(secret).hexdigest()
        found = None
        for digest, caller in self._callers.items():
            if hmac.compare_digest(digest, offered):
                found = caller
        return found

    def named(self, name: str) -> Caller | None:
        """Return the caller of that name, while it still has a key."""
        self._refresh()
        return next((caller for caller in self._callers.values() if caller.name == name), None)

    def _refresh(self) -> None:
        version = _version(self._path)
        if version == self._version:
            return
        self._version = version
        try:
            self._callers = _load(self._path)
        except InvalidConfig as error:
            _log.error("The keys read before stay in force: %s", error)


class KeyCheck:
    """Wraps an app: every HTTP request has a caller, or is refused.

    `keys` None lets everyone in. Requests to `open_paths` need no key. A caller that is already in
    the scope stays: that is how the server itself asks in someone's name.
    """

    def __init__(
        self,
        app: ASGIApp,
        keys: Keys | None,
        open_paths: frozenset[str] = frozenset({"/health", "/ready", "/metrics"}),
    ):
        self._app = app
        self._keys = keys
        self._open_paths = open_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one HTTP request; other scopes pass through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        caller = state.get("caller") or self._caller(scope)
        if caller is None:
            await _refusal(scope)(scope, receive, send)
            return
        state["caller"] = caller
        await self._app(scope, receive, send)

    def _caller(self, scope: Scope) -> Caller | None:
        if self._keys is None or scope["path"] in self._open_paths:
            return ANYONE
        secret = _secret(scope)
        return None if secret is None else self._keys.find(secret)


def identify(request: Request) -> Caller:
    """Return who sent this request; `KeyCheck` has found out."""
    caller = request.state.caller
    assert isinstance(caller, Caller)
    return caller


def _secret(scope: Scope) -> bytes | None:
    scheme, _, secret = Headers(scope=scope).get("authorization", "").partition(" ")
    # Headers are bytes, which `Headers` shows as Latin-1.
    return secret.strip().encode("latin-1") or None if scheme.lower() == "bearer" else None


def _refusal(scope: Scope) -> ASGIApp:
    if _secret(scope) is None:
        message = "No API key was sent. Send it as: Authorization: Bearer KEY."
        code = "missing_api_key"
    else:
        message, code = "The API key is not known.", "invalid_api_key"
    return refuse(Request(scope), 401, message, code, headers={"www-authenticate": "Bearer"})


def _version(path: Path) -> tuple[int, int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def _load(path: Path) -> dict[str, Caller]:
    try:
        file = _KeyFile.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise InvalidConfig(f"{path}: cannot be read: {error.strerror}.", field="keys") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidConfig(f"{path}: not readable as TOML: {error}.", field="keys") from error
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(step) for step in first["loc"])
        raise InvalidConfig(f"{path}: {place}: {first['msg']}.", field=place) from error
    for field in ("name", "sha256"):
        _check_unique([getattr(key, field) for key in file.keys], field, path)
    return {key.sha256: key.caller() for key in file.keys}


def _check_unique(values: list[str], field: str, path: Path) -> None:
    if len(set(values)) < len(values):
        twice = next(value for value in values if values.count(value) > 1)
        raise InvalidConfig(f"{path}: two keys have the {field} {twice!r}.", field=f"keys.{field}")
