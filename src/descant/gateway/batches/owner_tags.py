"""Whose a file or batch is, said by its id alone: nothing has to be remembered.

All tenants share the upstream's key, so the upstream would show each of them everything. The gateway
hands out the upstream's id with a tag (HMAC-SHA-256, 128 bits) of kind, tenant, upstream and id. Who
does not have the secret cannot make one, so an id of another tenant, or of none, leads nowhere. What is
kept at the upstream carries a mark of its tenant, by which lists are filtered.
"""

from __future__ import annotations

import hmac
import json
import re
from typing import Literal

from descant.schema.errors import GarbledAnswer, InvalidConfig, NotFound

Kind = Literal["file", "batch"]

_LEAST_SECRET_CHARACTERS = 32
_TAG_CHARACTERS = 32
_RAW_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")


class OwnerTags:
    """Tags ids of one upstream with one secret.

    Raises:
        InvalidConfig: the secret is too short to be one.
    """

    def __init__(self, secret: str, upstream: str):
        if len(secret) < _LEAST_SECRET_CHARACTERS:
            raise InvalidConfig(
                f"The secret has fewer than {_LEAST_SECRET_CHARACTERS} characters.",
                field="batches.secret_env",
                remedy="Make one: openssl rand -hex 32.",
            )
        self._secret = secret.encode()
        self._upstream = upstream

    def shown(self, kind: Kind, tenant: str, raw_id: str) -> str:
        """Return the id that a tenant is given.

        Raises:
            GarbledAnswer: the upstream's id cannot stand in a path.
        """
        if not _RAW_ID.fullmatch(raw_id):
            raise GarbledAnswer(f"The upstream's {kind} has no usable id.")
        return f"{raw_id}-{self._tag(kind, tenant, raw_id)}"

    def raw(self, kind: Kind, tenant: str, shown_id: str) -> str:
        """Return the upstream's id of what this tenant owns.

        Raises:
            NotFound: no such id was given to this tenant.
        """
        raw_id, _, tag = shown_id.rpartition("-")
        expected = self._tag(kind, tenant, raw_id)
        is_own = hmac.compare_digest(tag.encode(errors="replace"), expected.encode())
        if not is_own or not _RAW_ID.fullmatch(raw_id):
            raise NotFound(f"No {kind} {shown_id!r}.", field="id")
        return raw_id

    def mark(self, tenant: str) -> str:
        """Return what is written on all that a tenant keeps at the upstream; no caller sees it."""
        return self._tag("mark", tenant, "")

    def _tag(self, kind: str, tenant: str, raw_id: str) -> str:
        said = json.dumps([kind, tenant, self._upstream, raw_id]).encode()
        return hmac.digest(self._secret, said, "sha256").hex()[:_TAG_CHARACTERS]
