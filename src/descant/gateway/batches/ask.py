"""One request about files or batches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

from descant.gateway.body import Receive
from descant.gateway.call import Caller
from descant.schema.errors import InputError


@dataclass(frozen=True)
class Ask:
    """Who asks for what; its body is read where it is needed."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[bytes, bytes] = field(repr=False)
    caller: Caller
    receive: Receive

    def limit(self, default: int, most: int) -> int:
        """Return how many entries of a list are wanted.

        Raises:
            InputError: it is no number from 1 to `most`.
        """
        stated = self.query.get("limit", str(default))
        if not stated.isascii() or not stated.isdigit() or not 1 <= int(stated[:9]) <= most:
            raise InputError(f"limit is a number from 1 to {most}.", field="limit")
        return int(stated)


def read_query(query: bytes) -> dict[str, str]:
    """Return the parameters of an address, of those said twice the last."""
    return dict(parse_qsl(query.decode("latin-1"), keep_blank_values=True, max_num_fields=None))
