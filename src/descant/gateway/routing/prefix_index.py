"""Which upstream has read which beginnings, as far as they were sent there from here."""

from __future__ import annotations

from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Iterable

from descant.gateway.call import Call
from descant.gateway.routing.leading_text import leading_text

BLOCK_BYTES = 512
"""About 128 tokens; what is shared is known to the block."""

_BLOCKS = 16_384
"""Remembered for an upstream: about two million tokens, two megabytes here."""

Chain = tuple[int, ...]
"""One number for each block of a prompt's beginning; it stands for the block and all before it."""


def chain_of(call: Call) -> Chain:
    """Return the numbers of the whole blocks that the prompt begins with.

    Equal words under different models are not read alike, except for scores: a conversation's base
    reading serves all adapters. The numbers differ from process to process, so nobody outside can
    choose prompts whose numbers collide.
    """
    text = leading_text(call)
    number = hash("" if call.operation == "scores" else call.model)
    chain: list[int] = []
    for start in range(0, len(text) - BLOCK_BYTES + 1, BLOCK_BYTES):
        number = hash((number, text[start : start + BLOCK_BYTES]))
        chain.append(number)
    return tuple(chain)


class PrefixIndex:
    """For each upstream, the blocks it was sent last.

    A block is never older than those that follow it in a chain and the oldest go first, so what is
    known of a chain is always its beginning: its length is found by halving.
    """

    def __init__(self, blocks: int = _BLOCKS):
        self._max_blocks = blocks
        # Not a dict: to find the oldest, that walks over all that was deleted before it.
        self._known: dict[str, OrderedDict[int, None]] = {}

    def sent(self, upstream: str, chain: Chain) -> None:
        """Remember that an upstream reads this."""
        known = self._known.setdefault(upstream, OrderedDict())
        for block in reversed(chain):
            known[block] = None
            known.move_to_end(block)
        while len(known) > self._max_blocks:
            known.popitem(last=False)

    def shared(self, upstream: str, chain: Chain) -> float:
        """Return the part of the chain, 0 to 1, that the upstream has read."""
        known = self._known.get(upstream)
        if not known or not chain:
            return 0.0
        return bisect_left(chain, True, key=lambda block: block not in known) / len(chain)

    def keep(self, upstreams: Iterable[str]) -> None:
        """Forget all upstreams but these."""
        self._known = {name: self._known[name] for name in upstreams if name in self._known}
