"""Generation by a model that knows nothing: any token the mask allows."""

from __future__ import annotations

import random

import numpy as np

from descant.schema import Constraint
from descant.text import Grammar, GrammarCompiler, Tokenizer

PADDING = 45
"""So that the last word of the mask is not full."""
ENDINGS = ('"', "}", "]", '"}', "]}", '"]')


class Walker:
    """Walks grammars of one tokenizer, and checks every mask on the way."""

    def __init__(self, tokenizer: Tokenizer):
        self.tokenizer = tokenizer
        self.vocab_size = tokenizer.vocab_size + PADDING
        self.compiler = GrammarCompiler(tokenizer, self.vocab_size)
        self._control = tokenizer.reserved_ids - tokenizer.eos_ids
        ids = (tokenizer.token_id(token) for token in ENDINGS)
        self._ending = {token_id for token_id in ids if token_id is not None} | tokenizer.eos_ids

    def allowed(self, state: Constraint) -> list[int]:
        bitmask = np.full((self.vocab_size + 31) // 32, -1, dtype=np.int32)
        state.fill_mask(bitmask)
        bits = np.unpackbits(bitmask.view(np.uint8), bitorder="little")
        ids: list[int] = np.flatnonzero(bits).tolist()
        assert ids
        assert self._control.isdisjoint(ids)
        assert max(ids) < self.tokenizer.vocab_size
        return ids

    def step(self, state: Constraint, chance: random.Random) -> int:
        ids = self.allowed(state)
        # Without a pull to the end, a string of random tokens has thousands.
        ending = [token_id for token_id in ids if token_id in self._ending]
        token_id = chance.choice(ending if ending and chance.random() < 0.4 else ids)
        state.accept(token_id)
        return token_id

    def walk(self, grammar: Grammar, chance: random.Random) -> list[int]:
        state = grammar.start()
        ids: list[int] = []
        while not state.is_stopped:
            ids.append(self.step(state, chance))
            assert len(ids) < 20_000
        return ids

    def text(self, grammar: Grammar, chance: random.Random) -> str:
        return self.tokenizer.decode(self.walk(grammar, chance))

    def accepts(self, grammar: Grammar, ids: list[int]) -> bool:
        """Whether the grammar lets these ids be generated as a whole answer."""
        state = grammar.start()
        if state.num_accepted(ids) < len(ids):
            return False
        for token_id in ids:
            state.accept(token_id)
        return state.is_stopped or not self.tokenizer.eos_ids.isdisjoint(self.allowed(state))
