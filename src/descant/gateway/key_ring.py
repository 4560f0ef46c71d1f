"""Whose key a request carries."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from descant.gateway.call import Caller
from descant.gateway.config import KeyConfig
from descant.schema.errors import InvalidConfig, Unauthorized

ANYONE = Caller("anyone", tenant="")
"""Every caller, where no keys are asked for."""


class KeyRing:
    """The virtual keys of one gateway file; it holds hashes alone.

    Raises:
        InvalidConfig: two names have one key.
    """

    def __init__(self, keys: Mapping[str, KeyConfig]):
        # Found by the hash of what is offered: the time that takes tells nothing of any key.
        self._callers = {
            config.sha256: Caller(
                name, config.tenant or name, config.models, config.priority, config.admin
            )
            for name, config in keys.items()
        }
        if len(self._callers) < len(keys):
            raise InvalidConfig("Two keys have the same sha256.", field="keys")

    def caller(self, headers: Mapping[bytes, bytes]) -> Caller:
        """Return who sent a request with these headers (names in lower case).

        Raises:
            Unauthorized: it has no key, or one that is not here.
        """
        if not self._callers:
            return ANYONE
        secret = _secret(headers)
        if not secret:
            raise Unauthorized("No API key was sent.", remedy="Send: Authorization: Bearer KEY.")
        caller = self._callers.get(hashlib.sha256(secret).hexdigest())
        if caller is None:
            raise Unauthorized("The API key is not known.")
        return caller


def _secret(headers: Mapping[bytes, bytes]) -> bytes:
    scheme, _, secret = headers.get(b"authorization", b"").partition(b" ")
    # Azure's clients send `api-key`, Anthropic's `x-api-key`.
    if scheme.lower() == b"bearer":
        return secret.strip()
    return headers.get(b"api-key") or headers.get(b"x-api-key") or b""
