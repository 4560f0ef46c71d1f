"""Tokens → money, exactly."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import isfinite, lcm

from descant.gateway.call import Usage
from descant.schema.errors import InvalidConfig

_NANO_FOR_A_MILLIONTH = 1000


@dataclass(frozen=True, slots=True)
class Prices:
    """What one upstream asks for a token, in whole numbers of `1 / parts` billionths."""

    read: int
    cached: int
    write: int
    parts: int

    @classmethod
    def per_million(cls, read: float, write: float, cached: float | None = None) -> Prices:
        """Take money for a million tokens; each number means the decimal that it is written as.

        Tokens that were read before cost what reading costs where no price of theirs is given.

        Raises:
            InvalidConfig: a price is negative or not a number.
        """
        given = (read, read if cached is None else cached, write)
        exact = [_exact(price) * _NANO_FOR_A_MILLIONTH for price in given]
        parts = lcm(*(price.denominator for price in exact))
        whole = [int(price * parts) for price in exact]
        return cls(whole[0], whole[1], whole[2], parts)

    def money_nano(self, usage: Usage) -> int:
        """Return the price of a request in billionths, rounded once, halves up."""
        cached = min(usage.cached_tokens, usage.prompt_tokens)
        parts = (
            (usage.prompt_tokens - cached) * self.read
            + cached * self.cached
            + usage.completion_tokens * self.write
        )
        return (2 * parts + self.parts) // (2 * self.parts)


def _exact(price: float) -> Fraction:
    if not isfinite(price) or price < 0:
        raise InvalidConfig(f"{price} is no price.", field="price", remedy="Name 0 or more.")
    # 0.1 is meant, not the binary number next to it.
    return Fraction(str(price))
